"""What a change costs: the call benchmark of two source trees, interleaved in one run.

    python benchmarks/compare.py --before PATH [--after PATH] [--rounds N] [--seconds S] [--strict] [--json FILE]

A tree is a checkout, e.g. of `git worktree add --detach PATH COMMIT`. Both are measured by the scripts beside this one,
with the interpreter and the installed packages that run it; only `src` differs. The public names that the scripts use
must exist in both.

Each figure is measured in pairs of fresh processes, one of each tree within a few seconds. A ratio is taken within its
pair, so that a machine that changes its speed changes it for both, and the trees take turns in who comes first. Why not
all figures of one tree and then all of the other: minutes lie between the two then, and a shared machine drifts by more
than the few per cent that are looked for.

The table has the median of the ratios, and an interval that holds the true median with 95 % confidence (six rounds or
more). It comes from the order of the ratios alone, without a model of the noise. The last column says `yes` or `NO`
only where all of the interval does; otherwise the run cannot tell: take more rounds, longer ones, or a quieter machine.
Processor time per call, of both processes together, is what is left to judge by when other work keeps the cores busy;
it leaves out waiting.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import Figures
from run import Failed, machine, run_script, say

ROOT = Path(__file__).resolve().parents[1]
CONFIDENCE = 0.95
LIMIT = 0.03
"""How much worse a ratio may be: what a change may cost."""


@dataclass(frozen=True)
class Figure:
    """One figure that is compared.

    Attributes:
        name: in what `inaho_calls.py` prints.
        label: for people.
        more_is_better: else less is.
    """

    name: str
    label: str
    more_is_better: bool


@dataclass(frozen=True)
class Measurement:
    """One start of `inaho_calls.py` per tree and round; `arguments` come after those of all."""

    arguments: tuple[str, ...]
    figures: tuple[Figure, ...]


def _timed(name: str, *figures: Figure) -> Measurement:
    """A measurement by the clock, with the processor time of its calls."""
    cpu = Figure(f"{name}_processor_us", "  processor time per call", False)
    return Measurement(("--only", name, "--processor"), (*figures, cpu))


MEASUREMENTS = (
    _timed("many", Figure("many_per_second", "64 in flight, 1,000 grains", True)),
    _timed("one", Figure("one_per_second", "64 in flight, one grain", True)),
    _timed("suspending", Figure("suspending_per_second", "64 in flight, suspending", True)),
    _timed(
        "sequential",
        Figure("sequential_p50_us", "sequential p50", False),
        Figure("sequential_p99_us", "sequential p99", False),
    ),
    _timed("first", Figure("activations_per_second", "first calls that activate", True)),
    Measurement(
        ("--only", "first", "--trace"), (Figure("activation_traced_bytes", "bytes per activation, allocated", False),)
    ),
)


@dataclass(frozen=True)
class Compared:
    """A figure of both trees.

    Attributes:
        figure: which.
        before, after: medians over the rounds.
        ratio: median of after / before of each round.
        low, high: the interval of the ratio's true median; without enough rounds, the smallest and largest ratio.
        worse: share by which `after` is worse; negative where it is better.
    """

    figure: Figure
    before: float
    after: float
    ratio: float
    low: float
    high: float

    @property
    def worse(self) -> float:
        return 1 - self.ratio if self.figure.more_is_better else self.ratio - 1

    def verdict(self, limit: float) -> str:
        """Whether it is within the limit: `yes` or `NO` by all of the interval, else `likely` or `unlikely`."""
        ends = (self.low, self.high)
        worse = [1 - end if self.figure.more_is_better else end - 1 for end in ends]
        if max(worse) <= limit:
            return "yes"
        if min(worse) > limit:
            return "NO"
        return "likely" if self.worse <= limit else "unlikely"


def interval(ordered: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bounds of the median of whatever the ordered values were drawn from, by the sign test.

    The median lies between the k-th smallest and the k-th largest of n values unless fewer than k of them fell on one
    side of it, which has twice the chance of fewer than k heads in n throws of a coin. With fewer than six values no
    pair of them has 95 %: the outermost ones are given.
    """
    count = len(ordered)
    inside = 0
    chance = 2 * math.comb(count, 0) / 2**count
    while inside < (count - 1) // 2 and chance + 2 * math.comb(count, inside + 1) / 2**count <= 1 - confidence:
        inside += 1
        chance += 2 * math.comb(count, inside) / 2**count
    return ordered[inside], ordered[count - 1 - inside]


def compare(figure: Figure, pairs: Sequence[tuple[Figures, Figures]]) -> Compared:
    """A figure of all rounds, each a pair of before and after."""
    before = [pair[0][figure.name] for pair in pairs]
    after = [pair[1][figure.name] for pair in pairs]
    ratios = sorted(new / old for old, new in zip(before, after, strict=True))
    low, high = interval(ratios)
    return Compared(figure, statistics.median(before), statistics.median(after), statistics.median(ratios), low, high)


def as_table(compared: Sequence[Compared], limit: float) -> str:
    """The table for people."""
    heads = f"{'':32} {'before':>11} {'after':>11} {'after/before':>13} {'interval':>15}  within {limit:.0%}"
    lines = [heads, "-" * len(heads)]
    for each in compared:
        digits = 0 if each.before >= 1000 else 1
        figures = f"{each.before:>11,.{digits}f} {each.after:>11,.{digits}f} {each.ratio:>13.3f}"
        lines.append(
            f"{each.figure.label:32} {figures} {each.low:>7.3f} {each.high:>7.3f}  {each.verdict(limit)}".rstrip()
        )
    return "\n".join(lines)


class Tree:
    """A checkout whose `src` is measured."""

    def __init__(self, path: Path) -> None:
        self.source = path.resolve() / "src"
        self.environment = {**os.environ, "PYTHONPATH": str(self.source)}
        self.commit = self._commit(path)

    def check(self) -> None:
        """Sees to it that processes of this tree import its package, and that all of it is compiled.

        Raises:
            Failed: they import another one, or none.
        """
        program = "import inaho, pathlib; print(pathlib.Path(inaho.__file__).resolve().parents[1])"
        done = subprocess.run(
            [sys.executable, "-c", program], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.stdout.strip() != str(self.source):
            raise Failed(f"{self.source} is not what is imported: {done.stdout.strip() or done.stderr.strip()}")

    def measure(self, measurement: Measurement, *arguments: str) -> Figures:
        return run_script("inaho_calls.py", *arguments, *measurement.arguments, environment=self.environment)

    @staticmethod
    def _commit(path: Path) -> str:
        command = ["git", "-C", str(path), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "no commit"


def measure(before: Tree, after: Tree, rounds: int, arguments: Sequence[str]) -> list[tuple[Figures, Figures]]:
    """Pairs of figures, one of each round."""
    started = time.monotonic()
    pairs: list[tuple[Figures, Figures]] = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}, {time.monotonic() - started:.0f} s")
        old: Figures = {}
        new: Figures = {}
        for place, measurement in enumerate(MEASUREMENTS):
            turns = ((before, old), (after, new))
            for tree, figures in turns if (number + place) % 2 == 0 else reversed(turns):
                figures.update(tree.measure(measurement, *arguments))
        pairs.append((old, new))
    return pairs


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The call benchmark of two source trees, interleaved.")
    parser.add_argument("--before", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--after", type=Path, default=ROOT, help="checkout that is judged (the one of this script)")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of each figure, 1 or more (10)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement (1)")
    parser.add_argument("--activations", type=int, default=100_000, help="first calls to make (100,000)")
    parser.add_argument("--limit", type=float, default=LIMIT, help="how much worse a ratio may be (0.03)")
    parser.add_argument("--strict", action="store_true", help="status 1 when a median ratio is worse than the limit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all rounds")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    before, after = Tree(options.before), Tree(options.after)
    load_before = os.getloadavg()
    try:
        before.check()
        after.check()
        calls = ("--seconds", f"{options.seconds}", "--activations", f"{options.activations}")
        pairs = measure(before, after, options.rounds, calls)
    except Failed as error:
        say(f"no result: {error}")
        return 1
    figures = [figure for measurement in MEASUREMENTS for figure in measurement.figures]
    compared = [compare(figure, pairs) for figure in figures]
    print(as_table(compared, options.limit))
    print(
        f"before {before.commit}, after {after.commit}; {options.rounds} rounds of {options.seconds:g} s; load average "
        f"{load_before[0]:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    )
    if options.json is not None:
        report = {
            "before": before.commit,
            "after": after.commit,
            "machine": machine(load_before),
            "ratios": {each.figure.name: [each.ratio, each.low, each.high] for each in compared},
            "rounds": pairs,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if options.strict and any(each.worse > options.limit for each in compared) else 0


if __name__ == "__main__":
    sys.exit(main())
