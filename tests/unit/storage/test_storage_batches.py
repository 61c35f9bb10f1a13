"""A `BatchWorker` refuses what has waited for too long behind what failed, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace

import pytest

from inaho.config import StorageConfig
from inaho.errors import InahoError, StorageFailed
from inaho.storage import thread_queue as batches
from inaho.storage.thread_queue import BatchWorker


class FailingServer:
    """Fails the requests that say so, when it is let."""

    def __init__(self) -> None:
        self.way = threading.Event()
        self.served: list[str] = []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def serve(self, batch: Sequence[str]) -> list[str | InahoError]:
        assert self.way.wait(50)
        self.served += batch
        return [StorageFailed("no", maybe_executed=False) if request == "failing" else request for request in batch]


async def test_what_came_after_a_failed_batch_is_served_however_late_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = count(1)  # each look at it is a second later, and so each request is taken later than it may be
    monkeypatch.setattr(batches, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    server = FailingServer()
    worker = BatchWorker[str, str]("bench", server, StorageConfig(busy_timeout_s=0.5, batch_requests_max=1))
    await worker.start()
    for _ in range(2):
        server.way.clear()
        requests = [asyncio.ensure_future(worker.submit(name, name, 1)) for name in ("failing", "behind", "behind")]
        await asyncio.sleep(0)
        server.way.set()
        failed, *late = await asyncio.gather(*requests, return_exceptions=True)
        assert isinstance(failed, StorageFailed)
        assert failed.reason == "no"
        for outcome in late:
            assert isinstance(outcome, StorageFailed)
            assert "behind others, which failed" in outcome.reason
            assert not outcome.maybe_executed
        assert await worker.submit("after", "after", 1) == "after"
    assert server.served == ["failing", "after"] * 2
    await worker.stop()
