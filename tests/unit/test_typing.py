"""What mypy and pyright say of programs that use the library: the examples in `typing/`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests/unit/typing"
KINDS, WRONG = EXAMPLES / "kinds_in_lists.py", EXAMPLES / "wrong_use.py"

Complaints = dict[str, set[int]]
"""Lines with an error, by name of the file."""


def run(tool: str, *arguments: str) -> str:
    pytest.importorskip(tool)
    command = [sys.executable, "-m", tool, *arguments, str(KINDS), str(WRONG)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(tmp_path: Path) -> Complaints:
    found: Complaints = {}
    output = run("mypy", "--strict", "--no-error-summary", f"--cache-dir={tmp_path}")
    for line in output.splitlines():
        path, number, severity, _ = line.split(":", 3)
        if severity.strip() == "error":
            found.setdefault(Path(path).name, set()).add(int(number))
    return found


def pyright(tmp_path: Path) -> Complaints:
    found: Complaints = {}
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable)
    for complaint in json.loads(output)["generalDiagnostics"]:
        found.setdefault(Path(complaint["file"]).name, set()).add(complaint["range"]["start"]["line"] + 1)
    return found


@pytest.mark.timeout(300)  # a whole run of a type checker, without what an earlier one has kept
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_examples_are_typed(checker, tmp_path):
    marked = {number for number, line in enumerate(WRONG.read_text().splitlines(), 1) if "# wrong" in line}
    assert len(marked) == 4
    assert checker(tmp_path) == {WRONG.name: marked}
