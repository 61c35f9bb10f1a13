"""Histories of grains under load and faults, and their checkers. It imports `testing.cluster`."""
