"""The benchmark of hostile peers runs, with small counts, and judges its figures by their bounds."""

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


def run(*arguments: str) -> dict[str, Any]:
    """What it printed. Its exit code says whether bounds on time were kept, which nothing here depends on."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "hostile.py"), *arguments, "--quick", "--patient", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_wrong_secrets_are_refused_and_disturb_nobody():
    judged = run("secrets")
    figures = judged["figures"]
    assert figures["secrets_refused"] == 1000
    assert figures["secrets_admitted"] == figures["secrets_failed_calls"] == figures["secrets_members_disturbed"] == 0
    assert all(bound["kept"] for bound in judged["bounds"].values())


def test_mutated_frames_leave_no_error_behind():
    judged = run("frames", "--frames", "2000")
    assert judged["figures"]["frames"] >= 2000
    assert judged["figures"]["frames_unhandled"] == 0
    assert judged["bounds"]["frames_unhandled"] == {"bound": 0, "kept": True}


def test_a_broken_bound_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    hostile = importlib.import_module("hostile")
    assert hostile.show_judged({"secrets_admitted": 0.0, "other": 7.0}, False)
    assert not hostile.show_judged({"secrets_admitted": 1.0}, False)
    assert "BROKEN" in capsys.readouterr().out
