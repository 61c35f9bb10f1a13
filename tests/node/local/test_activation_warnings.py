"""Activations that fail by the hundred, as when the storage is down, do not fill the log; each is still an event."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from inaho import Grain, MemoryStorage, StorageFailed, Struct
from inaho.errors import InahoError
from inaho.events import ActivationFailed
from inaho.storage.base import StoredState

FAILURES = 40
OTHERS = re.compile(r"(\d+) further activations of Vault that failed within 0\.3 s were not logged")


class Content(Struct):
    coins: int = 0


class Vault(Grain[Content]):
    async def look(self) -> int:
        return self.state.coins


class Down(MemoryStorage):
    async def _load(self, identity: Any) -> StoredState | None:
        raise StorageFailed("no answer", identity=str(identity), maybe_executed=False)


async def test_failed_activations_are_logged_with_measure_and_the_number_of_the_others_is_told(
    fleet: Any, eventually: Any, caplog: pytest.LogCaptureFixture
):
    activation = {"failure_warnings_max": 3, "failure_warnings_period_s": 0.3}
    cluster = await fleet.member(Vault, storage=Down(), activation=activation)

    def logged() -> list[Any]:
        return [record for record in caplog.records if "activation of Vault/" in record.getMessage()]

    def told() -> int:
        return sum(int(found[1]) for text in caplog.messages if (found := OTHERS.fullmatch(text)))

    with cluster.system.events.subscribe(ActivationFailed, capacity=FAILURES) as events:
        for number in range(FAILURES):
            with pytest.raises(StorageFailed, match="no answer"):
                await cluster.grain(Vault, str(number), retry=False).look()
        happened = [await anext(aiter(events)) for _ in range(FAILURES)]
    assert {event.identity.key for event in happened} == {str(number) for number in range(FAILURES)}
    await eventually(lambda: len(logged()) + told() == FAILURES)
    assert told() and all(record.exc_info for record in logged())


async def test_system_grains_whose_storage_fails_are_logged_in_one_line(fleet: Any, caplog: pytest.LogCaptureFixture):
    cluster = await fleet.member(Vault, storage=Down(), rpc={"timeout_s": 0.1})
    node = cluster.runtime
    calls = {
        "inaho.topics": lambda: cluster.topic("orders"),
        "inaho.topic-log": lambda: node.topics.at_least_once.keepers("orders", 0).describe(""),
        "inaho.sends": lambda: cluster.dead_sends(),
    }
    for kind, call in calls.items():
        with pytest.raises((InahoError, TimeoutError)):
            async with asyncio.timeout(0.2):
                await call()
        logged = [record for record in caplog.records if f"activation of {kind}/" in record.getMessage()]
        assert logged, kind
        for record in logged:
            assert record.exc_info is None and "failed: StorageFailed: " in record.getMessage()
