"""Peers that authenticate and then misbehave: each is told why and closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from inaho.wire.frames import (
    ACKNOWLEDGE,
    ASK,
    CALL,
    CANCEL,
    CONTROL,
    CREDIT,
    DEFINE,
    END,
    ERROR,
    GOODBYE,
    ITEMS,
    KEEPS,
    REPLY,
    TELL,
    TOPOLOGY,
    WATCH,
    WITH_CHAIN,
    WITH_DEADLINE,
    WITH_TRACE,
    frame,
)
from support.attacker import SHORTEST, Attacker, call, define, encode, header
from support.member_processes import LIMIT_S, MemberProcess, client, unharmed, until
from support.programs.network_node import Gauge

DEEP = b"\x91" * 20_000
MIB = 1 << 20

VIOLATIONS: dict[str, tuple[bytes, str]] = {
    "oversized frame": (header(MIB + 1, CALL), "a frame of 1048577 bytes"),
    "largest length": (header(0xFFFFFFFF, CALL), "a frame of 4294967295 bytes"),
    "length zero": (header(0, CALL), "a frame of 0 bytes"),
    "length below the minimum": (header(SHORTEST - 1, CALL), "a frame of 7 bytes"),
    "garbage": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "a frame of"),
    "unknown frame type 0": (frame(0), "frame type 0"),
    "unknown frame type 200": (frame(200, b"x"), "frame type 200"),
    "reply from the calling side": (frame(REPLY, b"\xc0"), "frame type 2 from the side that calls"),
    "error from the calling side": (frame(ERROR, b"\xc0"), "frame type 3 from the side that calls"),
    "items from the calling side": (frame(ITEMS, b"\x90"), "frame type 5 from the side that calls"),
    "end from the calling side": (frame(END), "frame type 6 from the side that calls"),
    "topology from the calling side": (frame(TOPOLOGY, b"\x90"), "frame type 10 from the side that calls"),
    "undecodable identity": (frame(KEEPS, b"\x91\xa1k"), "an identity that does not decode"),
    "undefined method": (call(7, 1, "key"), "method 7, which was not defined"),
    "method defined twice": (define(1, "echo") + define(1, "echo"), "method 1 is defined twice"),
    "definitions beyond the bound": (b"".join(define(n, f"m{n}") for n in range(65)), "more than 64 methods"),
    "undecodable definition": (frame(DEFINE, b"\xc1"), "a definition that does not decode"),
    "definition of other types": (frame(DEFINE, encode([1, 2, 3, 4, 5, 6])), "a definition that does not decode"),
    "empty definition": (frame(DEFINE), "a definition that does not decode"),
    "deep definition": (frame(DEFINE, DEEP), "a definition that does not decode"),
    "deep definition behind its fields": (
        frame(DEFINE, b"\x97" + encode(["Probe", "echo", "", 1, 1000, False])[1:] + DEEP),
        "a definition that does not decode",
    ),
    "unknown call flags": (define(1, "echo") + call(1, 1, "key", 1, flags=0x80), "unknown call flags 0x80"),
    "deadline beyond the frame": (
        define(1, "echo") + frame(CALL, b"\x01\x02", flags=WITH_DEADLINE, method=1),
        "optional fields of a call do not decode",
    ),
    "chain beyond the frame": (
        define(1, "echo") + frame(CALL, struct.pack("<H", 60_000) + b"\x90", flags=WITH_CHAIN, method=1),
        "reaches beyond its frame",
    ),
    "chain without a length": (define(1, "echo") + frame(CALL, b"\x01", flags=WITH_CHAIN, method=1), "do not decode"),
    "chain of other types": (
        define(1, "echo") + call(1, 1, "key", 1, flags=WITH_CHAIN, fields=struct.pack("<H", 2) + b"\x91\x01"),
        "do not decode",
    ),
    "deep chain": (
        define(1, "echo") + call(1, 1, "key", 1, flags=WITH_CHAIN, fields=struct.pack("<H", len(DEEP)) + DEEP),
        "do not decode",
    ),
    "deep chain behind its fields": (
        define(1, "echo")
        + call(
            1,
            1,
            "key",
            1,
            flags=WITH_CHAIN,
            fields=struct.pack("<H", len(DEEP) + 6) + b"\x91\x95\xa0\xa0\xa0\x00" + DEEP,
        ),
        "do not decode",
    ),
    "chain that is not text": (
        define(1, "echo")
        + call(1, 1, "key", 1, flags=WITH_CHAIN, fields=struct.pack("<H", 7) + b"\x91\x94\xa1\xff\xa0\xa0\x00"),
        "do not decode",
    ),
    "trace that is not text": (
        define(1, "echo") + call(1, 1, "key", 1, flags=WITH_TRACE, fields=struct.pack("<H", 1) + b"\xff"),
        "do not decode",
    ),
    "trace beyond the frame": (
        define(1, "echo") + frame(CALL, struct.pack("<H", 9) + b"x", flags=WITH_TRACE, method=1),
        "reaches beyond its frame",
    ),
    "control message from a client": (frame(CONTROL, b"\x80"), "a control message from a client"),
    "undecodable goodbye": (frame(GOODBYE, b"\xc1"), "a goodbye that does not decode"),
    "deep goodbye": (frame(GOODBYE, DEEP), "a goodbye that does not decode"),
    "undecodable message": (frame(TELL, b"\xc1"), "does not decode"),
    "deep question": (frame(ASK, DEEP), "does not decode"),
    "undecodable watch": (frame(WATCH, b"\xc1"), "is not UTF-8"),
    "acknowledgement from the calling side": (frame(ACKNOWLEDGE), "frame type 15 from the side that sends messages"),
    "two streams of one id": (
        define(1, "endless", 0, streams=True) + call(1, 5, "key") + call(1, 5, "key"),
        "call 5, which is under way",
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_violation_is_named_and_ends_the_connection_only(victim: MemberProcess, name: str) -> None:
    data, reason = VIOLATIONS[name]
    before = len(victim.lines)
    async with unharmed(victim):
        attacker = await Attacker.authenticated(victim.authority)
        attacker.send(data)
        goodbye = await attacker.goodbye()
        assert goodbye.code == "protocol_violation"
        assert reason in goodbye.reason
        await victim.says("ConnectionClosed", before, reason=lambda told: reason in told)


async def member_peer(victim: MemberProcess) -> Attacker:
    return await Attacker.authenticated(victim.authority, role="member", own="127.0.0.1:1")


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x80", encode({"type": "Nonsense"}), encode([1, 2]), b"\x81\xa4type" + DEEP, DEEP],
    ids=["empty", "reserved", "untagged", "unknown tag", "array", "deep tag", "deep"],
)
async def test_an_undecodable_control_message_ends_the_connection_only(victim: MemberProcess, body: bytes) -> None:
    async with unharmed(victim):
        attacker = await member_peer(victim)
        attacker.send(frame(CONTROL, body))
        goodbye = await attacker.goodbye()
        assert (goodbye.code, "control message" in goodbye.reason) == ("protocol_violation", True)


async def refused_call(attacker: Attacker, data: bytes, correlation: int) -> dict[str, object]:
    attacker.send(data)
    _, _, answered, body = await attacker.frames(ERROR)
    assert answered == correlation
    code, reason, identity, _, maybe_executed, *_ = msgspec.msgpack.decode(body)
    return {"code": code, "reason": reason, "identity": identity, "maybe_executed": maybe_executed}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (define(1, "echo", kind="Nothing") + call(1, 9, "key", 1), "no_such_kind"),
        (define(1, "nothing") + call(1, 9, "key", 1), "no_such_method"),
        (define(1, "__init__", 0) + call(1, 9, "key"), "no_such_method"),
        (define(1, "on_activate", 0) + call(1, 9, "key"), "no_such_method"),
        (define(1, "deactivate", 0) + call(1, 9, "key"), "no_such_method"),
        (define(1, "echo", 3) + call(1, 9, "key", 1, 2, 3), "schema_mismatch"),
        (define(1, "echo", 2**62) + call(1, 9, "key", 1), "schema_mismatch"),
        (define(1, "echo", -1) + call(1, 9, "key", 1), "schema_mismatch"),
        (define(1, "echo", streams=True) + call(1, 9, "key", 1), "schema_mismatch"),
        (define(1, "echo") + call(1, 9, "key", "text"), "invalid_arguments"),
        (define(1, "echo") + call(1, 9, "key"), "invalid_arguments"),
        (define(1, "echo") + call(1, 9, 7, 1), "invalid_arguments"),  # type: ignore[arg-type]
        (define(1, "echo") + frame(CALL, b"", method=1, correlation=9), "invalid_arguments"),
        (define(1, "echo") + frame(CALL, DEEP, method=1, correlation=9), "invalid_arguments"),
        (define(1, "echo") + frame(CALL, b"\x92\xa3key" + DEEP, method=1, correlation=9), "invalid_arguments"),
        (define(1, "echo") + frame(CALL, b"\xdd\xff\xff\xff\xff", method=1, correlation=9), "invalid_arguments"),
        (define(1, "echo") + call(1, 9, "", 1), "invalid_pid"),
        (define(1, "echo") + call(1, 9, "k" * 1025, 1), "invalid_pid"),
        (define(1, "echo") + call(1, 9, "\0", 1), "invalid_pid"),
    ],
)
async def test_a_call_that_cannot_be_served_fails_alone(victim: MemberProcess, data: bytes, code: str) -> None:
    async with unharmed(victim):
        attacker = await Attacker.authenticated(victim.authority)
        failure = await refused_call(attacker, data, 9)
        assert failure["code"] == code
        assert failure["maybe_executed"] is False
        attacker.send(define(2, "echo"), call(2, 10, "key", 4))
        _, _, correlation, body = await attacker.frames(REPLY)
        assert (correlation, body) == (10, b"\x04")
        attacker.close()


@pytest.mark.parametrize("data", [frame(CANCEL, correlation=77), frame(CREDIT, method=9, correlation=77)])
async def test_words_about_calls_that_are_over_are_ignored(victim: MemberProcess, data: bytes) -> None:
    """They cross with the reply in every correct cluster."""
    attacker = await Attacker.authenticated(victim.authority)
    attacker.send(data, define(1, "echo"), call(1, 3, "key", 5))
    _, _, correlation, body = await attacker.frames(REPLY)
    assert (correlation, body) == (3, b"\x05")
    attacker.close()


async def until_gauge(victim: MemberProcess, read: Callable[[Gauge], Awaitable[bool]]) -> None:
    """Asks the member about itself until it answers as wished."""
    async with client(victim) as cluster:
        gauge = cluster.grain(Gauge, "g")
        async with asyncio.timeout(LIMIT_S):
            while not await read(gauge):
                await asyncio.sleep(0.01)


async def _alone(gauge: Gauge) -> bool:
    """Nobody but who asks is connected."""
    return await gauge.connections() == 1


async def _alone_but_for_the_bystander(gauge: Gauge) -> bool:
    return await gauge.connections() == 2


async def _no_streams(gauge: Gauge) -> bool:
    return await gauge.streams() == 0


@pytest.mark.parametrize("half", [header(1000, CALL), header(1000, CALL) + b"x" * 500, b"\x01", header(MIB, CALL)])
async def test_half_a_frame_and_silence_harms_nobody(victim: MemberProcess, half: bytes) -> None:
    async with unharmed(victim) as bystander:
        attackers = [await Attacker.authenticated(victim.authority) for _ in range(5)]
        for attacker in attackers:
            attacker.send(half)
        answers = bystander.answers
        await until(lambda: bystander.answers > answers + 20, "calls beside the silence")
        for attacker in attackers:
            attacker.reset()
    await until_gauge(victim, _alone)


async def test_a_frame_in_single_bytes_is_a_frame(victim: MemberProcess) -> None:
    attacker = await Attacker.authenticated(victim.authority)
    for byte in define(1, "echo") + call(1, 3, "key", 5):
        attacker.send(bytes([byte]))
        await attacker.sent()
        await asyncio.sleep(0)
    _, _, correlation, body = await attacker.frames(REPLY)
    assert (correlation, body) == (3, b"\x05")
    attacker.close()


async def test_a_reset_ends_what_its_calls_hold(victim: MemberProcess) -> None:
    """Streams and waiting turns of a peer that is gone end with it."""
    async with unharmed(victim):
        attacker = await Attacker.authenticated(victim.authority)
        attacker.send(define(1, "endless", 0, streams=True), define(2, "hold"))
        attacker.send(*(call(1, n, f"s{n}") for n in range(50)), *(call(2, 100 + n, "one", 0.2) for n in range(20)))
        await attacker.frames(ITEMS)
        attacker.send(header(5000, CALL) + b"half")
        await attacker.sent()
        attacker.reset()
        await until_gauge(victim, _no_streams)


async def test_streams_of_a_violator_end(victim: MemberProcess) -> None:
    attacker = await Attacker.authenticated(victim.authority)
    attacker.send(define(1, "endless", 0, streams=True), *(call(1, n, f"s{n}") for n in range(20)))
    await attacker.frames(ITEMS)
    attacker.send(call(1, 3, "s3"))
    assert "call 3, which is under way" in (await attacker.goodbye()).reason
    await until_gauge(victim, _no_streams)


async def test_thousands_of_calls_whose_answers_nobody_reads(victim: MemberProcess) -> None:
    """Back-pressure stops the reading of such a peer; its memory is bounded and nobody waits for it."""
    async with unharmed(victim) as bystander:
        attacker = await Attacker.authenticated(victim.authority)
        attacker.read_nothing()
        attacker.send(define(1, "blob"), *(call(1, n, f"b{n % 16}", 4096) for n in range(20_000)))
        answers = bystander.answers
        await until(lambda: bystander.answers > answers + 50, "calls beside the flood")
        attacker.reset()
    await until_gauge(victim, _alone)


async def test_a_violator_that_reads_nothing_is_cut_off(victim: MemberProcess) -> None:
    """It hears no reproach, since it is not listened to any more; that does not keep the connection."""
    async with unharmed(victim):
        attacker = await Attacker.authenticated(victim.authority)
        attacker.read_nothing()
        attacker.send(define(1, "blob"), *(call(1, n, f"b{n % 16}", 500_000) for n in range(100)), frame(200))
        await until_gauge(victim, _alone_but_for_the_bystander)
        attacker.reset()
