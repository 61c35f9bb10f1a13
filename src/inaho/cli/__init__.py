"""The command line, `inaho`: try a cluster, run a member, look at one, call a grain, measure this installation.

Every command is a thin shell over the public API (`join`, `connect`, `load_config`): what it does, a program can do in
as many lines. All of them take `--json` and then write one JSON document, or one per line for streams, to standard
output and nothing else; what is only of interest to a person goes to standard error. Exit codes: 0 done, 1 failed
(the error's code and reason are told), 2 not started because what was asked is wrong or a setting is missing, 130
interrupted.

`app` puts the commands of `commands/` together. What `inaho up` and `inaho quickstart` do is in packages of their own.
Why `app` is not imported here: `inaho.cli.sample` is imported by every node that the quickstart starts, and those have
no use for the modules that draw tables.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry of the `inaho` script; ends the process with the command's exit code."""
    from inaho.cli.app import app

    app()
