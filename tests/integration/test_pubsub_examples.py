"""The examples of `docs/pubsub.md` run as they stand, each in a process of its own, at a free port."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/pubsub.md"

PRINTS = {
    "Price": "Price(symbol='ACME', value=12.5) ACME 1\n",
    "Line": "",
    "Presence": "Change(user='ann', here=True)\n['ann']\n",
    "OrderEvent": "{'o-1': 'sent'}\n",
    "Device": "23.0\n",
    "Orders": "['apple'] True\n",
}
"""What each example prints, by a class of the example; empty: something."""


def blocks() -> list[Any]:
    spec = importlib.util.spec_from_file_location("readme_examples", ROOT / "scripts/readme_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.examples(PAGE, (ROOT / PAGE).read_text("utf-8")))


def test_each_example_is_known_here():
    assert [sum(f"class {name}(" in block.code for name in PRINTS) for block in blocks()] == [1] * len(PRINTS)


@pytest.mark.integration
@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_as_it_stands(name: str, tmp_path: Path):
    (code,) = (block.code for block in blocks() if f"class {name}(" in block.code)
    program = tmp_path / "example.py"
    assert code.count('"127.0.0.1:7700"') == 1
    program.write_text(code.replace('"127.0.0.1:7700"', '"127.0.0.1:0"'), "utf-8")
    done = subprocess.run(
        [sys.executable, str(program)], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTS[name] or (done.stdout and not PRINTS[name])
