"""What `inaho up` does: checks its arguments, finds the grain classes, runs a member until it is told to stop.

Imported by `inaho.cli.commands.up` only, when that command runs.
"""
