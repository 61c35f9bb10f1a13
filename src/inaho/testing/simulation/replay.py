"""Writes the report of a failed simulation: its seed, the command that replays it, the last events."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["RUNS", "PytestRun", "replay_command", "replay_note", "replay_of_test"]


class PytestRun(NamedTuple):
    """The parts of pytest's run that the command line of a test depends on.

    Attributes:
        root: pytest's rootdir, to which the ids of tests are relative.
        start: directory in which pytest was started, to which its arguments are relative.
        several: whether tests run under several seeds, and have them in their ids.
    """

    root: Path
    start: Path
    several: bool


RUNS: Final[list[PytestRun]] = []
"""Runs of pytest in this process that `inaho.testing.plugin` takes part in; the last is the one that runs now."""


def replay_command(seed: int) -> str:
    """The command line that runs the same history again.

    Under pytest it names the test that runs now. The option is that of `inaho.testing.plugin`; a test that makes its
    `SimCluster` with a seed of its own ignores it and replays anyway.
    """
    current = os.environ.get("PYTEST_CURRENT_TEST", "")
    if not current:
        return shlex.join([os.path.basename(sys.executable or "python"), *sys.argv])
    return replay_of_test(current.rpartition(" (")[0], seed, RUNS[-1] if RUNS else None)


def replay_of_test(test: str, seed: int, run: PytestRun | None) -> str:
    """The command line that runs a test of pytest again, for a shell in the directory in which pytest was started.

    Args:
        test: its node id.
        seed: of its simulations.
        run: that it belongs to; None, where it is not known, takes the id as it is.
    """
    if run is not None and run.root != run.start:
        file, colons, rest = test.partition("::")
        test = Path(os.path.relpath(run.root / file, run.start)).as_posix() + colons + rest
    several = " --inaho-seeds=1" if run is not None and run.several else ""
    return f"pytest {shlex.quote(test)} --inaho-seed={seed}{several}"


def replay_note(seed: int, command: str, trace_hash: str, time_s: float, lines: Iterable[str], hidden: int = 0) -> str:
    """Text for a failure of a simulation.

    Args:
        seed: of the simulation.
        command: that runs it again.
        trace_hash: of its history.
        time_s: virtual seconds since its start.
        lines: the last events, oldest first.
        hidden: lines about system kinds that are left out.
    """
    story = "\n".join(f"  {line}" for line in lines)
    if hidden:
        story += f"\n  ({hidden} lines about system kinds are left out: show_system=True or --inaho-show-system)"
    return (
        f"simulation of seed {seed}, failed at {time_s:.4f} s of virtual time, trace {trace_hash}\n"
        f"replay: {command}\nlast:\n{story}"
    )
