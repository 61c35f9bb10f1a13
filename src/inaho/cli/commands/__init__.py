"""The commands, one module each: its options, and what it does with them.

Imported by `inaho.cli.app` only. A module imports nothing of the runtime before its command runs, so that `--help`
answers at once: what it needs of the library it takes from `inaho`, which imports at first use.
"""
