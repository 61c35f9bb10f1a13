"""One-way calls: they run in order, copy their arguments at once, and each that fails is an event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Grain, InvalidArguments, Overloaded, SerializationFailed
from inaho.events import CallFailed
from support.noted import GATES, LOG, TASKS, Noted


@pytest.fixture(autouse=True)
def clean():
    LOG.clear()
    GATES.clear()
    TASKS.clear()


async def test_a_send_runs_and_copies_its_arguments_at_once(caller: Any, eventually: Any):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    values = [1, 2]
    assert cluster.send(reference.note_list, values) is None
    values.append(3)
    for value in range(5):
        cluster.send(reference.note, value, twice=True)
    await eventually(lambda: len(LOG) == 6)
    assert LOG[0] == [1, 2] and sorted(LOG[1:]) == [0, 2, 4, 6, 8]
    await eventually(lambda: cluster._sends.under_way == 0)
    assert (cluster._sends.sent, cluster._sends.failed) == (6, 0)


async def test_sends_keep_their_order_at_an_activation(caller: Any, eventually: Any):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    await reference.note(-1)
    for value in range(50):
        cluster.send(reference.note, value)
    await eventually(lambda: len(LOG) == 51)
    assert list(range(-1, 50)) == LOG


@pytest.mark.parametrize("suspend", [False, True])
async def test_a_send_to_itself_runs_behind_the_turn(caller: Any, eventually: Any, suspend: bool):
    cluster = await caller(Noted)
    await cluster.grain(Noted, "a").sends_to_itself(suspend)
    await eventually(lambda: LOG == [1, 2, 3])


async def test_a_send_that_cannot_be_made_raises_at_once(caller: Any):
    cluster = await caller(Noted, rpc={"sends_max": 1})
    reference: Any = cluster.grain(Noted, "a")
    GATES["a"] = asyncio.Event()
    with pytest.raises(TypeError):
        cluster.send(reference.note)
    with pytest.raises(InvalidArguments):
        cluster.send(reference.note, "text")
    with pytest.raises(SerializationFailed):
        cluster.send(reference.note, object())
    with pytest.raises(InvalidArguments):
        cluster.send(print, "x")  # type: ignore[arg-type]
    cluster.send(reference.waits, "a")
    with pytest.raises(Overloaded, match=r"rpc\.sends_max"):
        cluster.send(reference.waits, "a")
    GATES["a"].set()
    await reference.note(1)


async def test_the_failure_of_a_send_is_an_event_a_count_and_a_line(
    caller: Any, eventually: Any, caplog: pytest.LogCaptureFixture
):
    cluster = await caller(Noted)
    events = cluster.events(CallFailed)
    cluster.send(cluster.grain(Noted, "a").fails)
    event = await anext(events)
    assert (event.identity.key, event.method, event.code) == ("a", "fails", "")
    assert "broken" in event.reason and "fails of Noted/a failed" in caplog.text
    assert cluster._sends.failed == 1


class Together(Noted, reentrant=True):
    pass


class Placed(Noted, placement="prefer_local"):
    pass


class Slow(Noted):
    async def on_activate(self) -> None:
        await asyncio.sleep(0)


class Sender(Grain):
    async def go(self, kind: str, known: bool) -> None:
        reference = self.cluster.grain(KINDS[kind], self.key)
        await in_order(self.cluster, reference, known)

    async def nested(self, kind: str, known: bool) -> None:
        await self.cluster.grain(Sender, f"{self.key}-inner").go(kind, known)


KINDS: dict[str, type[Noted]] = {kind.__name__: kind for kind in (Noted, Together, Placed, Slow)}


async def in_order(cluster: Any, reference: Any, known: bool) -> None:
    """Sends and calls in turn; the log must have the numbers in order."""
    if known:
        await reference.note(-1)
    LOG.clear()
    for value in range(0, 6, 3):
        cluster.send(reference.note, value)
        cluster.send(reference.note, value + 1)
        assert value not in LOG  # no code of the callee runs in the step of its sender
        await reference.note(value + 2)
    assert list(range(6)) == LOG


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [False, True])
async def test_a_later_call_does_not_overtake_a_send(caller: Any, kind: str, known: bool):
    cluster = await caller(*KINDS.values())
    for key in "abcde":
        await in_order(cluster, cluster.grain(KINDS[kind], key), known)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [False, True])
async def test_a_later_call_of_a_grain_does_not_overtake_its_send(fleet: Any, kind: str, known: bool):
    member, _ = await fleet.members(2, *KINDS.values(), Sender)
    for number in range(12):  # some of them on the other member
        await member.grain(Sender, f"g{number}").go(kind, known)
        if known:
            await member.grain(Sender, f"n{number}").nested(kind, known)


async def test_a_call_that_follows_a_turn_runs_behind_what_that_has_sent_to_itself(caller: Any):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    await reference.sends_to_itself(False)
    await reference.note(4)
    assert LOG == [1, 2, 3, 4]


class Chained(Grain):
    async def go(self, left: int) -> None:
        LOG.append(left)
        if left:
            self.cluster.send(self.cluster.grain(Chained, f"{left}").go, left - 1)


async def test_a_chain_of_sends_has_no_end(caller: Any, eventually: Any):
    cluster = await caller(Chained)
    cluster.send(cluster.grain(Chained, "first").go, 1500)
    await eventually(lambda: len(LOG) == 1501)


class Unmade(Grain):
    def __init__(self) -> None:
        raise ValueError("no such thing")

    async def note(self, value: int) -> None: ...


async def test_what_fails_in_the_first_step_fails_as_a_send_does(caller: Any, eventually: Any):
    cluster = await caller(Unmade, Noted, activation={"queue_depth": 1})
    cluster.send(cluster.grain(Unmade, "a").note, 1)
    await eventually(lambda: cluster._sends.failed == 1 and cluster._sends.under_way == 0)
    GATES["a"] = asyncio.Event()
    reference = cluster.grain(Noted, "a", retry=False)
    for method in (reference.waits, reference.waits, reference.waits):
        cluster.send(method, "a")
    await eventually(lambda: cluster._sends.failed == 2)
    GATES["a"].set()
    await eventually(lambda: cluster._sends.under_way == 0)
    assert cluster._sends.sent == 4
