"""One running member per module: what a fuzzed connection must not disturb."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fuzz_bench import Bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    running = Bench()
    yield running
    running.close()
