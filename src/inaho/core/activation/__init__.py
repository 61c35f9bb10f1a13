"""Decisions about activations: leases, the ledger, hand-off, placement, idleness, doubt, reminders."""
