"""Activations: made once, ended in order, with their state; and identities spread over members."""

# ruff: noqa: RUF012  Structs copy mutable defaults
from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import (
    ActivationFailed,
    ClusterIdentity,
    Grain,
    MemoryStorage,
    OwnershipChanged,
    StateConflict,
    StorageFailed,
    Struct,
    Timeout,
)
from inaho.events import ActivationFailed as FailedEvent
from inaho.events import ActivationPassivated, ActivationStarted, ActivationTerminated, MemberUp


class Count(Struct):
    value: int = 0
    marks: list[str] = []


class Counter(Grain[Count]):
    async def add(self, by: int = 1) -> int:
        self.state.value += by
        await self.save()
        return self.state.value

    async def mark(self, text: str) -> None:
        """Not saved."""
        self.state.marks.append(text)

    async def look(self) -> Count:
        return self.state

    async def reset(self) -> None:
        await self.clear()

    async def stop(self) -> None:
        self.deactivate()

    async def replace(self, value: int) -> None:
        self.state = Count(value)
        await self.save()


class Brief(Counter, idle_ttl_s=0.05): ...


LOG: list[str] = []


class Hooked(Grain):
    async def on_activate(self) -> None:
        LOG.append("activating")
        await asyncio.sleep(0)
        self.ready = True
        LOG.append("active")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(f"ending: {reason}")
        await asyncio.sleep(0)
        LOG.append("ended")

    async def ask(self) -> bool:
        LOG.append("asked")
        return self.ready

    async def stop(self) -> None:
        self.deactivate()
        LOG.append("stopping")


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


FAILURES: list[BaseException] = []


class Fragile(Grain):
    async def on_activate(self) -> None:
        await asyncio.sleep(0)
        if FAILURES:
            raise FAILURES.pop()

    async def ask(self) -> int:
        return 1


class FragileMade(Grain):
    def __init__(self) -> None:
        if FAILURES:
            raise FAILURES.pop()

    async def ask(self) -> int:
        return 1


async def test_one_activation_however_many_first_calls(caller):
    cluster = await caller(Hooked)
    grain = cluster.grain(Hooked, "a")
    assert await asyncio.gather(*(grain.ask() for _ in range(20))) == [True] * 20
    assert ["activating", "active", *["asked"] * 20] == LOG


async def test_an_end_lets_turns_finish_and_the_next_call_begins_anew(caller, eventually):
    cluster = await caller(Hooked)
    grain = cluster.grain(Hooked, "a")
    await grain.ask()
    LOG.clear()
    await asyncio.gather(grain.stop(), grain.ask(), grain.ask())
    assert LOG == ["stopping", "ending: requested", "ended", "activating", "active", "asked", "asked"]


@pytest.mark.parametrize("kind", [Fragile, FragileMade])
@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError("no")], ids=lambda e: type(e).__name__)
async def test_an_activation_that_fails_is_told_and_tried_again(caller, kind, error):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    for _ in range(2):
        FAILURES.append(error)
        with pytest.raises(ActivationFailed, match="no") as caught:
            await grain.ask()
        assert not caught.value.maybe_executed
        assert caught.value.identity == f"{kind.__name__}/a"
    assert await grain.ask() == 1
    FAILURES.clear()


@pytest.mark.parametrize("kind", [Fragile, FragileMade])
@pytest.mark.parametrize(
    "error", [Timeout("no"), StorageFailed("no"), OwnershipChanged("no", maybe_executed=True)], ids=lambda e: e.code
)
async def test_calls_of_an_activation_that_failed_with_an_error_of_another_call_have_not_run(caller, kind, error):
    """That other call may have. They have not, and get an error of the same code that says so."""
    cluster = await caller(kind)
    FAILURES.append(error)
    with pytest.raises(type(error), match="no") as caught:
        await cluster.grain(kind, "a", retry=False).ask()
    assert not caught.value.maybe_executed
    assert error.maybe_executed
    assert type(caught.value.__cause__) is type(error)
    assert caught.value.__cause__.maybe_executed
    FAILURES.clear()


async def test_each_call_that_waited_for_an_activation_has_its_error_for_itself(fleet):
    """One that is passed on by a turn says from then on that it may have run."""
    member = await fleet.member(Fragile)
    FAILURES.append(Timeout("no"))
    grain = member.grain(Fragile, "a", retry=False)
    errors = await asyncio.gather(grain.ask(), grain.ask(), return_exceptions=True)
    assert [type(error) for error in errors] == [Timeout, Timeout]
    assert errors[0] is not errors[1]
    FAILURES.clear()


async def test_state_is_saved_loaded_replaced_and_cleared(caller, eventually):
    cluster = await caller(Counter)
    grain = cluster.grain(Counter, "a")
    assert [await grain.add(), await grain.add(5)] == [1, 6]
    await grain.mark("lost")
    await grain.stop()
    await eventually(lambda: caller.fleet.activation(Counter, "a") is None)
    assert await grain.look() == Count(6)
    await grain.replace(50)
    await grain.stop()
    assert await grain.add() == 51
    await grain.reset()
    assert await grain.look() == Count(0)
    await grain.stop()
    assert await grain.add() == 1
    assert await cluster.grain(Counter, "b").look() == Count(0)


async def test_an_idle_activation_is_unloaded_and_comes_back(caller, eventually):
    cluster = await caller(Brief)
    grain = cluster.grain(Brief, "a")
    for expected in (1, 2, 3):
        assert await grain.add() == expected
        await eventually(lambda: caller.fleet.activation(Brief, "a") is None)


async def test_an_activation_that_was_ended_and_made_again_is_idle_once(fleet, eventually):
    member = await fleet.member(Brief)
    grain = member.grain(Brief, "a")
    for _ in range(5):
        await grain.add()
        await grain.stop()
    assert await grain.add() == 6
    await eventually(lambda: fleet.activation(Brief, "a") is None)
    assert await grain.add() == 7
    await eventually(lambda: fleet.activation(Brief, "a") is None)


async def test_events_of_an_activation(fleet, eventually):
    member = await fleet.member(Brief)
    seen: list[Any] = []

    async def watch() -> None:
        async for event in member.events(ActivationStarted, ActivationPassivated, ActivationTerminated):
            seen.append(event)

    watching = asyncio.ensure_future(watch())
    await eventually(lambda: member._node.local.events_wanted(ActivationStarted))
    await member.grain(Brief, "a").add()
    await eventually(lambda: len(seen) == 3)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    started, passivated, terminated = seen
    assert [type(event) for event in seen] == [ActivationStarted, ActivationPassivated, ActivationTerminated]
    assert {event.identity for event in seen} == {ClusterIdentity("Brief", "a")}
    assert started.epoch > 0
    assert started.pid.authority == member.authority
    assert passivated.idle_s >= 0.05
    assert terminated.reason == "idle"


async def test_a_failed_activation_is_an_event(fleet):
    member = await fleet.member(Fragile)
    FAILURES.append(ValueError("no"))
    with member.system.events.subscribe(FailedEvent, capacity=4) as subscription:
        with pytest.raises(ActivationFailed):
            await member.grain(Fragile, "a").ask()
        event = await anext(aiter(subscription))
    assert (str(event.identity), event.reason) == ("Fragile/a", "ValueError: no")


async def test_a_stale_activation_is_stopped_by_its_save(fleet, eventually):
    member = await fleet.member(Counter)
    grain = member.grain(Counter, "a", retry=False)
    await grain.add()
    identity = ClusterIdentity("Counter", "a")
    stored = await fleet.storage.load(identity)
    await fleet.storage.save(identity, stored.data, expected_version=stored.version, epoch=stored.epoch)
    with pytest.raises(StateConflict):
        await grain.add()
    assert await grain.add() == 2


class Together(Grain[Count], reentrant=True):
    async def add(self) -> None:
        self.state.value += 1
        await self.save()

    async def look(self) -> int:
        return self.state.value


class SlowStorage(MemoryStorage):
    async def _write(self, *arguments: Any, **named: Any) -> int:
        await asyncio.sleep(0)
        return await super()._write(*arguments, **named)


async def test_saves_of_interleaving_turns_do_not_conflict(fleet):
    member = await fleet.member(Together, storage=SlowStorage())
    grain = member.grain(Together, "a")
    await asyncio.gather(*(grain.add() for _ in range(10)))
    assert await grain.look() == 10


class Asking(Grain):
    async def who(self) -> list[str]:
        return [str(self.context.caller), self.context.caller_authority, str(self.context.epoch > 0), repr(self)]

    async def ask(self, key: str) -> list[str]:
        return await self.cluster.grain(Asking, key).who()

    async def outside(self) -> str:
        async def later() -> None:
            _ = self.context

        try:
            await asyncio.get_running_loop().create_task(later(), context=__import__("contextvars").Context())
        except RuntimeError as error:
            return str(error)
        return "?"


async def test_the_context_of_a_call(fleet):
    one, other = await fleet.members(2, Asking)
    near, far = fleet.key_at(one, Asking), fleet.key_at(other, Asking)
    client = await fleet.client()
    assert await client.grain(Asking, near).who() == ["None", "", "True", f"<Asking '{near}'>"]
    assert (await client.grain(Asking, near).ask(far))[:2] == [f"Asking/{near}", one.authority]
    second = fleet.key_at(one, Asking, "s")
    assert (await client.grain(Asking, near).ask(second))[:2] == [f"Asking/{near}", one.authority]
    assert "no call is running" in await client.grain(Asking, near).outside()


async def test_identities_spread_and_are_one_from_everywhere(fleet):
    one, other = await fleet.members(2, Counter)
    client = await fleet.client()
    for number in range(40):
        key = f"k{number}"
        assert [await cluster.grain(Counter, key).add() for cluster in (one, other, client)] == [1, 2, 3]
    hosted = [len(cluster._node.hosts["Counter"].activations) for cluster in (one, other)]
    assert sum(hosted) == 40
    assert min(hosted) > 5
    assert all(fleet.activation(Counter, f"k{number}") is not None for number in range(40))


async def test_members_and_self(fleet):
    one, other = await fleet.members(2, Counter)
    client = await fleet.client()
    for cluster in (one, other, client):
        assert sorted(member.authority for member in cluster.members()) == sorted([one.authority, other.authority])
        assert all("Counter" in member.kinds for member in cluster.members())
    assert one.self in one.members()
    assert one.self.authority == one.authority
    with pytest.raises(inaho.InvalidConfig):
        _ = client.self


async def test_events_of_the_cluster(fleet, eventually):
    one = await fleet.member(Counter)
    seen: list[Any] = []

    async def watch() -> None:
        async for event in one.events(MemberUp):
            seen.append(event.authority)

    watching = asyncio.ensure_future(watch())
    await eventually(lambda: one._node.local.events_wanted(MemberUp))
    other = await fleet.member(Counter)
    await eventually(lambda: other.authority in seen)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_the_cache_of_places(fleet, eventually):
    one, other = await fleet.members(2, Counter)
    client = await fleet.client()
    key = fleet.key_at(other, Counter)
    cache = client._node.pid_cache
    assert cache.get("Counter", key, client._node.local.now) is None
    await client.grain(Counter, key).add()
    assert cache.get("Counter", key, client._node.local.now).authority == other.authority
    await other.close()
    fleet.clusters.remove(other)
    assert await client.grain(Counter, key).add() == 2
    assert cache.get("Counter", key, client._node.local.now).authority == one.authority


async def test_leaving_hands_over_with_state_and_fails_no_call(fleet, eventually):
    one, other = await fleet.members(2, Counter)
    client = await fleet.client()
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await client.grain(Counter, key).add()
    stop = asyncio.Event()
    done = dict.fromkeys(keys, 1)

    async def work(key: str) -> None:
        while not stop.is_set():
            done[key] += 1
            assert await client.grain(Counter, key).add() == done[key]

    working = [asyncio.ensure_future(work(key)) for key in keys]
    await eventually(lambda: min(done.values()) > 3)
    await other.close()
    fleet.clusters.remove(other)
    reached = dict(done)
    await eventually(lambda: all(done[key] > reached[key] + 1 for key in keys) or any(w.done() for w in working))
    stop.set()
    await asyncio.gather(*working)
    assert len(one._node.hosts["Counter"].activations) == 20


async def test_a_member_that_joins_takes_its_share_with_state(fleet, eventually):
    one = await fleet.member(Counter)
    client = await fleet.client()
    keys = [f"k{number}" for number in range(30)]
    for key in keys:
        assert await client.grain(Counter, key).add() == 1
    other = await fleet.member(Counter)
    for expected in (2, 3):
        for key in keys:
            assert await client.grain(Counter, key).add() == expected
    await eventually(lambda: len(one._node.hosts["Counter"].activations) < 30)
    for key in keys:
        assert await one.grain(Counter, key).add() == 4
    assert len(other._node.hosts["Counter"].activations) > 3
