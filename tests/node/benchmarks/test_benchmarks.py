"""The benchmark's scripts run, with tiny counts, and its table judges as it says."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Imports a module of the benchmark as its scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load_module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load_module


def figures_of(script: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_the_limit_is_measured_between_two_processes():
    figures = figures_of("raw_limit.py", "--seconds", "0.05")
    assert set(figures) == {"sequential_p50_us", "sequential_p99_us", "many_per_second"}
    assert 0 < figures["sequential_p50_us"] <= figures["sequential_p99_us"]
    assert figures["many_per_second"] > 0


def test_every_measurement_of_inaho_gives_its_figures(load):
    figures = figures_of("inaho_calls.py", "--seconds", "0.05", "--activations", "500", "--stall-seconds", "0.05")
    rows = [row.figure for row in load("targets").ROWS if row.subject == "inaho"]
    assert set(rows) <= set(figures)
    assert all(figures[name] > 0 for name in rows if name.endswith(("_per_second", "_us")))
    assert 0 <= figures["stalled_items_ahead"] <= 1024


def test_identities_are_resolved_and_the_bound_decides():
    script = str(BENCHMARKS / "identity_resolution.py")
    command = [sys.executable, script, "--count", "20000", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    report = json.loads(done.stdout)
    figures, bounds = report["figures"], report["bounds"]
    assert set(bounds) == {"cache_default_size_ns", "cache_ns", "owner_3_ns", "owner_1000_ns"}
    assert all(figures[name] > 0 and bounds[name] <= 1_000 for name in bounds)
    assert report["exceeded"] == [name for name in bounds if figures[name] > bounds[name]]
    assert done.returncode == bool(report["exceeded"])


def test_stalls_are_measured_at_each_change_of_topology_and_have_limits(load):
    sizes = ("--members", "200", "--activations", "100", "--count", "2000")
    figures = figures_of("event_loop_stalls.py", "--only", "topology", "--only", "activations", *sizes)
    stalls = load("event_loop_stalls")
    changes = [name for name in stalls.LABELS if not name.startswith("control")]
    assert all(figures[f"{name}_ms"] > 0 for name in changes)
    assert all(figures[f"{name}_ms"] <= figures["topology_ms"] for name in changes if name != "activations")
    table = stalls.table({"form_ms": 10.1, "join_one_ms": 9.9, "activations_ms": 29.0}).splitlines()
    assert [line.split()[-1] for line in table[2:]] == ["MISSED", "reached", "reached"]


def test_a_member_can_be_the_caller():
    figures = figures_of("inaho_calls.py", "--seconds", "0.05", "--caller", "member", "--only", "many")
    assert list(figures) == ["many_per_second"]
    assert figures["many_per_second"] > 0


def test_traced_memory_of_activations_is_that_of_real_objects():
    # So many that what the server frees meanwhile, some hundred kilobytes, counts for little.
    figures = figures_of("inaho_calls.py", "--only", "first", "--trace", "--activations", "20000")
    assert 100 < figures["activation_traced_bytes"] < 5_000


async def test_a_wrong_answer_ends_the_measurement(load):
    measuring = load("measuring")

    async def wrong(number: int):
        return measuring.Echoed("key", number + 1)

    with pytest.raises(RuntimeError, match="got the answer to"):
        await measuring.spread(wrong, range(10), 4)
    with pytest.raises(RuntimeError, match="request 0 got the answer to 1"):
        await measuring.latency(wrong, seconds=0.01)


async def test_so_many_requests_are_under_way_and_no_more(load):
    measuring = load("measuring")
    running, most, seen = 0, 0, []

    async def call(number: int):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        seen.append(number)
        return measuring.Echoed("key", number)

    await measuring.spread(call, range(100), 8)
    assert most == 8
    assert sorted(seen) == list(range(100))


def test_percentiles_of_ordered_values(load):
    percentile = load("measuring").percentile
    values = [float(number) for number in range(100)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 99.0]


def rounds(*pairs: tuple[float, float]) -> list[dict[str, dict[str, float]]]:
    return [{"limit": {"many_per_second": limit}, "inaho": {"many_per_second": ours}} for limit, ours in pairs]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios(load):
    targets = load("targets")
    row = targets.Row("inaho", "many_per_second", "calls", "/s", targets.MANY, at_least=0.5)
    (result,) = targets.judge(rounds((100, 50), (1000, 900), (400, 240)), [row])
    assert result.value == 240
    assert result.ratio == 0.6
    assert result.reached is True
    (missed,) = targets.judge(rounds((100, 49.9)), [row])
    assert missed.reached is False
    assert missed.target == ">= 0.5x"


def test_what_was_not_measured_is_neither_reached_nor_missed_and_is_said(load):
    targets = load("targets")
    row = targets.Row("inaho", "many_per_second", "to a peer", "/s", ("ray", "many_per_second"), at_least=40)
    alone = targets.Row("once", "import_ms", "import", "ms", at_most=150)
    results = targets.judge(rounds((100, 50)), [row, alone])
    assert [result.reached for result in results] == [None, None]
    assert results[0].ratio is None
    assert "not measured" in targets.as_table(results)


def test_bounds_of_figures_that_stand_alone_hold_in_the_unit_shown(load):
    targets = load("targets")
    row = targets.Row("once", "cache_ns", "identity", "us", at_most=0.5, scale=1e-3)
    (reached,) = targets.judge([{"once": {"cache_ns": 400.0}}], [row])
    (missed,) = targets.judge([{"once": {"cache_ns": 501.0}}], [row])
    assert (reached.value, reached.reached) == (0.4, True)
    assert missed.reached is False


def test_a_peer_that_cannot_be_installed_says_why_and_leaves_nothing(load, tmp_path):
    environments = load("peers.environments")
    pins = tmp_path / "requirements.txt"
    pins.write_text(f"{tmp_path}/no-such-peer.whl\n")
    with pytest.raises(environments.NotInstalled, match="no-such-peer"):
        environments.ensure("none", requirements=pins, folder=tmp_path / "venvs")
    assert list((tmp_path / "venvs").iterdir()) == []


def test_a_run_without_peers_prints_the_table_and_writes_all(tmp_path, load, monkeypatch, capsys):
    run = load("run")
    scripts: list[str] = []
    once = {"identity_resolution.py": {"figures": {"cache_ns": 300.0}}}

    def run_script(script: str, *arguments: str, python: str = "") -> dict[str, object]:
        scripts.append(script)
        return once.get(script, {"many_per_second": 100.0})

    monkeypatch.setattr(run, "run_script", run_script)
    report = tmp_path / "new" / "results.json"
    assert run.main(["--peers", "none", "--rounds", "2", "--json", str(report)]) == 0
    table = capsys.readouterr().out
    written = json.loads(report.read_text())
    assert scripts[:3] == ["raw_limit.py", "inaho_calls.py", "inaho_calls.py"]
    assert scripts[6:8] == ["raw_push.py", "inaho_topics.py"]
    assert len(written["rounds"]) == 4
    assert written["peers"] == dict.fromkeys(("xoscar", "ray", "nats", "redis"), "not asked for")
    assert "64 in flight, 1,000 grains" in table
    assert "deliveries to 64 subscribers" in table
    assert "JetStream" not in table
    assert "xoscar" not in table
    assert run.main(["--peers", "none", "--rounds", "1", "--only", "topics", "--json", str(report)]) == 0
    assert "64 in flight, 1,000 grains" not in capsys.readouterr().out
    assert run.main(["--peers", "none", "--rounds", "1", "--json", str(report), "--strict"]) == 1


def test_a_script_that_fails_is_reported_with_its_last_words(load):
    run = load("run")
    with pytest.raises(run.Failed, match="unrecognized arguments") as raised:
        run.run_script("raw_limit.py", "--no-such-option")
    assert raised.value.status == 2


def test_processor_time_per_call_is_that_of_both_processes():
    figures = figures_of("inaho_calls.py", "--seconds", "0.05", "--only", "one", "--processor")
    assert set(figures) == {"one_per_second", "one_processor_us"}
    # Caller and server have a core each at the most, so no call can have taken more than twice its share of the time.
    assert 0 < figures["one_processor_us"] < 1e6


def test_the_median_lies_where_the_sign_test_says(load):
    interval = load("compare").interval
    values = [float(number) for number in range(1, 11)]
    assert interval(values) == (2.0, 9.0)  # 97.9 %; from the third on it would be 89 %
    assert interval(values[:6]) == (1.0, 6.0)
    assert interval(values[:1]) == (1.0, 1.0)
    assert interval([float(number) for number in range(1, 21)]) == (6.0, 15.0)


def test_worse_is_less_of_a_rate_and_more_of_a_time(load):
    compare = load("compare")
    rate, time_ = compare.Figure("rate", "rate", True), compare.Figure("time", "time", False)
    pairs = [({"rate": 100.0, "time": 100.0}, {"rate": after, "time": after}) for after in (88.0, 90.0, 93.0)]
    slower, quicker = compare.compare(rate, pairs), compare.compare(time_, pairs)
    assert slower.ratio == quicker.ratio == 0.9
    assert slower.worse == pytest.approx(0.1)
    assert quicker.worse == pytest.approx(-0.1)
    assert [each.verdict(0.03) for each in (slower, quicker)] == ["NO", "yes"]
    assert [slower.verdict(limit) for limit in (0.08, 0.11, 0.13)] == ["unlikely", "likely", "yes"]


def test_trees_take_turns_in_who_is_measured_first(load, tmp_path, monkeypatch):
    compare = load("compare")
    seen: list[tuple[str, str]] = []

    def measure(tree, measurement, *arguments: str) -> dict[str, float]:
        seen.append((tree.source.parent.name, measurement.figures[0].name))
        return {figure.name: 2.0 if tree.source.parent.name == "new" else 1.0 for figure in measurement.figures}

    monkeypatch.setattr(compare.Tree, "measure", measure)
    trees = [compare.Tree(tmp_path / name) for name in ("old", "new")]
    pairs = compare.measure(*trees, 2, ())
    count = len(compare.MEASUREMENTS)
    assert [first for first, _ in seen[::2]] == ["old", "new"] * (count // 2) + ["new", "old"] * (count // 2)
    assert all(seen[at][1] == seen[at + 1][1] and seen[at][0] != seen[at + 1][0] for at in range(0, len(seen), 2))
    assert all(set(old.values()) == {1.0} and set(new.values()) == {2.0} for old, new in pairs)


def test_a_tree_whose_package_is_not_imported_is_refused(load, tmp_path, capsys):
    (tmp_path / "src").mkdir()
    assert load("compare").main(["--before", str(tmp_path), "--rounds", "1"]) == 1
    assert "is not what is imported" in capsys.readouterr().err


def test_a_tree_is_compared_with_itself(load, capsys, tmp_path, monkeypatch):
    compare = load("compare")
    monkeypatch.setattr(compare, "MEASUREMENTS", compare.MEASUREMENTS[-2:])
    arguments = ["--before", str(ROOT), "--rounds", "1", "--seconds", "0.05", "--activations", "500"]
    assert compare.main([*arguments, "--json", str(tmp_path / "ratios.json")]) == 0
    table, written = capsys.readouterr().out, json.loads((tmp_path / "ratios.json").read_text())
    names = [figure.name for measurement in compare.MEASUREMENTS for figure in measurement.figures]
    assert list(written["ratios"]) == names
    assert written["before"] == written["after"]
    assert "bytes per activation" in table


def test_messages_in_one_direction_are_measured_between_two_processes():
    figures = figures_of("raw_push.py", "--seconds", "0.05")
    assert set(figures) == {"per_second", "p50_us", "p99_us"}
    assert figures["per_second"] > 0
    assert 0 < figures["p50_us"] <= figures["p99_us"]


def test_every_measurement_of_topics_gives_its_figures(load):
    assert {*load("run").TOPIC_PARTS, "tables"} == set(load("inaho_topics").MEASUREMENTS)
    tables = ("--topics", "20", "--cycles", "40")
    figures = figures_of("inaho_topics.py", "--seconds", "0.1", *tables)
    assert {row.figure for row in load("topics_targets").TOPIC_ROWS if row.subject in ("topics", "once")} <= set(
        figures
    )
    assert all(value > 0 for name, value in figures.items() if name.endswith(("_per_second", "_us")))
    assert figures["topics_left"] == 0


def test_the_last_message_ends_the_count_even_when_it_is_repeated(load):
    measuring = load("topics_measuring")
    arrivals = measuring.Arrivals()
    for number in range(measuring.SAMPLES + 10):
        arrivals.take(measuring.Sample(float(number + 1), b""))
    assert (len(arrivals.latencies), arrivals.count) == (measuring.SAMPLES, 10)
    assert not arrivals.done.is_set()
    arrivals.take(measuring.Sample(measuring.LAST, b""))
    figures = arrivals.figures()
    arrivals.take(measuring.Sample(measuring.LAST, b""))
    assert arrivals.figures() == figures
    assert figures["received"] == 10
    assert figures["per_second"] > 0
