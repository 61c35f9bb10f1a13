"""Topology from outside: descriptors, snapshots, provider health and fail-over."""
