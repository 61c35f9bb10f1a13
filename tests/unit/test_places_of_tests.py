"""Tests are where `docs/testing.md` says: a newcomer finds those of a behaviour by its room in `inaho.runtime`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
RUNTIME = TESTS.parent / "src/inaho/runtime"
BESIDE_THE_ROOMS = {"testing", "benchmarks"}
STARTS_A_NODE = re.compile(r"\b(inaho\.(join|connect)|SimCluster|ClusterExtension)\(|inaho_cluster|support\.fleet")


def folders(of: Path) -> set[str]:
    return {path.name for path in of.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}


@pytest.mark.parametrize(("place", "others"), [("node", BESIDE_THE_ROOMS), ("unit/runtime", set())])
def test_each_folder_is_a_room_of_the_runtime(place: str, others: set[str]):
    assert folders(TESTS / place) <= folders(RUNTIME) | others
    assert not list((TESTS / place).glob("test_*.py")), "a test belongs in the folder of its room"


def test_no_unit_test_starts_a_node():
    files = [path for path in sorted((TESTS / "unit").rglob("test_*.py")) if path != Path(__file__)]
    assert len(files) > 50
    assert [str(path.relative_to(TESTS)) for path in files if STARTS_A_NODE.search(path.read_text("utf-8"))] == []
    assert STARTS_A_NODE.search((TESTS / "node/cluster/test_bind.py").read_text("utf-8"))


def test_no_test_imports_another_one():
    importing = re.compile(r"^\s*(?:from|import) [\w.]*\btest_\w+", re.MULTILINE)
    found = [path for path in sorted(TESTS.rglob("*.py")) if importing.search(path.read_text("utf-8"))]
    assert [str(path.relative_to(TESTS)) for path in found] == []
    assert importing.search("from fuzz.test_frame_mutation import feed\n")
