"""Clusters that find themselves through each back end: founding, restart, discovery, fail-over, outages, idle cost.

    python benchmarks/providers.py founding --back-end etcd [--repeat N] [--json]

- `founding`: twenty processes that start within 50 ms found one cluster. All are killed (`kill -9`) and started again
  on the same ports, while the back end still lists them: they must found one cluster again, and agree within 5 s.
- `disturbed`: the same while the server is killed or stopped for a moment, or some processes are stopped.
- `found`: time from the registration of a new member until all others have it in a snapshot.
- `fail-over`: etcd is stopped (SIGSTOP); time until all members take their snapshots from Redis, with default settings.
- `flapping`: etcd is stopped and continued in a loop; how often each member changes its provider.
- `away`: the server is killed for `--seconds`, stopped, cut off, full, compacted, and so on, while members call grains
  in each other. None of the calls may fail.
- `idle`: processor time of a member in a cluster of 100 that a provider lists, compared with a member without a
  provider in the same cluster, and the requests that the server has had.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import Figures, show
from providers_away import away, fail_over, flapping
from providers_back_ends import MAKERS, RECORDING
from providers_founding import found, founding
from providers_idle import idle

BACK_ENDS = {
    "founding": RECORDING,
    "disturbed": RECORDING,
    "found": tuple(MAKERS),
    "fail-over": ("etcd",),
    "flapping": ("etcd",),
    "away": tuple(MAKERS),
    "idle": RECORDING,
}
"""By measurement."""


async def measure(what: str, name: str, repeat: int, seconds: float, log: Path) -> Figures:
    """The figures of one measurement with one back end, the name of the back end in front."""
    measures = {
        "founding": lambda: founding(name, repeat, log),
        "disturbed": lambda: founding(name, repeat, log, disturbed=True),
        "found": lambda: found(name, repeat, log),
        "fail-over": lambda: fail_over(repeat, log),
        "flapping": lambda: flapping(seconds, log),
        "away": lambda: away(name, seconds, log),
        "idle": lambda: idle(name, seconds, log),
    }
    return {f"{name}_{figure}": value for figure, value in (await measures[what]()).items()}


async def measure_all(what: str, names: Sequence[str], repeat: int, seconds: float, log: Path) -> Figures:
    """The figures of all these back ends. Outages last minutes and take no processor time, so they overlap."""
    if what == "away":
        found_in = await asyncio.gather(*(measure(what, name, repeat, seconds, log) for name in names))
    else:
        found_in = [await measure(what, name, repeat, seconds, log) for name in names]
    return {figure: value for each in found_in for figure, value in each.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Clusters that find themselves through providers.")
    parser.add_argument("what", choices=BACK_ENDS)
    parser.add_argument("--back-end", choices=[*MAKERS, "all"], default="all", help="all, unless one is given")
    parser.add_argument("--repeat", type=int, default=5, help="of founding, disturbed, found and fail-over")
    parser.add_argument("--seconds", type=float, default=60.0, help="of flapping, away and idle")
    parser.add_argument("--log", type=Path, help="file that gets the log lines of all members")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    if options.repeat < 1 or options.seconds <= 0:
        parser.error("--repeat must be 1 or more and --seconds above 0")
    names = BACK_ENDS[options.what] if options.back_end == "all" else (options.back_end,)
    if not set(names) <= set(BACK_ENDS[options.what]):
        parser.error(f"{options.what} is measured with {', '.join(BACK_ENDS[options.what])}")
    with tempfile.TemporaryDirectory() as folder:
        log = options.log or Path(folder, "members.log")
        figures = asyncio.run(measure_all(options.what, names, options.repeat, options.seconds, log))
    show(figures, options.json)


if __name__ == "__main__":
    main()
