"""The system as a whole: settings, names, uptime, bounds, and no memory kept for actors that have ended."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorRef, ActorSystem, Props, Restart
from inaho.errors import InvalidConfig
from inaho.events import DeadLetter
from support.local_actors import idle


async def test_uptime_counts_from_the_start_to_the_stop() -> None:
    system = ActorSystem("shop")
    assert system.uptime == 0.0
    await system.start()
    assert system.uptime >= 0.0
    before = system.uptime
    async with asyncio.timeout(1.0):
        while system.uptime == before:
            await asyncio.sleep(0)
    await system.stop()
    assert system.uptime == 0.0
    assert "stopped" in repr(system)


async def test_the_event_stream_ends_with_the_system_and_still_tells_the_end() -> None:
    async with ActorSystem("shop", event_capacity=3) as system:
        subscription = system.events.subscribe(DeadLetter)
        ref = system.spawn(Props(idle))
        ref.stop()
        for number in range(5):
            ref.tell(number)
        assert subscription.dropped == 2
    assert [letter.message async for letter in subscription] == [2, 3, 4]


async def test_a_reference_to_an_ended_actor_keeps_nothing_of_it_alive(system: ActorSystem) -> None:
    instances: list[weakref.ref[Actor]] = []

    class Heavy(Actor):
        async def on_start(self) -> None:
            instances.append(weakref.ref(self))

        async def receive(self, message: Any) -> None: ...

    ref = system.spawn(Props(Heavy))
    while not instances:
        await asyncio.sleep(0)
    ref.stop()
    await ref.wait_terminated()
    gc.collect()
    assert instances[0]() is None
    assert ref.path


async def test_nothing_keeps_an_ended_actor_that_has_watched_or_paused(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "inaho.actor")  # captured records keep the frames of the failure
    watched = system.spawn(Props(idle), "watched")

    async def behaviour(context: ActorContext, message: Any) -> None:
        context.watch(watched)
        watched.tell("keep nothing of the sender", sender=context.self_ref)
        if message == "unwatch":
            context.unwatch(watched)
        if message == "pause":
            raise ValueError

    kept: list[weakref.ref[ActorRef]] = []
    for message in ("watch", "unwatch", "pause"):
        ref = system.spawn(Props(behaviour, supervisor=Restart(back_off_s=3600.0, back_off_max_s=3600.0)))
        kept.append(weakref.ref(ref))
        ref.tell(message)
        for _ in range(5):
            await asyncio.sleep(0)
        ref.stop()
        await ref.wait_terminated()
        del ref
    await asyncio.sleep(0)
    gc.collect()
    assert [one() for one in kept] == [None] * 3


@pytest.mark.parametrize(
    "bad", [{"actors_max": 0}, {"ask_timeout_s": 0}, {"stop_timeout_s": -1}, {"event_capacity": 0}]
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        ActorSystem("shop", **bad)


def test_a_name_that_cannot_be_part_of_a_path_is_refused() -> None:
    with pytest.raises(InvalidConfig):
        ActorSystem("my shop")


async def test_dead_letters_are_bounded_in_memory_and_reasons() -> None:
    async with ActorSystem("shop", dead_letters_recent_max=3) as system:
        for number in range(100):
            system.dead_letters.record(number, recipient="nobody", reason=f"reason {number}")
        assert system.dead_letters.total == 100
        assert [letter.message for letter in system.dead_letters.recent] == [97, 98, 99]
        assert len(system.dead_letters.counts) == 65
        assert system.dead_letters.counts["other"] == 36
        assert sum(system.dead_letters.counts.values()) == 100
