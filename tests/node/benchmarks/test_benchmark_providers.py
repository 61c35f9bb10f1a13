"""The benchmark of providers counts clusters, orders snapshots, and runs with small counts on real processes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("providers_fleet")


def process(fleet: Any, node_id: str, *views: list[str], snapshots: tuple[int, ...] = ()) -> Any:
    """A process that has told these views and snapshots."""
    made = fleet.Process(0, f"127.0.0.1:{node_id}", 0.0)
    made.lines = [{"event": "ready", "node_id": node_id}]
    made.lines += [{"event": "view", "up": view, "at": float(at)} for at, view in enumerate(views)]
    made.lines += [{"event": "snapshot", "provider": "etcd", "seq_no": number} for number in snapshots]
    return made


def test_clusters_that_merge_later_are_counted_as_they_were_at_first(fleet: Any):
    one = process(fleet, "1", ["1"], ["1", "2", "3"])
    two = process(fleet, "2", ["1", "2"])
    three = process(fleet, "3", ["3"], ["1", "2", "3"])
    assert fleet.clusters_of([one, two]) == 1
    assert fleet.clusters_of([one, two, three]) == 2
    assert fleet.clusters_of([three, process(fleet, "4", ["3", "4"]), two, one]) == 2
    assert three.up == {"1", "2", "3"}


def test_a_process_that_could_not_join_ends_the_measurement(fleet: Any):
    failed = process(fleet, "1")
    failed.lines = [{"event": "failed", "reason": "no provider has answered"}]
    with pytest.raises(RuntimeError, match="no provider has answered"):
        failed.first("ready")


def test_a_gap_and_a_repeat_of_snapshots_are_counted(fleet: Any):
    order_of = importlib.import_module("providers_away").order_of
    good = process(fleet, "1", snapshots=(1, 2, 3))
    gap = process(fleet, "2", snapshots=(1, 3))
    repeat = process(fleet, "3", snapshots=(1, 1, 2))
    assert order_of([good]) == {"snapshots": 3.0, "snapshots_out_of_order": 0.0}
    assert order_of([good, gap, repeat]) == {"snapshots": 8.0, "snapshots_out_of_order": 2.0}


@pytest.mark.integration
@pytest.mark.parametrize("what", ["found", "idle"])
def test_figures_of_real_processes(what: str):
    options = ("--back-end", "kubernetes", "--repeat", "1", "--seconds", "1", "--json")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "providers.py"), what, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    if what == "found":
        assert figures["kubernetes_registrations"] == 1
        assert 0 <= figures["kubernetes_found_max_ms"] <= 50_000
    else:
        assert figures["kubernetes_measured_s"] >= 1
        assert figures["kubernetes_requests_per_minute"] >= 0
