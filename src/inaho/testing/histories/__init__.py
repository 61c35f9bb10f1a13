"""Histories of grains under load and faults, and the checkers that judge them. It imports `testing.cluster`."""
