"""Arguments and results that cannot be encoded, or are too large: what fails, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

import inaho
from inaho import FrameTooLarge, Grain, InvalidArguments, SerializationFailed
from inaho.events import SerializationFailure
from support.types_grain import Types


class Opaque:
    """No codec knows it."""


class Sending(Grain):
    ran = 0

    async def take(self, first: Any, second: Any = None) -> int:
        self.ran += 1
        return self.ran

    async def give_opaque(self) -> Any:
        self.ran += 1
        return Opaque()

    async def give_wrong(self) -> int:
        self.ran += 1
        return "not a number"  # type: ignore[return-value]

    async def give_bytes(self, size: int) -> bytes:
        return bytes(size)

    async def size(self, data: bytes) -> int:
        return len(data)


async def test_an_argument_without_encoding_is_named(caller):
    grain = (await caller(Sending)).grain(Sending, "a")
    with pytest.raises(SerializationFailed, match=r"'second'.*Opaque") as caught:
        await grain.take(1, [Opaque()])
    assert not caught.value.maybe_executed
    assert caught.value.identity == "Sending/a"
    assert await grain.take(1) == 1


async def test_a_result_without_encoding_is_named(caller):
    grain = (await caller(Sending)).grain(Sending, "a")
    with pytest.raises(SerializationFailed, match=r"result of give_opaque.*Opaque") as caught:
        await grain.give_opaque()
    assert caught.value.maybe_executed
    assert caught.value.identity == "Sending/a"
    assert await grain.take(1) == 2


async def test_a_result_that_breaks_its_annotation_is_an_error(caller):
    grain = (await caller(Sending)).grain(Sending, "a")
    with pytest.raises(inaho.SchemaMismatch, match="give_wrong"):
        await grain.give_wrong()
    assert await grain.take(1) == 2


@pytest.mark.parametrize("over", ["memory", "tcp"])
async def test_messages_over_the_limit_fail_alone(over, fleet, eventually):
    fleet.over = over
    await fleet.member(Sending, transport={"frame_bytes_max": 65536})
    client = await fleet.client(transport={"frame_bytes_max": 65536})
    grain = client.grain(Sending, "a")
    assert await grain.take(1) == 1
    (connection,) = client._node.peers.connections.values()

    with pytest.raises(FrameTooLarge, match=r"arguments of size.*frame_bytes_max") as caught:
        await grain.size(bytes(70_000))
    assert not caught.value.maybe_executed
    assert caught.value.identity == "Sending/a"

    with pytest.raises(FrameTooLarge, match=r"result of give_bytes.*frame_bytes_max") as caught:
        await grain.give_bytes(70_000)
    assert caught.value.maybe_executed

    assert await grain.size(bytes(65_000)) == 65_000
    assert len(await grain.give_bytes(65_000)) == 65_000
    assert list(client._node.peers.connections.values()) == [connection]
    assert not connection.closed


async def test_failures_of_encoding_are_events_where_they_happen(fleet, eventually):
    member = await fleet.member(Sending, Types)
    client = await fleet.client()
    seen: list[SerializationFailure] = []
    with member.system.events.subscribe(SerializationFailure, capacity=16) as subscription:
        with pytest.raises(SerializationFailed):
            await client.grain(Sending, "a").give_opaque()
        with pytest.raises(InvalidArguments):
            await client.grain(Types, "b").count("x")  # type: ignore[arg-type]
        async for event in subscription:
            seen.append(event)
            if len(seen) == 2:
                break
    assert [(str(event.identity), event.method, event.direction) for event in seen] == [
        ("Sending/a", "give_opaque", "out"),
        ("Types/b", "count", "in"),
    ]


async def test_numbers_beyond_64_bits_have_no_encoding_between_nodes(fleet):
    await fleet.member(Types)
    client = await fleet.client()
    with pytest.raises(SerializationFailed, match="'value'"):
        await client.grain(Types, "a").count(1 << 70)
