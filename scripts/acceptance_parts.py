"""The parts of an acceptance run: what each runs in the seconds it is given, and how its output is judged.

Apart from `acceptance.py`, which runs them, so that the tests can check how output is read without producing it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["PARTS", "Part", "Reading", "shares"]


@dataclass(frozen=True)
class Reading:
    """What a part's output says.

    Attributes:
        lines: for the report.
        broken: promises that were not kept.
        missed: targets that were missed.
        absent: why nothing was shown, such as a tool that this machine does not have.
    """

    lines: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    absent: str = ""


@dataclass(frozen=True)
class Part:
    """One kind of repetition.

    Attributes:
        name: for `--only` and the report.
        shows: what is shown if it passes.
        weight: of the seconds, in proportion to the weights of the other parts that run.
        least_s: what the smallest run takes; with less it is not run.
        arguments: after `python`, from the seconds that it has and the number of seeds that was asked for (0: none).
        asked: the same as words, from the arguments.
        read: what the output says.
        repeat: how often the command is run while its time lasts, at the most.
    """

    name: str
    shows: str
    weight: float
    least_s: float
    arguments: Callable[[float, int], list[str]]
    asked: Callable[[list[str]], str]
    read: Callable[[str], Reading]
    repeat: int = 1


def read_tests(output: str) -> Reading:
    """Sums of what the summaries of one or more pytest runs say."""
    counts: dict[str, int] = {}
    runs = 0
    for summary in re.findall(r"^(?:=+ )?(\d+ \w+(?:, \d+ \w+)*) in [\d.:]+ ?s", output, re.MULTILINE):
        runs += 1
        for count, what in re.findall(r"(\d+) (\w+)", summary):
            counts[what] = counts.get(what, 0) + int(count)
    reasons = sorted(set(re.findall(r"^SKIPPED \[\d+\] \S+ (.+)$", output, re.MULTILINE)))
    lines = [
        f"{runs} run{'' if runs == 1 else 's'}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items())
    ]
    lines += [f"skipped: {reason}" for reason in reasons]
    return Reading(tuple(lines), () if counts.get("passed") else ("no test has passed",))


def read_seeds(output: str) -> Reading:
    """The two lines with which `freshness_seeds.py` ends."""
    lines = tuple(line for line in output.splitlines() if re.match(r"\d+ seeds,|judged: ", line))
    return Reading(lines, () if lines else ("no seed was judged",))


def read_figures(output: str, *, none: Sequence[str] = (), at_most: dict[str, str | float] | None = None) -> Reading:
    """Figures of a benchmark, the last line of JSON.

    Args:
        output: of the script.
        none: figures that count what must not happen.
        at_most: targets of others, as numbers or as names of figures.
    """
    figures = _last_json(output)
    if figures is None:
        return Reading(broken=("no figures",))
    broken = [f"{name} is {figures[name]:,.6g}" for name in none if figures[name] != 0]
    missed: list[str] = []
    for name, target in (at_most or {}).items():
        most = figures[target] if isinstance(target, str) else target
        if figures[name] > most:
            missed.append(f"{name} is {figures[name]:,.4g}, target {most:,.4g}")
    return Reading(
        (", ".join(f"{name} {value:,.6g}" for name, value in figures.items()),), tuple(broken), tuple(missed)
    )


NEVER = ("_not_one_cluster", "_not_one_cluster_again", "_calls_failed", "_snapshots_out_of_order", "_changes_too_early")
"""Ends of the names of figures that count what no provider may cause."""


def read_providers(output: str) -> Reading:
    """Figures of `providers.py`: `etcd_target_found_max_ms` is the target of `etcd_found_max_ms`."""
    figures = _last_json(output) or {}
    targets = {name.replace("_target_", "_"): name for name in figures if "_target_" in name}
    never = [name for name in figures if name.endswith(NEVER)]
    return read_figures(output, none=never, at_most={**targets})


def read_reach(output: str) -> Reading:
    """A line of JSON per figure of `control_plane_reach.py`. Virtual time: what is exceeded is broken, not missed."""
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    lines = tuple(
        f"{row['figure']}: p50 {row['p50']:.2f}, p99 {row['p99']:.2f}, worst {row['worst']:.2f} of {row['seeds']} seeds"
        for row in rows
    )
    broken = tuple(
        f"{row['figure']}: {row['worst']:.2f}, bound {row['most']:g}" for row in rows if row["worst"] > row["most"]
    )
    return Reading(lines, broken or (() if rows else ("no figures",)))


def read_hostile(output: str) -> Reading:
    """What `hostile.py` says of its bounds. What must not happen at all is broken, the rest are times and sizes."""
    found = _last_json(output)
    if found is None:
        return Reading(broken=("no figures",))
    figures, bounds = found["figures"], found["bounds"]
    lines = tuple(f"{name} {figures[name]:,.4g}, bound {bound['bound']:,.4g}" for name, bound in bounds.items())
    exceeded = [name for name, bound in bounds.items() if not bound["kept"]]
    return Reading(
        lines,
        tuple(name for name in exceeded if bounds[name]["bound"] == 0),
        tuple(name for name in exceeded if bounds[name]["bound"] != 0),
    )


def read_bench(output: str) -> Reading:
    """Rows of the benchmark's table, and the targets that it says were missed."""
    rows = [line for line in output.splitlines() if re.search(r"(?:<=|>=) .*(?:yes|NO)$", line)]
    missed = tuple(re.split(r"  +", line)[0] for line in rows if line.endswith("NO"))
    last = [line for line in output.splitlines() if "the limit itself varied" in line]
    lines = tuple(re.sub(r"  +", ", ", line) for line in [*rows, *last])
    return Reading(lines, () if rows else ("no table",), missed)


def read_fuzzing(output: str) -> Reading:
    """Inputs per target of the coverage-guided fuzzer."""
    targets = re.findall(r"^fuzzing (\w+) for (\d+) s", output, re.MULTILINE)
    counts = re.findall(r"^stat::number_of_executed_units: +(\d+)", output, re.MULTILINE)
    lines = tuple(
        f"{name}: {int(count):,} inputs in {seconds} s" for (name, seconds), count in zip(targets, counts, strict=False)
    )
    if "atheris is not installed" in output:
        return Reading(absent="atheris is not installed: it has no wheel for every Python")
    found = re.findall(r"=== Uncaught Python exception: ===\n(.+)", output)
    files = re.findall(r"Test unit written to \S*?([\w-]+)$", output, re.MULTILINE)
    if len(lines) != len(targets) or not lines:
        found.append("a target has tried no input to its end")
    return Reading(lines, (*found, *(f"input in build/fuzz/{name}" for name in files)))


def _last_json(output: str) -> dict[str, Any] | None:
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def times(seconds: float, each_s: float, first_s: float = 0.0, most: int = 100_000) -> str:
    """How many repetitions fit, one at least."""
    return str(max(1, min(most, int((seconds - first_s) / each_s))))


def said(words: str, name: str) -> Callable[[list[str]], str]:
    """`asked` of a part with one number: `{}` in the words is the value of the option `name`."""
    return lambda arguments: words.format(arguments[arguments.index(name) + 1])


def soak(*selection: str) -> Callable[[float, int], list[str]]:
    """Rounds of new seeds; small rounds for little time, as a round that has begun is finished."""

    def arguments(seconds: float, seeds: int) -> list[str]:
        many = seconds >= 1800 or seeds >= 100
        each = ["--seeds", "50" if many else "2", "--examples", "500" if many else "50"]
        until = ["--until-seed", str(seeds)] if seeds else []
        return ["scripts/soak.py", "--seconds", f"{seconds:.0f}", *each, *until, "-n", "2", *selection]

    return arguments


PARTS = (
    Part(
        "suite", "all tests pass again and again", 6, 900,
        lambda seconds, seeds: ["-m", "pytest", "-q", "-n", "3", "--dist", "worksteal"],
        lambda arguments: "up to ten runs of all tests", read_tests, repeat=10,
    ),
    Part(
        "simulations", "clusters in virtual time keep their promises under new seeds", 6, 60,
        soak("-m", "simulation"), said("rounds of {} new seeds per test", "--seeds"), read_tests,
    ),
    Part(
        "swarm", "control planes under faults that a seed draws", 2, 20,
        soak("tests/sim/test_control_swarm.py", "tests/sim/test_control_liar.py"),
        said("rounds of {} new seeds per test", "--seeds"), read_tests,
    ),
    Part(
        "properties", "Hypothesis finds no counterexample, mutated frames break nothing", 3, 60,
        soak("-m", "hypothesis or fuzz"), said("rounds of {} new examples per property", "--examples"), read_tests,
    ),
    Part(
        "fuzz", "coverage-guided fuzzing of codec, frames and handshake finds nothing", 2, 15,
        lambda seconds, seeds: ["tests/fuzz/run_atheris.py", f"{seconds:.0f}"],
        lambda arguments: f"{arguments[1]} s", read_fuzzing,
    ),
    Part(
        "freshness", "no answer is older than the rule allows, in any episode", 4, 10,
        lambda seconds, seeds: ["scripts/freshness_seeds.py", "--count", str(seeds or times(seconds, 0.5))],
        said("{} seeds", "--count"), read_seeds,
    ),
    Part(
        "reach", "membership is as fast and as steady as it says, in virtual time", 3, 10,
        lambda seconds, seeds: [
            "benchmarks/control_plane_reach.py", "--seeds", str(seeds or times(seconds, 1.5, most=1000)), "--json",
        ],
        said("{} histories per figure", "--seeds"), read_reach,
    ),
    Part(
        "processes", "real processes on loopback, killed, stopped and restarted", 4, 240,
        lambda seconds, seeds: ["-m", "pytest", "-q", "-n", "2", "-m", "integration"],
        lambda arguments: "runs of all tests with processes while time is left", read_tests, repeat=100,
    ),
    Part(
        "servers", "storages keep what they acknowledged while Redis and PostgreSQL fail", 3, 45,
        lambda seconds, seeds: ["-m", "pytest", "-q", "tests/services"],
        lambda arguments: "runs while time is left", read_tests, repeat=100,
    ),
    Part(
        "clusters from nothing", "twenty processes found one cluster, and again after all of them have died", 8, 60,
        lambda seconds, seeds: [
            "benchmarks/providers.py", "founding", "--repeat", times(seconds, 32, 30, most=50), "--json",
        ],
        said("{} times with each back end", "--repeat"), read_providers,
    ),
    Part(
        "clusters from nothing, disturbed", "the same while servers or processes are away for a moment", 2, 80,
        lambda seconds, seeds: [
            "benchmarks/providers.py", "disturbed", "--repeat", times(seconds, 50, 30, most=50), "--json",
        ],
        said("{} times with each back end", "--repeat"), read_providers,
    ),
    Part(
        "a new member is found", "all others have it in a snapshot of their provider", 1, 60,
        lambda seconds, seeds: [
            "benchmarks/providers.py", "found", "--repeat", times(seconds, 18, 40, most=50), "--json",
        ],
        said("{} new members with each back end", "--repeat"), read_providers,
    ),
    Part(
        "providers fail over", "another provider takes over from a stopped etcd", 1, 60,
        lambda seconds, seeds: [
            "benchmarks/providers.py", "fail-over", "--repeat", times(seconds, 35, 20, most=20), "--json",
        ],
        said("{} times", "--repeat"), read_providers,
    ),
    Part(
        "a provider flaps", "members change their provider once per cool-down at most", 1, 30,
        lambda seconds, seeds: ["benchmarks/providers.py", "flapping", "--seconds", times(seconds, 1, 20), "--json"],
        said("{} s", "--seconds"), read_providers,
    ),
    Part(
        "providers are away", "no call fails while a server is dead, stopped, cut off, full or empty", 6, 400,
        lambda seconds, seeds: ["benchmarks/providers.py", "away", "--seconds", times(seconds, 1, 350, 600), "--json"],
        said("each server is dead for {} s", "--seconds"), read_providers,
    ),
    Part(
        "an idle provider", "a provider with 100 members costs a member little", 2, 180,
        lambda seconds, seeds: ["benchmarks/providers.py", "idle", "--seconds", times(seconds, 5, 100), "--json"],
        said("{} s with each back end", "--seconds"), read_providers,
    ),
    Part(
        "rolling restarts", "no call fails while five members restart in turn", 3, 30,
        lambda seconds, seeds: ["benchmarks/grain_rolling_restart.py", "--rounds", times(seconds, 10, 8), "--json"],
        said("{} restarts of each of five members", "--rounds"),
        partial(read_figures, none=("calls_failed",), at_most={"gap_p99_ms": "target_gap_p99_ms"}),
    ),
    Part(
        "kill -9", "grains of a killed member answer elsewhere, with all that was acknowledged", 3, 30,
        lambda seconds, seeds: ["benchmarks/grain_kill.py", "--repeat", times(seconds, 6, 5), "--json"],
        said("{} deaths", "--repeat"),
        partial(read_figures, none=("others_failed",), at_most={"back_p99_ms": "target_back_p99_ms"}),
    ),
    Part(
        "a death is known", "the others agree on a killed member", 2, 12,
        lambda seconds, seeds: ["benchmarks/failure_detection.py", "--repeat", times(seconds, 6), "--json"],
        said("{} deaths", "--repeat"), partial(read_figures, at_most={"all_agree_p99_ms": "target_p99_ms"}),
    ),
    Part(
        "a silence is known", "the others agree on a stopped member", 2, 16,
        lambda seconds, seeds: [
            "benchmarks/failure_detection.py", "--repeat", times(seconds, 9), "--how", "stop", "--json",
        ],
        said("{} members stopped", "--repeat"), partial(read_figures, at_most={"all_agree_p99_ms": "target_p99_ms"}),
    ),
    Part(
        "zombie", "a member that wakes after its removal saves nothing", 1, 45,
        lambda seconds, seeds: [
            "benchmarks/zombie.py", "--stopped-s", f"{max(10.0, min(30.0, seconds - 15)):.0f}", "--json",
        ],
        said("stopped for {} s", "--stopped-s"),
        partial(read_figures, none=("late_saves_accepted",), at_most={"back_ms": "target_back_ms"}), repeat=20,
    ),
    Part(
        "topics survive", "no acknowledged message is lost, every loss is told, while members and storage die", 3, 80,
        lambda seconds, seeds: [
            "benchmarks/topics_survive.py", "--rounds", times(seconds, 80, most=20), "--json",
        ],
        said("{} rounds of ten kills, a rolling restart and a restart of Redis", "--rounds"),
        partial(read_figures, none=("lost", "disordered", "untold")),
    ),
    Part(
        "topics disturbed", "a subscriber that hangs, raises, never reads or is stopped delays no other", 1, 150,
        lambda seconds, seeds: [
            "benchmarks/topics_disturbed.py", "--rounds", times(seconds, 140, most=20), "--json",
        ],
        said("{} rounds, each with four kinds of bad subscribers", "--rounds"),
        partial(
            read_figures,
            at_most={f"{how}_p99_ratio": "target_p99_ratio" for how in ("hangs", "raises", "never_reads", "stopped")},
        ),
    ),
    Part(
        "rebalance", "a sixth member takes its share and no more", 1, 20,
        lambda seconds, seeds: [
            "benchmarks/grain_rebalance.py", "--keys", "10000" if seconds >= 60 else "2000",
            "--repeat", times(seconds, 15), "--json",
        ],
        said("{} joins", "--repeat"),
        partial(read_figures, at_most={"moved_of_ideal_most": "target_moved_of_ideal"}),
    ),
    Part(
        "delivery", "every message is delivered, dead-lettered or in doubt, in order, while connections break", 1, 15,
        lambda seconds, seeds: [
            "benchmarks/delivery.py", "--only", "interrupted", "--messages", times(seconds, 1e-4, most=100_000),
            "--reconnections", times(seconds, 1), "--json",
        ],
        said("{} broken connections", "--reconnections"),
        partial(read_figures, none=("inversions", "duplicates", "unexplained", "dead_but_received", "law_error")),
    ),
    Part(
        "hostile", "hostile peers cost a member and its other callers what the bounds say", 1, 60,
        lambda seconds, seeds: ["benchmarks/hostile.py", "all", *(["--quick"] if seconds < 900 else []), "--json"],
        lambda arguments: "quick" if "--quick" in arguments else "in full", read_hostile,
    ),
    Part(
        "bench", "the benchmark's targets", 2, 60,
        lambda seconds, seeds: [
            "benchmarks/run.py", "--peers", "none" if seconds < 600 else "all", "--rounds", times(seconds, 60, most=10),
            "--json", "build/acceptance/bench.json",
        ],
        said("{} rounds", "--rounds"), read_bench,
    ),
)  # fmt: skip
"""In the order in which they run."""


def shares(parts: Sequence[Part], seconds: float) -> dict[str, float]:
    """Seconds of each part that fits, by weight; those whose share would be too small leave theirs to the others."""
    fitting = list(parts)
    while fitting:
        total = sum(part.weight for part in fitting)
        given = {part.name: seconds * part.weight / total for part in fitting}
        short = [part for part in fitting if given[part.name] < part.least_s]
        if not short:
            return given
        fitting.remove(max(short, key=lambda part: part.least_s / part.weight))
    return {}
