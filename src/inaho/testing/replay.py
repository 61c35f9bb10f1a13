"""How a failed simulation is told: its seed, the command that replays it, and what happened last."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable

__all__ = ["replay_command", "replay_note"]


def replay_command(seed: int) -> str:
    """The command line that runs the same history again.

    Under pytest it names the test that runs now. The option is that of `inaho.testing.plugin`; a test that makes its
    `SimCluster` with a seed of its own ignores it and replays anyway.
    """
    current = os.environ.get("PYTEST_CURRENT_TEST", "")
    if not current:
        return shlex.join([os.path.basename(sys.executable or "python"), *sys.argv])
    test = current.rpartition(" (")[0]
    return f"pytest {shlex.quote(test)} --inaho-seed={seed}"


def replay_note(seed: int, command: str, trace_hash: str, time_s: float, lines: Iterable[str]) -> str:
    """Text for a failure of a simulation.

    Args:
        seed: of the simulation.
        command: that runs it again.
        trace_hash: of its history.
        time_s: virtual seconds since its start.
        lines: what happened last, oldest first.
    """
    story = "\n".join(f"  {line}" for line in lines)
    return (
        f"simulation of seed {seed}, failed at {time_s:.4f} s of virtual time, trace {trace_hash}\n"
        f"replay: {command}\nlast:\n{story}"
    )
