"""Calls that fail, and members that answer nonsense: a typed error tells the caller whether the call may have run."""

from __future__ import annotations

import asyncio

import pytest

import inaho
from inaho import Grain
from inaho.errors import (
    FrameTooLarge,
    InahoError,
    InvalidArguments,
    NoSuchKind,
    NoSuchMethod,
    RemoteError,
    SchemaMismatch,
    Timeout,
    TopologyUnavailable,
    Unreachable,
)
from inaho.events import ConnectionClosed
from inaho.wire.exceptions import Failure
from inaho.wire.frames import CALL, CONTROL, ENDED, ERROR, GOODBYE, ITEMS, REPLY, TOPOLOGY, Goodbye, frame
from support.attacker import SHORTEST, encode, header
from support.impostor import Impostor
from support.member_processes import LIMIT_S, MemberProcess, Processes, client, free_port, settings, unharmed, until
from support.programs.network_node import Gauge, Probe, Tally

MIB = 1 << 20


class Unhosted(Grain):
    """A kind that no member has."""

    async def ping(self) -> int:
        return 1


async def test_unknown_kinds_and_methods(victim: MemberProcess) -> None:
    async with unharmed(victim), client(victim) as cluster:
        with pytest.raises(TopologyUnavailable, match="kind Unhosted") as raised:  # its host may be restarting
            await cluster.grain(Unhosted, "key", timeout=0.5).ping()
        assert raised.value.maybe_executed is False
        with pytest.raises(NoSuchKind):
            await cluster.call("Nothing", "key", "ping")
        with pytest.raises(NoSuchMethod):
            await cluster.call("Probe", "key", "nothing")
        with pytest.raises(SchemaMismatch):
            await cluster.call("Probe", "key", "echo", 1, 2, 3)
        with pytest.raises((InvalidArguments, SchemaMismatch)):
            await cluster.call("Probe", "key", "echo", "text")


async def test_what_is_too_large_fails_its_call_only(victim: MemberProcess) -> None:
    """Arguments, results and exceptions over the limit; a hundred other calls share the connection."""
    async with unharmed(victim), client(victim) as cluster:
        probe = cluster.grain(Probe, "large")
        others = [asyncio.create_task(cluster.grain(Probe, f"k{n}").hold_safely(0.1)) for n in range(100)]
        with pytest.raises(FrameTooLarge) as raised:
            await probe.take(bytes(MIB))
        assert raised.value.maybe_executed is False
        with pytest.raises(FrameTooLarge) as raised:
            await probe.blob(MIB)
        assert raised.value.maybe_executed is True
        with pytest.raises((FrameTooLarge, RemoteError)) as failed:
            await probe.fail(3 * MIB)
        assert failed.value.maybe_executed is True
        with pytest.raises(ValueError, match="xxx"):
            await probe.fail(1000)
        assert set(await asyncio.gather(*others)) == {victim.authority}


async def test_an_exception_beyond_a_small_frame(processes: Processes) -> None:
    """A member with small frames sends no larger one, whatever the grain raises."""
    transport = settings().transport.replace(frame_bytes_max=16 << 10)
    member = await processes.start(transport=transport)
    async with unharmed(member), client(member, transport=transport) as cluster:
        with pytest.raises(FrameTooLarge, match="ValueError of fail") as raised:
            await cluster.grain(Probe, "p").fail(16 << 10)
        assert raised.value.maybe_executed is True


async def test_a_stream_whose_consumer_stalls(victim: MemberProcess) -> None:
    async with unharmed(victim), client(victim) as cluster:
        stream = cluster.grain(Probe, "s").endless()
        assert await anext(stream) == 0
        gauge = cluster.grain(Gauge, "g")
        for _ in range(50):
            assert await gauge.streams() == 1
        await stream.aclose()
        async with asyncio.timeout(LIMIT_S):
            while await gauge.streams():
                await asyncio.sleep(0.01)


NONSENSE: dict[str, tuple[bytes, str]] = {
    "oversized frame": (header(MIB + 1, REPLY), "a frame of 1048577 bytes"),
    "short frame": (header(SHORTEST - 1, REPLY), "a frame of 7 bytes"),
    "a call": (frame(CALL, encode(["key", 1])), "frame type 1 from the side that answers"),
    "a control message": (frame(CONTROL, b"\x80"), "frame type 9 from the side that answers"),
    "an unknown type": (frame(99), "frame type 99 from the side that answers"),
    "items for a call": (frame(ITEMS, b"\x90"), "which is no stream"),
    "a method that nobody has": (frame(REPLY, b"\x01", method=0xFFFF), "does not match it"),
    "an error of garbage": (frame(ERROR, b"\xc1"), "an error that does not decode"),
    "a deep error": (frame(ERROR, b"\x91" * 50_000), "an error that does not decode"),
    "a topology of garbage": (frame(TOPOLOGY, b"\xc1"), "a topology that does not decode"),
    "ends of garbage": (frame(ENDED, b"\xc1"), "ends of activations that do not decode"),
    "a goodbye of garbage": (frame(GOODBYE, b"\xc1"), "a goodbye that does not decode"),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_member_that_talks_nonsense(name: str) -> None:
    answer, reason = NONSENSE[name]
    async with Impostor(answer) as impostor, _client_of(impostor) as cluster:
        closed: list[ConnectionClosed] = []
        with cluster.system.events.subscribe(ConnectionClosed, capacity=100) as events:
            call = asyncio.create_task(cluster.grain(Tally, "t").add(1))
            with pytest.raises(Unreachable) as raised:
                await call
            assert raised.value.maybe_executed is True
            assert reason in raised.value.reason
            closed += events.drain()
        assert any(event.reason.startswith("protocol_violation") and reason in event.reason for event in closed)
        assert impostor.calls == 1


def _client_of(impostor: Impostor) -> inaho.runtime.cluster.cluster.Joining:
    return inaho.connect([impostor.authority], config=settings(authority=""))


def failure(type_name: str, arguments: object = ((), {})) -> bytes:
    return frame(ERROR, encode(Failure("", "text", "Tally/t", "h:1", True, type_name, "", encode(arguments))))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (frame(REPLY, encode("no number")), SchemaMismatch),
        (frame(REPLY, b"\xc1"), SchemaMismatch),
        (frame(REPLY, b"\x91" * 50_000), SchemaMismatch),
        (frame(REPLY, b""), SchemaMismatch),
        (frame(ERROR, encode(Failure("no_such_code", "text", "", "", False))), RemoteError),
        (failure("os.system", (["true"], {})), RemoteError),
        (failure("StopIteration"), RemoteError),
        (failure("StopAsyncIteration"), Exception),
        (failure("UnicodeDecodeError", (["x"], {})), RemoteError),
        (failure("ValueError", (["x"], {"__class__": "y"})), Exception),
        (failure("ValueError", (["x"], {"__traceback__": 1, "args": 7})), Exception),
    ],
)
async def test_an_answer_that_does_not_fit_fails_its_call_only(answer: bytes, expected: type[Exception]) -> None:
    async with Impostor(answer) as impostor, _client_of(impostor) as cluster:
        for attempt in range(2):
            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(expected) as raised:
                    await cluster.grain(Tally, "t").add(1)
            assert not isinstance(raised.value, Unreachable | Timeout | TimeoutError)
            assert impostor.calls == attempt + 1


async def test_a_goodbye_that_says_why_is_passed_on() -> None:
    """The peer need not hang up: what waits fails at once, and what comes later is not sent into the void."""
    answer = frame(GOODBYE, encode(Goodbye("overloaded", "go away")))
    async with Impostor(answer) as impostor, _client_of(impostor) as cluster:
        with cluster.system.events.subscribe(ConnectionClosed, capacity=100) as events:
            tally = cluster.grain(Tally, "t")
            for calls in (1, 2):
                with pytest.raises(Unreachable, match="go away") as raised:
                    await tally.add(1)
                assert raised.value.maybe_executed is True
                assert impostor.calls == calls
            told = events.drain()
            assert told and all("go away" in event.reason for event in told)


async def test_a_call_that_waits_for_room_when_its_member_dies(processes: Processes) -> None:
    """It was not sent: it does not hang, and it is known not to have run."""
    member = await processes.start()
    async with client(member) as cluster:
        probe = cluster.grain(Probe, "p")
        assert await probe.take(b"x") == 1
        member.pause()
        data = bytes(900_000)
        sent = [asyncio.create_task(cluster.grain(Probe, f"p{n}").take(data)) for n in range(16)]
        connection = next(iter(cluster._node.peers.connections.values()))
        await until(lambda: connection.paused, "the connection takes no more")
        waiting = [asyncio.create_task(cluster.grain(Probe, "p", timeout=1.5).take(b"x")) for _ in range(5)]
        await asyncio.sleep(0)
        member.kill()
        async with asyncio.timeout(LIMIT_S):
            errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(error, "maybe_executed", None) for error in errors] == [False] * 5, errors
        for task in sent:
            task.cancel()
        await asyncio.gather(*sent, return_exceptions=True)


async def test_a_port_where_nobody_listens_any_more() -> None:
    config = settings(authority="", seeds=(f"127.0.0.1:{free_port()}",))
    config = config.replace(membership=config.membership.replace(join_timeout_s=0.3))
    with pytest.raises(InahoError) as raised:
        await inaho.connect(config=config)
    assert raised.value.maybe_executed is False
