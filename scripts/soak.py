"""Repeats the randomised tests with new seeds until the time is up or one fails.

Usage: `python scripts/soak.py [--seconds 1800] [--until-seed N] [--seeds 50] [--examples 500] [pytest argument ...]`.
Without pytest arguments: all properties, fuzz tests, simulations and tests with processes.

Each round takes the next `--seeds` simulation seeds and another Hypothesis seed, so that an hour explores what an hour
can instead of one list again and again. The first failure ends the run and prints the command that replays it. Why
not one long pytest run: rounds bound the memory, and say how far it got.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SELECTION = ("-m", "hypothesis or fuzz or simulation or integration")


def run_round(number: int, seeds: int, examples: int, arguments: list[str]) -> int:
    """Runs one round and returns pytest's exit code; on failure prints how to replay it."""
    budget = {
        "INAHO_TEST_FIRST_SEED": str(number * seeds),
        "INAHO_TEST_SEEDS": str(seeds),
        "INAHO_TEST_EXAMPLES": str(examples),
    }
    command = ["-m", "pytest", "-q", "-x", "--timeout", "1800", f"--hypothesis-seed={number}", *arguments]
    code = subprocess.run([sys.executable, *command], cwd=ROOT, env={**os.environ, **budget}, check=False).returncode
    if code:
        prefix = " ".join(f"{name}={value}" for name, value in budget.items())
        print(f"round {number} failed; replay it with:\n  {prefix} {sys.executable} {shlex.join(command)}", flush=True)
    return code


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Repeat the randomised tests with new seeds.")
    parser.add_argument("--seconds", type=float, default=1800.0, help="no round starts after this time (1800)")
    parser.add_argument("--seeds", type=int, default=50, help="simulation seeds per round (50)")
    parser.add_argument("--examples", type=int, default=500, help="Hypothesis examples per property and round (500)")
    parser.add_argument("--first-round", type=int, default=0, help="where to start, e.g. to go on from an earlier run")
    parser.add_argument("--until-seed", type=int, default=0, help="go on to this seed, however long it takes")
    options, arguments = parser.parse_known_args()
    selected = arguments or list(SELECTION)
    deadline = time.monotonic() + options.seconds
    number = options.first_round
    while number * options.seeds < options.until_seed or (not options.until_seed and time.monotonic() < deadline):
        print(f"== round {number}, {max(0.0, deadline - time.monotonic()):.0f} s left", flush=True)
        code = run_round(number, options.seeds, options.examples, selected)
        if code:
            return code
        number += 1
    print(f"{number - options.first_round} rounds passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
