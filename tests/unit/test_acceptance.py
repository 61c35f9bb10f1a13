"""What an acceptance run says of itself: budgets, what it reads from outputs, verdicts, and the report."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Imports a module of the scripts as they do."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load_module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load_module


def part(load, name: str, weight: float = 1, least_s: float = 0, program: str = "", **more):
    """A part that runs a program of its own."""
    parts = load("acceptance_parts")
    values = {"arguments": lambda seconds, seeds: ["-c", program], "asked": lambda arguments: "one run"}
    values |= {"read": lambda output: parts.Reading(tuple(output.splitlines()))} | more
    return parts.Part(name, f"{name} holds", weight, least_s, **values)


def test_seconds_are_shared_by_weight_among_the_parts_that_fit(load):
    shares = load("acceptance_parts").shares
    parts = [part(load, "long", 3, 100), part(load, "short", 1, 10), part(load, "other", 2, 10)]
    assert shares(parts, 600) == {"long": 300, "short": 100, "other": 200}
    assert shares(parts, 120) == {"short": 40, "other": 80}
    assert shares(parts, 12) == {"other": 12}
    assert shares(parts, 9) == {}


def test_every_part_fits_into_a_full_run_and_names_what_it_was_asked(load):
    parts, full_s = load("acceptance_parts"), load("acceptance_report").FULL_S
    given = parts.shares(parts.PARTS, full_s)
    assert len(given) == len(parts.PARTS) == len({each.name for each in parts.PARTS})
    for each in parts.PARTS:
        arguments = each.arguments(given[each.name], 0)
        assert arguments[0] == "-m" or (SCRIPTS.parent / arguments[0]).is_file()
        assert each.asked(arguments)


def test_seeds_that_were_asked_for_are_those_of_the_parts_that_have_some(load):
    parts = {each.name: each for each in load("acceptance_parts").PARTS}
    assert parts["freshness"].arguments(10, 2000)[-2:] == ["--count", "2000"]
    assert "--until-seed 2000" in " ".join(parts["swarm"].arguments(10, 2000))
    assert "--seeds 2000" in " ".join(parts["reach"].arguments(10, 2000))


def test_summaries_of_several_pytest_runs_are_added_up(load):
    read = load("acceptance_parts").read_tests
    output = (
        "SKIPPED [3] tests/a.py:3: redis-server is not installed\n"
        "81 passed, 206 skipped in 36.69s\n"
        "===== 1 failed, 9 passed in 70.10s (0:01:10) =====\n"
    )
    assert read(output).lines == ("2 runs: 90 passed, 206 skipped, 1 failed", "skipped: redis-server is not installed")
    assert read("1 passed in 0.01s\n").lines == ("1 run: 1 passed",)
    assert read("no tests ran in 0.01s\n").broken == ("no test has passed",)


def test_what_must_not_happen_is_broken_and_a_late_time_is_missed(load):
    read = load("acceptance_parts").read_figures
    output = "a log line\n" + json.dumps({"failed": 0, "p99_ms": 180.0, "target_ms": 250.0}) + "\n"
    assert read(output, none=("failed",), at_most={"p99_ms": "target_ms"}).lines == (
        "failed 0, p99_ms 180, target_ms 250",
    )
    worse = output.replace('"failed": 0', '"failed": 2').replace("180.0", "251.0")
    reading = read(worse, none=("failed",), at_most={"p99_ms": "target_ms"})
    assert reading.broken == ("failed is 2",)
    assert reading.missed == ("p99_ms is 251, target 250",)
    assert read("Traceback …\n").broken == ("no figures",)


def test_each_back_end_of_providers_has_targets_and_counts_of_its_own(load):
    read = load("acceptance_parts").read_providers
    figures = {"etcd_calls_failed": 0.0, "dns_calls_failed": 0.0}
    figures |= {"etcd_found_max_ms": 180.0, "etcd_target_found_max_ms": 1000.0}
    figures |= {"dns_found_max_ms": 1100.0, "dns_target_found_max_ms": 1200.0}
    reading = read(json.dumps(figures))
    assert (reading.broken, reading.missed) == ((), ())
    worse = figures | {"dns_calls_failed": 3.0, "etcd_found_max_ms": 1001.0}
    reading = read(json.dumps(worse))
    assert reading.broken == ("dns_calls_failed is 3",)
    assert reading.missed == ("etcd_found_max_ms is 1,001, target 1,000",)
    assert read("Traceback …\n").broken == ("no figures",)


def test_a_bound_of_virtual_time_that_is_exceeded_is_broken(load):
    read = load("acceptance_parts").read_reach
    row = {"figure": "a kill", "seeds": 5, "p50": 0.5, "p99": 0.6, "worst": 1.6, "most": 1.5}
    assert read(json.dumps(row)).broken == ("a kill: 1.60, bound 1.5",)
    assert read(json.dumps({**row, "worst": 1.5})).broken == ()
    assert read("").broken == ("no figures",)


def test_hostile_peers_must_be_refused_and_may_cost_time_on_a_busy_machine(load):
    read = load("acceptance_parts").read_hostile
    figures = {"secrets_admitted": 1.0, "flood_p99_ratio": 3.0, "flood_p50_ratio": 1.0}
    bounds = {
        "secrets_admitted": {"bound": 0, "kept": False},
        "flood_p99_ratio": {"bound": 2.0, "kept": False},
        "flood_p50_ratio": {"bound": 2.0, "kept": True},
    }
    reading = read(json.dumps({"figures": figures, "bounds": bounds}))
    assert reading.broken == ("secrets_admitted",)
    assert reading.missed == ("flood_p99_ratio",)
    assert reading.lines[0] == "secrets_admitted 1, bound 0"


def test_the_benchmark_s_own_table_is_read(load, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS.parent / "benchmarks"))
    targets = importlib.import_module("targets")
    rows = [
        targets.Row("once", "import_ms", "import, interpreter taken off", "ms", at_most=150),
        targets.Row("once", "up_s", "quickstart, two nodes up", "s", at_most=2.0),
    ]
    table = targets.as_table(targets.judge([{"once": {"import_ms": 80.0, "up_s": 2.5}}], rows))
    reading = load("acceptance_parts").read_bench(table)
    assert reading.lines[0] == "import, interpreter taken off, 80.0 ms, <= 150 ms, yes"
    assert reading.missed == ("quickstart, two nodes up",)
    assert not reading.broken


@pytest.fixture
def run(load, tmp_path, monkeypatch):
    """`acceptance.run_part`, with its logs in a folder of the test."""
    acceptance = load("acceptance")
    monkeypatch.setattr(acceptance, "LOGS", tmp_path)
    return acceptance.run_part


def test_a_part_that_passes_says_what_it_ran_and_found(load, run, tmp_path):
    verdicts = load("acceptance_report").Verdict
    outcome = run(part(load, "a part", program="print('7 found')"), 5.0, 0)
    assert (outcome.verdict, outcome.measured, outcome.log) == (verdicts.PASSED, ("7 found",), ())
    assert outcome.command == """python -c 'print('"'"'7 found'"'"')'"""
    assert (tmp_path / "a-part.log").read_text() == "7 found\n"


def test_a_part_whose_process_fails_has_failed_and_shows_its_last_lines(load, run):
    verdicts = load("acceptance_report").Verdict
    outcome = run(part(load, "a part", program="print('began'); raise SystemExit(3)", repeat=9), 60.0, 0)
    assert (outcome.verdict, outcome.why) == (verdicts.FAILED, "it ended with status 3")
    assert outcome.log == ("began",)


def test_a_part_is_repeated_while_its_seconds_last_and_not_more_often_than_it_says(load, run):
    repeated = part(load, "a part", program="print('once')", repeat=3)
    assert run(repeated, 3600.0, 0).measured == ("once",) * 3
    assert run(repeated, 3600.0, 0).asked == "one run, 3 times"
    assert run(repeated, 0.0, 0).measured == ("once",)


def test_what_a_part_started_ends_when_its_limit_is_reached(load):
    program = (
        "import os, subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "print(child.pid, flush=True); child.wait()"
    )
    output, status = load("acceptance").run_command(["-c", program], 2.0)
    assert status == -1
    deadline = time.monotonic() + 10.0
    while Path(f"/proc/{output.strip()}/exe").exists():
        assert time.monotonic() < deadline, "the process of the part still runs"
        os.sched_yield()


def test_what_could_not_be_tried_has_not_passed(load, run):
    parts, verdicts = load("acceptance_parts"), load("acceptance_report").Verdict
    output = "atheris is not installed (is there a wheel for 3.14 on linux?): not fuzzed by coverage"
    outcome = run(part(load, "fuzz", program=f"print({output!r})", read=parts.read_fuzzing), 5.0, 0)
    assert outcome.verdict is verdicts.NOT_RUN
    assert "atheris is not installed" in outcome.why
    begun = "fuzzing frames for 5 s\n"
    assert parts.read_fuzzing(begun).broken == ("a target has tried no input to its end",)
    reading = parts.read_fuzzing(f"{begun}stat::number_of_executed_units: 27683\n")
    assert (reading.lines, reading.broken) == (("frames: 27,683 inputs in 5 s",), ())
    crash = (
        f"{begun} === Uncaught Python exception: ===\nAssertionError: <EMPTY MESSAGE>\n"
        "artifact_prefix='/srv/clone/build/fuzz/codec-'; Test unit written to /srv/clone/build/fuzz/codec-crash-b6b0\n"
        "stat::number_of_executed_units: 31310\n"
    )
    assert parts.read_fuzzing(crash).broken == (
        "AssertionError: <EMPTY MESSAGE>",
        "input in build/fuzz/codec-crash-b6b0",
    )
    assert parts.read_seeds("Traceback …\n").broken == ("no seed was judged",)


def report(load, *outcomes, budget_s: float = 600.0):
    facts = {"commit": "abc", "machine": "two cores"}
    return load("acceptance_report").Report("2026-01-31", "make acceptance", budget_s, 590.4, facts, outcomes)


def test_the_report_says_what_was_asked_measured_and_judged(load):
    module = load("acceptance_report")
    passed = module.Outcome(
        "kill -9", "saves survive", "python kill.py --repeat 20", "20 deaths", ("p50 1 | 2", "p99 3"),
        module.Verdict.PASSED, seconds=61.7,
    )  # fmt: skip
    failed = module.Outcome(
        "suite", "all pass", "python -m pytest", "ten runs", ("9 runs",), module.Verdict.FAILED, "1 failed", 9.0,
        ("FAILED x",),
    )  # fmt: skip
    left_out = module.Outcome("zombie", "nothing is saved", why="not asked for")
    text = module.as_markdown(report(load, passed, failed, left_out))
    lines = text.splitlines()
    assert lines[0] == "# Acceptance of 2026-01-31"
    assert lines[2] == "1 passed, 1 FAILED, 1 not run."
    assert "| kill -9 | saves survive | 20 deaths | p50 1 \\| 2<br>p99 3 | 62 | passed |" in lines
    assert "| suite | all pass | ten runs | 9 runs | 9 | FAILED: 1 failed |" in lines
    assert "| zombie | nothing is saved |  |  |  | not run: not asked for |" in lines
    assert "- kill -9: `python kill.py --repeat 20`" in lines
    assert "| commit | abc |" in lines
    assert "| budget | 600 s |" in lines
    assert lines[-3:] == ["## The last lines of suite", "", "    FAILED x"]


def test_a_short_run_says_that_it_is_short(load):
    module = load("acceptance_report")
    assert "This was a short run: 600 s of the 14,400 s" in module.as_markdown(report(load))
    assert "short run" not in module.as_markdown(report(load, budget_s=module.FULL_S))


def test_no_path_of_the_machine_is_left(load):
    without_paths = load("acceptance_report").without_paths
    known = {"/srv/clone/": "", "/srv/clone": ".", "/srv/clone/.venv": ".venv", "/tmp": "$TMPDIR"}
    text = "/srv/clone/.venv/bin/python /srv/clone/tests/a.py:3 in /tmp/x/y.db, /usr/lib/python3.11/asyncio/tasks.py:1"
    assert without_paths(text, known) == ".venv/bin/python tests/a.py:3 in $TMPDIR/x/y.db, …/tasks.py:1"
    kept = "redis://cache:6379/0, customer/one/two, 1/2, ratio <= 1.3x, see docs/testing.md, and / alone"
    assert without_paths(kept, known) == kept


def test_a_run_writes_its_report_and_overwrites_none(load, tmp_path, monkeypatch, capsys):
    acceptance = load("acceptance")
    monkeypatch.setattr(acceptance, "LOGS", tmp_path / "logs")
    parts = (part(load, "fine", program="print('all well')"), part(load, "long", least_s=3600))
    monkeypatch.setattr(acceptance, "PARTS", parts)
    arguments = ["--seconds", "5", "--folder", str(tmp_path / "reports")]
    assert [acceptance.main(arguments), acceptance.main(arguments)] == [0, 0]
    first, second = sorted((tmp_path / "reports").iterdir(), key=lambda each: len(each.name))
    assert second.name == f"{first.stem}-2.md"
    text = first.read_text()
    assert "1 passed, 1 not run." in text
    assert "all well" in text
    assert f"CPython {sys.version.split()[0]}" in text
    assert str(SCRIPTS.parent) not in text
    monkeypatch.setattr(acceptance, "PARTS", (part(load, "bad", program="raise SystemExit(1)"),))
    monkeypatch.setattr(sys, "argv", ["acceptance.py"])
    assert acceptance.main(["--seconds", "5", "--only", "bad", "--folder", str(tmp_path / "reports")]) == 1
    assert "written to" in capsys.readouterr().out
