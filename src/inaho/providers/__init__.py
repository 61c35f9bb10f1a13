"""Providers of topology: where a node finds the other members when it knows none of them (SPEC PR)."""
