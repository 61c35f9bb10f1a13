"""Iterators of `Cluster.events` that nobody closes: the garbage collector ends their subscriptions."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from inaho import Grain
from inaho.actor import event_stream
from inaho.events import ActivationStarted, CallFailed, MemberUp


class Plain(Grain):
    async def touch(self) -> int:
        return 1


def abandon(cluster: Any) -> None:
    """Leaves an iterator behind that only the cyclic collector finds."""
    circle: list[Any] = [cluster.events(CallFailed)]
    circle.append(circle)


def subscribers(cluster: Any) -> int:
    return len(cluster._system.events._sinks)


async def test_an_abandoned_iterator_is_collected_while_an_event_is_published(
    fleet: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
):
    cluster = await fleet.member(Plain)
    before, right = subscribers(cluster), event_stream._is_wanted

    def collecting(kind: type[Any], types: tuple[type[Any], ...]) -> bool:
        patch.undo()  # once: a collection takes long in a large process
        gc.collect()
        return right(kind, types)

    for number in range(4):
        abandon(cluster)
        with monkeypatch.context() as patch:
            patch.setattr(event_stream, "_is_wanted", collecting)
            started = cluster.events(ActivationStarted if number % 2 else MemberUp)
            await cluster.grain(Plain, f"a-{number}").touch()
        del started
        gc.collect()
        await eventually(lambda: subscribers(cluster) == before)


async def test_the_collector_may_run_in_any_thread(fleet: Any, eventually: Any):
    cluster = await fleet.member(Plain)
    before, closed_in = subscribers(cluster), []
    stream = cluster._system.events
    remove = stream._remove

    def noting(sink: Any) -> None:
        closed_in.append(threading.get_ident())
        remove(sink)

    stream._remove = noting
    gc.disable()
    try:
        abandon(cluster)
        await asyncio.to_thread(gc.collect)
    finally:
        gc.enable()
    await eventually(lambda: subscribers(cluster) == before)
    assert set(closed_in) == {threading.get_ident()}
