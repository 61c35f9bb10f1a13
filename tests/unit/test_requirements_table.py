"""The table of requirements is complete, well-formed, and true about what it calls done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "requirements.md"

SECTIONS = {
    "CL-1": (5, 3), "CL-2": (5, 0), "CL-3": (5, 1), "CL-4": (5, 0), "CL-5": (5, 2), "CL-6": (5, 0),
    "CL-7": (5, 0), "CL-8": (5, 0), "CL-9": (5, 1), "CL-10": (5, 0),
    "VA-1": (5, 0), "VA-2": (5, 1), "VA-3": (5, 2), "VA-4": (4, 0),
    "BS-1": (5, 1), "BS-2": (4, 0), "BS-3": (5, 1), "BS-4": (0, 0),
    "PR-1": (5, 0), "PR-2": (5, 1), "PR-3": (5, 0), "PR-4": (5, 0), "PR-5": (5, 0),
}  # fmt: skip
"""Numbered requirements and further rules of each section. The ids are stable: this changes only by addition."""


class Row(NamedTuple):
    """One line of the table."""

    id: str
    requirement: str
    module: str
    test: str
    status: str


def read_rows(text: str) -> list[Row]:
    """The rows of all tables of `text`, headers left out."""
    rows: list[Row] = []
    for line in text.splitlines():
        if re.match(r"\| [A-Z]{2}-\d", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == len(Row._fields), line
            rows.append(Row(*cells))
    return rows


def paths(cell: str) -> list[str]:
    """The paths in a cell: between backquotes, without what follows `::`."""
    return [path.partition("::")[0] for path in re.findall(r"`([^`]+)`", cell)]


def absent(cell: str, tests: Path) -> list[str]:
    """The paths in a cell that do not exist, and the tests that are not in the file that they are said to be in."""
    found: list[str] = []
    for place in re.findall(r"`([^`]+)`", cell):
        path, _, test = place.partition("::")
        file = tests / path
        if not file.is_file() or (test and f"def {test}(" not in file.read_text("utf-8")):
            found.append(place)
    return found


def problems(row: Row, root: Path) -> list[str]:
    """What is wrong with one row."""
    found: list[str] = []
    if row.status.split(":")[0] not in ("open", "partial", "done"):
        found.append(f"status {row.status!r} is unknown")
    if row.status == "partial":
        found.append("partial does not say what is missing")
    if not row.requirement or not paths(row.module):
        found.append("requirement or module is missing")
    if row.status == "done":
        if not paths(row.test):
            found.append("done, but names no test")
        found += [f"src/inaho/{p} does not exist" for p in paths(row.module) if not (root / "src/inaho" / p).is_file()]
        found += [f"tests/{place} does not exist" for place in absent(row.test, root / "tests")]
    return found


ROWS = read_rows(TABLE.read_text("utf-8"))


def test_every_requirement_has_one_row_and_nothing_else_has():
    expected: list[str] = []
    for section, (numbered, further) in SECTIONS.items():
        expected += [f"{section}.{number}" for number in range(1, numbered + 1)]
        expected += [f"{section}.{'abc'[index]}" for index in range(further)]
        if not numbered:
            expected.append(section)
    assert [row.id for row in ROWS] == expected


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_row_is_true(row: Row):
    assert problems(row, ROOT) == []


def test_a_false_row_is_found(tmp_path: Path):
    (tmp_path / "src/inaho").mkdir(parents=True)
    (tmp_path / "src/inaho/real.py").touch()
    [row] = read_rows("| CL-1.1 | Joins | `real.py` | `unit/test_absent.py::test_x` | done |")
    assert problems(row, tmp_path) == ["tests/unit/test_absent.py::test_x does not exist"]
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_real.py").write_text("def test_x(): ...")
    assert problems(row._replace(test="`test_real.py::test_x`, `test_real.py`"), tmp_path) == []
    assert problems(row._replace(test="`test_real.py::test_y`"), tmp_path) == [
        "tests/test_real.py::test_y does not exist"
    ]
    assert problems(row._replace(test="-"), tmp_path) == ["done, but names no test"]
    assert problems(row._replace(module="`absent.py`", test="-", status="open"), tmp_path) == []
    assert problems(row._replace(status="finished"), tmp_path) == ["status 'finished' is unknown"]
    assert problems(row._replace(status="partial"), tmp_path) == ["partial does not say what is missing"]
    assert problems(row._replace(status="partial: only joins"), tmp_path) == []
