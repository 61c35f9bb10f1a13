"""What ends a turn early, or keeps it from beginning: cycles, deadlines, cancellation; and asyncio inside of turns."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

import inaho
from inaho import CallCycle, Grain, Timeout, method

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Node(Grain):
    """Calls along a path of keys: `go(["b", "c"])` on a calls b, which calls c."""

    async def go(self, path: list[str]) -> str:
        if not path:
            return self.key
        return self.key + await self.cluster.grain(type(self), path[0]).go(path[1:])

    @method(read_only=True)
    async def look(self, path: list[str]) -> str:
        if not path:
            return self.key
        return self.key + await self.cluster.grain(type(self), path[0]).look(path[1:])

    async def detach(self, other: str) -> None:
        """Ends while the other still works for it."""
        self.later = asyncio.ensure_future(self.cluster.grain(type(self), other).go([self.key]))

    async def result(self) -> str:
        return self.later.result()

    async def leave_and_return(self, other: str) -> str:
        self.deactivate()
        return await self.cluster.grain(type(self), other).go([self.key])


class Open(Node, reentrant=True): ...


@pytest.mark.parametrize("path", [["a"], ["b", "a"], ["b", "c", "a"], ["b", "c", "b"]])
async def test_a_cycle_is_named(caller, path):
    grain = (await caller(Node)).grain(Node, "a")
    for _ in range(2):
        with pytest.raises(CallCycle) as caught:
            await grain.go(path)
        keys = ["a", *path]
        cycle = keys[keys.index(keys[-1]) :]
        assert " -> ".join(f"Node/{key}" for key in cycle) in caught.value.reason
    assert await grain.go(["b", "c"]) == "abc"


async def test_a_cycle_through_several_nodes_is_named(fleet):
    one, other = await fleet.members(2, Node, Open)
    here, there, third = fleet.key_at(one, Node), fleet.key_at(other, Node), fleet.key_at(one, Node, "t")
    for cluster in (one, other, await fleet.client()):
        for path in ([there, here], [third, there, here], [there, third, here]):
            with pytest.raises(CallCycle, match=f"Node/{here} -> .* -> Node/{here}"):
                await cluster.grain(Node, here).go(path)
        assert await cluster.grain(Node, here).go([there, third]) == here + there + third
        assert await cluster.grain(Node, here).look([there, here]) == here + there + here
    here, there = fleet.key_at(one, Open), fleet.key_at(other, Open)
    assert await one.grain(Open, here).go([there, here, there]) == here + there + here + there


async def test_chains_that_may_interleave_do(caller):
    cluster = await caller(Node, Open)
    assert await cluster.grain(Node, "a").look(["b", "a", "b"]) == "abab"
    assert await cluster.grain(Open, "a").go(["b", "a", "a"]) == "abaa"


async def test_a_turn_that_has_ended_makes_no_cycle(caller, eventually):
    cluster = await caller(Node)
    grain = cluster.grain(Node, "a")
    for _ in range(2):
        await grain.detach("b")
        await eventually(lambda: caller.fleet.activation(Node, "a").later.done())
        assert await grain.result() == "ba"


async def test_a_reentrant_chain_goes_on_while_its_activation_ends(fleet):
    member = await fleet.member(Open)
    assert await member.grain(Open, "a").leave_and_return("b") == "ba"


class Endless(Node):
    async def dig(self, depth: int) -> int:
        return await self.cluster.grain(Endless, f"k{depth + 1}").dig(depth + 1)


async def test_a_chain_has_an_end(caller):
    grain = (await caller(Endless, rpc={"call_chain_max": 20})).grain(Endless, "k0")
    with pytest.raises(inaho.InahoError, match="call_chain_max"):
        await grain.dig(0)


class Slow(Grain):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.gate = asyncio.Event()

    @method(timeout=0.25)
    async def short(self) -> None:
        await self.wait("short")

    @method(idempotent=True, attempt_timeout=0.3)
    async def patient(self, misses: int) -> str:
        """Is lost `misses` times, then answers."""
        return await self.wait("patient") if len(self.log) < 2 * misses else "found"

    async def wait(self, name: str = "wait") -> str:
        self.log.append(f"+{name}")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.log.append(f"x{name}")
            raise
        self.log.append(f"-{name}")
        return name

    async def stubborn(self) -> str:
        self.log.append("+stubborn")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append("xstubborn")
        return "anyway"

    async def quick(self) -> str:
        return "quick"

    async def left(self) -> float:
        return self.context.deadline - asyncio.get_running_loop().time()

    async def ask_left(self, key: str) -> float:
        return await self.cluster.grain(Slow, key).left()

    async def ask_wait(self, key: str) -> str:
        try:
            return await self.cluster.grain(Slow, key).wait()
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise

    async def bounded_inside(self, key: str) -> str:
        with inaho.deadline(0.05):
            return await self.cluster.grain(Slow, key).wait()


async def test_a_methods_timeout(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()  # what follows begins in time, on a busy machine too
    for _ in range(2):
        with pytest.raises(Timeout) as caught:
            await grain.short()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.maybe_executed
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+short", "xshort"] * 2)
    assert await grain.quick() == "quick"


async def test_an_attempt_that_takes_too_long_is_followed_by_another(caller, eventually):
    cluster = await caller(Slow, rpc={"retry_attempts": 2})
    await cluster.grain(Slow, "a").quick()
    assert await cluster.grain(Slow, "a").patient(1) == "found"
    slow = caller.fleet.activation(Slow, "a")
    assert slow.log == ["+patient", "xpatient"]
    assert cluster._node.context.retries == 1
    slow.log.clear()
    with pytest.raises(Timeout) as caught:
        await cluster.grain(Slow, "a").patient(9)
    assert caught.value.maybe_executed
    await eventually(lambda: slow.log == ["+patient", "xpatient"] * 2)


async def test_attempts_end_with_the_call(caller, eventually):
    cluster = await caller(Slow)
    await cluster.grain(Slow, "a").quick()
    with pytest.raises(Timeout):
        await cluster.grain(Slow, "a", timeout=0.25).patient(9)
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+patient", "xpatient"])
    assert cluster._node.context.retries == 0


async def test_a_references_timeout(caller, eventually):
    cluster = await caller(Slow)
    await cluster.grain(Slow, "a").quick()
    grain = cluster.grain(Slow, "a", timeout=0.25)
    with pytest.raises(Timeout, match="Slow/a"):
        await grain.wait()
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+wait", "xwait"])
    assert await grain.quick() == "quick"


async def test_a_reference_may_wait_longer_than_usual(caller):
    cluster = await caller(Slow, rpc={"timeout_s": 2.0})
    await cluster.grain(Slow, "a").quick()
    left = await cluster.grain(Slow, "a", timeout=50.0).left()
    assert 40 < left <= 50


async def test_a_deadline_holds_for_all_calls_in_it(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    with inaho.deadline(3.0):
        assert 0 < await grain.left() <= 3.0
        assert 0 < await grain.ask_left("b") <= 3.0
        with inaho.deadline(50.0):  # an inner one cannot lengthen it
            assert await grain.left() <= 3.0
    assert await grain.left() > 3.0
    with inaho.deadline(0.25), pytest.raises(Timeout):
        await grain.wait()
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log[-1] == "xwait")


async def test_a_deadline_reaches_across_nodes(fleet, eventually):
    one, other = await fleet.members(2, Slow)
    near, far = fleet.key_at(one, Slow), fleet.key_at(other, Slow)
    client = await fleet.client()
    await client.grain(Slow, near).quick()
    with inaho.deadline(3.0):
        assert 0 < await client.grain(Slow, near).ask_left(far) <= 3.0
    with inaho.deadline(0.5), pytest.raises(Timeout):
        await client.grain(Slow, near).ask_wait(far)
    await eventually(lambda: fleet.activation(Slow, far).log == ["+wait", "xwait"])
    await eventually(lambda: fleet.activation(Slow, near).log)
    with pytest.raises(Timeout):
        await client.grain(Slow, near).bounded_inside(far)


async def test_a_call_that_waited_in_vain_has_not_run(fleet, eventually):
    member = await fleet.member(Slow)
    grain = member.grain(Slow, "a")
    await grain.quick()
    slow = fleet.activation(Slow, "a")
    holding = asyncio.ensure_future(grain.wait("first"))
    await eventually(lambda: slow.log == ["+first"])
    with inaho.deadline(0.05), pytest.raises(Timeout, match="queue") as caught:
        await grain.wait("second")
    assert not caught.value.maybe_executed
    slow.gate.set()
    await holding
    assert slow.log == ["+first", "-first"]


async def test_a_far_call_that_waited_in_vain_does_not_run_later(fleet, eventually):
    await fleet.member(Slow)
    client = await fleet.client()
    grain = client.grain(Slow, "a")
    await grain.quick()
    slow = fleet.activation(Slow, "a")
    holding = asyncio.ensure_future(grain.wait("first"))
    await eventually(lambda: slow.log == ["+first"])
    with inaho.deadline(0.05), pytest.raises(Timeout):
        await grain.wait("second")
    await eventually(lambda: not slow._inaho_turn.waiting)
    slow.gate.set()
    await holding
    assert await grain.quick() == "quick"
    assert slow.log == ["+first", "-first"]


@pytest.mark.parametrize("first", [True, False], ids=["activating", "active"])
async def test_cancelling_a_call_that_runs(caller, eventually, first):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    if not first:
        await grain.quick()
    for _ in range(2):
        call = asyncio.ensure_future(grain.wait())
        await eventually(lambda: (slow := caller.fleet.activation(Slow, "a")) and slow.log[-1:] == ["+wait"])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        slow = caller.fleet.activation(Slow, "a")
        await eventually(lambda: slow.log[-1] == "xwait")  # noqa: B023
    assert await grain.quick() == "quick"


async def test_cancelling_a_call_that_waits(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    slow = caller.fleet.activation(Slow, "a")
    holding = asyncio.ensure_future(grain.wait("first"))
    await eventually(lambda: slow.log == ["+first"])
    call = asyncio.ensure_future(grain.wait("second"))
    await eventually(lambda: getattr(slow._inaho_turn, "waiting", None))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: not slow._inaho_turn.waiting)
    slow.gate.set()
    assert await holding == "first"
    assert slow.log == ["+first", "-first"]


@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_a_call_at_any_moment(caller, steps):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    calls = [asyncio.ensure_future(grain.wait(str(number))) for number in range(3)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*calls, return_exceptions=True))
    assert await grain.quick() == "quick"


async def test_cancelling_reaches_through_a_chain(fleet, eventually):
    one, other = await fleet.members(2, Slow)
    near, far = fleet.key_at(one, Slow), fleet.key_at(other, Slow)
    client = await fleet.client()
    call = asyncio.ensure_future(client.grain(Slow, near).ask_wait(far))
    await eventually(lambda: (slow := fleet.activation(Slow, far)) and slow.log == ["+wait"])
    call.cancel()
    await eventually(lambda: fleet.activation(Slow, far).log == ["+wait", "xwait"])
    await eventually(lambda: fleet.activation(Slow, near).log == ["CancelledError"])
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_method_that_will_not_be_cancelled(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    slow = caller.fleet.activation(Slow, "a")
    call = asyncio.ensure_future(grain.stubborn())
    await eventually(lambda: slow.log == ["+stubborn"])
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await eventually(lambda: slow.log == ["+stubborn", "xstubborn"])
    assert await grain.quick() == "quick"


async def test_timeouts_of_the_caller_are_those_of_asyncio(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.2):
            await grain.wait()
    assert type(caught.value) is TimeoutError
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+wait", "xwait"])
    assert await grain.quick() == "quick"


class Usual(Grain):
    """Uses asyncio as any code does."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    async def timeout(self) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "?"

    async def group(self, count: int) -> list[int]:
        async def one(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(count)]
        return [task.result() for task in tasks]

    async def failing_group(self) -> str:
        async def fail() -> None:
            raise ValueError("in the group")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()
        except ExceptionGroup as errors:
            return "caught" if errors.subgroup(ValueError) else "?"

    async def same_task(self) -> bool:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return before is not None and before is asyncio.current_task()

    async def set(self, value: str) -> tuple[str, str]:
        before = VARIABLE.get()
        VARIABLE.set(value)
        await asyncio.sleep(0)
        return before, VARIABLE.get()

    async def get(self) -> str:
        return VARIABLE.get()

    async def cancel_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def cancel_itself_and_return(self, later: bool) -> str:
        if later:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "returned"

    async def await_cancelled(self) -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        await future

    async def where(self) -> list[str]:
        return [str(self.context.caller), self.context.caller_authority, str(self.context.epoch > 0)]


async def test_asyncio_inside_of_a_turn(caller):
    cluster = await caller(Usual)
    grain = cluster.grain(Usual, "a")
    for _ in range(2):
        assert await grain.timeout() == "timed out"
        assert await grain.group(5) == [0, 1, 2, 3, 4]
        assert await grain.failing_group() == "caught"
        assert await grain.same_task()


async def test_turns_have_contexts_of_their_own(caller):
    cluster = await caller(Usual)
    grain = cluster.grain(Usual, "a")
    for value in ("x", "y"):
        assert tuple(await grain.set(value)) == ("unset", value)
        assert await grain.get() == "unset"
        assert VARIABLE.get() == "unset"


async def test_a_turn_does_not_inherit_from_the_one_it_waited_for(fleet, eventually):
    member = await fleet.member(Slow, Usual)
    client = await fleet.client()

    grain = member.grain(Usual, "a")
    await grain.get()

    async def near() -> Any:
        VARIABLE.set("of the caller")
        return await grain.set("x")

    first = asyncio.ensure_future(near())
    far = asyncio.ensure_future(client.grain(Usual, "a").get())
    await asyncio.gather(first, far)
    assert far.result() == "unset"


@pytest.mark.parametrize("place_of_calls", ["memory", "tcp"])
async def test_user_code_that_cancels_its_own_task(fleet, place_of_calls):
    fleet.over = place_of_calls
    await fleet.member(Usual)
    client = await fleet.client()
    grain, other = client.grain(Usual, "a"), client.grain(Usual, "b")
    for _ in range(3):
        with pytest.raises(RuntimeError, match="cancel_itself"):
            await grain.cancel_itself()
        for later in (False, True):
            results = await asyncio.gather(
                grain.cancel_itself_and_return(later), *(other.group(3) for _ in range(3)), grain.same_task()
            )
            assert results == ["returned", *[[0, 1, 2]] * 3, True]


async def test_a_method_that_awaits_what_was_cancelled(caller):
    cluster = await caller(Usual)
    grain = cluster.grain(Usual, "a")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="await_cancelled"):
            await grain.await_cancelled()
    assert await grain.same_task()


async def test_a_node_that_stops_says_so(fleet, eventually):
    member = await fleet.member(Slow, activation={"drain_s": 0.05})
    client = await fleet.client()
    grain = client.grain(Slow, "a", retry=False)
    call = asyncio.ensure_future(grain.wait())
    await eventually(lambda: (slow := fleet.activation(Slow, "a")) and slow.log)
    fleet.settle = False
    await member.close()
    with pytest.raises((inaho.ShuttingDown, inaho.Unreachable)) as caught:
        await call
    assert caught.value.maybe_executed


class Starter(Grain):
    """Starts a Task that outlives its turn, and its deadline."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def ready(self) -> None: ...

    async def begin(self) -> None:
        self.left = asyncio.create_task(self._later())

    async def _later(self) -> str:
        await self.gate.wait()
        try:
            _ = self.context
        except RuntimeError:
            return await self.cluster.grain(Echoing, "other").say("still here")
        return "the context of a turn that is over"

    async def outcome(self) -> str:
        self.gate.set()
        return await self.left


class Echoing(Grain):
    async def say(self, text: str) -> str:
        return text


async def test_a_task_that_outlives_its_turn_inherits_nothing_from_it(caller):
    cluster = await caller(Starter, Echoing)
    starter = cluster.grain(Starter, "a")
    await starter.ready()
    with inaho.deadline(1.0):  # of the turn, which the Task must not be bound by
        await starter.begin()
    await asyncio.sleep(1.05)
    assert await starter.outcome() == "still here"
