"""Turns of one activation: one at a time, in order, except where a kind or a method says otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho import Grain, Overloaded, method
from inaho.core.rpc.turns import DROPPED_OLDEST, QUEUED, REFUSED, STARTED, TurnQueue
from inaho.runtime.grains.activation import ActivationTurns


class Log(Grain):
    """Writes down what overlaps with what."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.running: list[str] = []
        self.worst = 0
        self.gate = asyncio.Event()

    async def _run(self, name: str, steps: int) -> None:
        self.running.append(name)
        self.worst = max(self.worst, len(self.running))
        self.lines.append(f"+{name}")
        try:
            for _ in range(steps):
                await asyncio.sleep(0)
        finally:
            self.lines.append(f"-{name}")
            self.running.remove(name)

    async def write(self, name: str, steps: int = 0) -> str:
        await self._run(name, steps)
        return name

    @method(read_only=True)
    async def read(self, name: str, steps: int = 0) -> str:
        await self._run(name, steps)
        return name

    async def hold(self, name: str) -> None:
        self.lines.append(f"+{name}")
        await self.gate.wait()
        self.lines.append(f"-{name}")

    @method(read_only=True)
    async def hold_reading(self, name: str) -> None:
        self.lines.append(f"+{name}")
        await self.gate.wait()
        self.lines.append(f"-{name}")


class Reentrant(Log, reentrant=True): ...


def start(*calls: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(call) for call in calls]


async def test_writers_never_interleave(caller):
    cluster = await caller(Log)
    grain = cluster.grain(Log, "a")
    tasks = start(*(grain.write(str(number), number % 4) for number in range(50)))
    assert await asyncio.gather(*tasks) == [str(number) for number in range(50)]
    log = caller.fleet.activation(Log, "a")
    assert log.worst == 1
    assert log.lines == [line for number in range(50) for line in (f"+{number}", f"-{number}")]


async def test_calls_from_two_sides_never_interleave(fleet):
    member = await fleet.member(Log)
    client = await fleet.client()
    near, far = member.grain(Log, "a"), client.grain(Log, "a")
    calls = [(near if number % 3 else far).write(str(number), number % 4) for number in range(60)]
    await asyncio.gather(*calls)
    log = fleet.activation(Log, "a")
    assert log.worst == 1
    for side in (0, 1):
        mine = [line for line in log.lines if line[0] == "+" and bool(int(line[1:]) % 3) is bool(side)]
        assert mine == sorted(mine, key=lambda line: int(line[1:]))  # in order from each side


async def test_readers_run_together(caller, eventually):
    cluster = await caller(Log)
    grain = cluster.grain(Log, "a")
    await grain.write("w")
    held = start(grain.hold_reading("r1"), grain.hold_reading("r2"))
    log = caller.fleet.activation(Log, "a")
    await eventually(lambda: log.lines[-2:] == ["+r1", "+r2"])
    assert await grain.read("r3") == "r3"
    log.gate.set()
    await asyncio.gather(*held)


async def test_readers_do_not_run_beside_a_writer(caller, eventually):
    cluster = await caller(Log)
    grain = cluster.grain(Log, "a")
    await grain.write("w")
    log = caller.fleet.activation(Log, "a")
    held = start(grain.hold("w1"))
    await eventually(lambda: log.lines[-1] == "+w1")
    reading = start(*(grain.read(f"r{number}", 1) for number in range(3)))
    await eventually(lambda: isinstance(log._inaho_turn, ActivationTurns) and len(log._inaho_turn.waiting) == 3)
    assert log.lines[-1] == "+w1"
    log.gate.set()
    await asyncio.gather(*held, *reading)
    assert log.lines[3:5] == ["-w1", "+r0"]
    assert log.worst == 3


async def test_a_writer_is_not_starved_by_readers(caller, eventually):
    cluster = await caller(Log)
    grain = cluster.grain(Log, "a")
    await grain.write("w")
    log = caller.fleet.activation(Log, "a")
    held = start(grain.hold_reading("r1"))
    await eventually(lambda: log.lines[-1] == "+r1")
    writing = start(grain.write("w1"))
    await eventually(lambda: isinstance(log._inaho_turn, ActivationTurns) and len(log._inaho_turn.waiting) == 1)
    late = start(grain.read("r2"))
    await eventually(lambda: len(log._inaho_turn.waiting) == 2)
    assert log.lines[-1] == "+r1"
    log.gate.set()
    await asyncio.gather(*held, *writing, *late)
    assert log.lines[2:] == ["+r1", "-r1", "+w1", "-w1", "+r2", "-r2"]


async def test_turns_of_a_reentrant_kind_interleave(caller, eventually):
    cluster = await caller(Reentrant)
    grain = cluster.grain(Reentrant, "a")
    await grain.write("w")
    log = caller.fleet.activation(Reentrant, "a")
    held = start(grain.hold("w1"), grain.hold("w2"))
    await eventually(lambda: log.lines[-2:] == ["+w1", "+w2"])
    assert await grain.write("w3") == "w3"
    log.gate.set()
    await asyncio.gather(*held)


async def test_readers_behind_a_writer_that_gave_up_run(caller, eventually):
    cluster = await caller(Log)
    grain = cluster.grain(Log, "a")
    await grain.write("w")
    log = caller.fleet.activation(Log, "a")
    held = start(grain.hold_reading("r1"))
    await eventually(lambda: log.lines[-1] == "+r1")
    (writing,) = start(grain.write("w1"))
    await eventually(lambda: isinstance(log._inaho_turn, ActivationTurns) and len(log._inaho_turn.waiting) == 1)
    (reading,) = start(grain.read("r2"))
    await eventually(lambda: len(log._inaho_turn.waiting) == 2)
    writing.cancel()
    assert await reading == "r2"  # while r1 still reads
    log.gate.set()
    await asyncio.gather(*held)
    assert "+w1" not in log.lines


async def test_a_full_queue_refuses_at_once_and_harms_nobody(caller, eventually):
    cluster = await caller(Log, activation={"queue_depth": 5})
    grain, other = cluster.grain(Log, "a"), cluster.grain(Log, "b")
    await grain.write("w")
    log = caller.fleet.activation(Log, "a")
    held = start(grain.hold("h"))
    await eventually(lambda: log.lines[-1] == "+h")
    waiting = start(*(grain.write(str(number)) for number in range(5)))
    await eventually(lambda: isinstance(log._inaho_turn, ActivationTurns) and len(log._inaho_turn.waiting) == 5)
    for _ in range(3):
        with pytest.raises(Overloaded, match="queue_depth") as caught:
            await grain.write("more")
        assert not caught.value.maybe_executed
        assert caught.value.identity == "Log/a"
    assert await other.write("x") == "x"
    log.gate.set()
    await asyncio.gather(*held)
    assert await asyncio.gather(*waiting) == ["0", "1", "2", "3", "4"]
    assert "+more" not in log.lines


async def test_the_oldest_may_be_dropped_instead(caller, eventually):
    cluster = await caller(Log, activation={"queue_depth": 2, "queue_policy": "drop_oldest"})
    grain = cluster.grain(Log, "a")
    await grain.write("w")
    log = caller.fleet.activation(Log, "a")
    held = start(grain.hold("h"))
    await eventually(lambda: log.lines[-1] == "+h")
    tasks = []
    for number in range(4):
        tasks += start(grain.write(str(number)))
        await eventually(
            lambda number=number: (
                isinstance(log._inaho_turn, ActivationTurns)
                and log._inaho_turn.waiting
                and log._inaho_turn.waiting[-1].arguments[0] == str(number)
            )
        )
    for task in tasks[:2]:
        with pytest.raises(Overloaded, match="oldest") as caught:
            await task
        assert not caught.value.maybe_executed
    log.gate.set()
    await asyncio.gather(*held)
    assert await asyncio.gather(*tasks[2:]) == ["2", "3"]
    assert [line for line in log.lines if line in ("+0", "+1")] == []


async def test_calls_that_gave_up_take_no_room_in_the_queue(caller, eventually):
    cluster = await caller(Log, activation={"queue_depth": 3})
    grain = cluster.grain(Log, "a")
    await grain.write("w")
    log = caller.fleet.activation(Log, "a")
    held = start(grain.hold("h"))
    await eventually(lambda: log.lines[-1] == "+h")
    for round_number in range(3):
        gone = start(*(grain.write(f"gone{round_number}") for _ in range(3)))
        await eventually(lambda: isinstance(log._inaho_turn, ActivationTurns) and len(log._inaho_turn.waiting) == 3)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        await eventually(lambda: not log._inaho_turn.waiting)
    kept = start(grain.write("kept"))
    await eventually(lambda: len(log._inaho_turn.waiting) == 1)
    log.gate.set()
    await asyncio.gather(*held, *kept)
    assert not [line for line in log.lines if "gone" in line]


# Any mixture, compared with the rule.


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "read"]), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=14
    ),
    st.booleans(),
)
def test_no_mixture_breaks_the_rule(calls, cancel_some):
    import inaho
    from inaho import MemoryStorage
    from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport

    async def run() -> None:
        async with inaho.join(
            "127.0.0.1:7700", grains=[Log], storage=MemoryStorage(), transport=MemoryTransport(MemoryNetwork())
        ) as cluster:
            grain = cluster.grain(Log, "a")
            tasks = []
            for number, (name, steps, pause) in enumerate(calls):
                tasks += start(getattr(grain, name)(f"{name}{number}", steps))
                for _ in range(pause):
                    await asyncio.sleep(0)
                if cancel_some and number % 4 == 3:
                    tasks[number - 1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            log = cluster._node.hosts["Log"].activations.get("a")
            if log is None:
                return
            assert log._inaho_turn is None
            running: set[str] = set()
            for line in log.lines:
                if line[0] == "+":
                    assert not any(other.startswith("write") for other in running)
                    assert not (line[1:].startswith("write") and running)
                    running.add(line[1:])
                else:
                    running.remove(line[1:])
            assert not running

    asyncio.run(run())


class Item:
    def __init__(self, number: int, read_only: bool) -> None:
        self.number = number
        self.read_only = read_only


@given(
    st.lists(st.sampled_from(["read", "write", "finish", "next", "withdraw", "ahead"]), max_size=60),
    st.booleans(),
    st.booleans(),
)
def test_the_queue_keeps_its_order_and_its_bound(steps, reentrant, drop_oldest):
    queue: TurnQueue[Item] = TurnQueue(reentrant=reentrant, depth=3, drop_oldest=drop_oldest)
    began: list[int] = []
    number = 0
    for step in steps:
        if step in ("read", "write", "ahead"):
            item = Item(number, step == "read")
            number += 1
            admission, dropped = queue.offer(item, ahead=step == "ahead")
            assert (dropped is not None) == (admission == DROPPED_OLDEST)
            assert admission in (STARTED, QUEUED, DROPPED_OLDEST if drop_oldest else REFUSED)
            if admission == STARTED and step != "ahead":
                began.append(item.number)
        elif step == "finish" and queue.running:
            queue.finish(queue.running[0])
        elif step == "withdraw" and queue.waiting:
            assert queue.withdraw(queue.waiting[-1])
        elif step == "next":
            item_or_none = queue.next()
            if item_or_none is not None:
                began.append(item_or_none.number)
        queue.check()
    assert began == sorted(began)
