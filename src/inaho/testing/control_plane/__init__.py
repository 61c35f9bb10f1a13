"""Simulates hundreds of control planes without the runtime, and checks their invariants."""
