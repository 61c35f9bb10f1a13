"""The right to keep one identity active: leases, the ledger, hand-off, placement and idleness."""
