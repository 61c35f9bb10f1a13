"""What the grains of these tests share is empty at the start of each."""

from __future__ import annotations

import pytest

from support.placed_grains import Near


@pytest.fixture(autouse=True)
def fresh() -> None:
    Near.failing = set()
    Near.gates = {}
