"""Topology from outside: snapshots, the health of providers, fail-over, founding."""
