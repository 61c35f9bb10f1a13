"""Programs that tests start as processes of their own, and how they are started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
TESTS = FOLDER.parents[1]
SOURCE = TESTS.parent / "src"


def command(program: str, *arguments: str) -> list[str]:
    """What runs a program of this folder, by its file's name."""
    return [sys.executable, str(FOLDER / program), *arguments]


def environment() -> dict[str, str]:
    """That of this process, in which a program finds `inaho` and `support`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCE), str(TESTS)))}
