"""What `inaho up` does: checks all that was asked for, finds the grain classes, runs a member until it is to stop.

Imported by `inaho.cli.commands.up` only, when that command runs.
"""
