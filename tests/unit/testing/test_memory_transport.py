"""The network in memory behaves as TCP does: bytes, ends, resets, pauses, dialling, and the handshake on top."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from inaho.errors import AuthenticationFailed, AuthorityInUse, InahoError, InvalidConfig, ShuttingDown, WrongIncarnation
from inaho.runtime.connections.handshake import HandshakeGate, accept_factory, dial_authenticated
from inaho.runtime.transport.transport import DialFailed
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.wire.handshake import Handshake, HandshakeConfig, PeerInfo
from support.loops import both_loops, run
from support.memory_ends import A, B, End, joined, settle
from support.waiting import until


@both_loops
def test_bytes_go_both_ways_in_order(loop_name: str) -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork())
        assert far.transport.get_extra_info("peername") == ("a", 1)
        assert near.transport.get_extra_info("peername") == ("b", 1)
        near.transport.write(b"one ")
        near.transport.writelines([b"two ", bytearray(b"three")])
        far.transport.write(memoryview(b"hello"))
        assert far.data == b""
        await until(lambda: (far.data, near.data) == (b"one two three", b"hello"))

    run(scenario(), loop_name)


@both_loops
def test_close_flushes_then_ends(loop_name: str) -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork())
        near.transport.write(b"x" * 1_000_000)
        near.transport.close()
        assert near.transport.is_closing()
        near.transport.write(b"too late")
        await until(lambda: "lost" in far.log)
        assert len(far.data) == 1_000_000
        assert far.log == ["made", "end", "lost"]
        assert near.log[0] == "made"
        assert near.log[-1] == "lost"

    run(scenario(), loop_name)


@both_loops
def test_abort_is_a_reset_at_the_peer(loop_name: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        near, far = await joined(network)
        near.transport.write(b"unsent")
        near.transport.abort()
        near.transport.abort()
        near.transport.close()
        assert near.log == ["made"]
        await settle()
        assert near.log == ["made", "lost"]
        assert far.log == ["made", "ConnectionResetError"]
        assert far.data == b""
        assert network.connections == ()

    run(scenario(), loop_name)


def test_half_close() -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork(), stay_open=True)
        near.transport.write(b"question")
        near.transport.write_eof()
        with pytest.raises(RuntimeError):
            near.transport.write(b"more")
        await settle()
        assert (far.data, far.log) == (b"question", ["made", "end"])
        far.transport.write(b"answer")
        await settle()
        assert near.data == b"answer"
        far.transport.close()
        near.transport.close()
        await settle()
        assert (near.log[-1], far.log[-1]) == ("lost", "lost")

    run(scenario())


def test_writing_to_a_closed_end_is_answered_by_a_reset() -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork(), stay_open=True)
        far.transport.close()
        await settle()
        assert near.log == ["made", "end"]
        near.transport.write(b"anyone?")
        await settle()
        assert near.log == ["made", "end", "ConnectionResetError"]

    run(scenario())


def test_closing_with_bytes_unread_resets_the_peer() -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork(), stay_open=True)
        far.transport.pause_reading()
        near.transport.write(b"unread")
        await settle()
        far.transport.close()
        await settle()
        assert far.data == b""
        assert near.log == ["made", "end", "ConnectionResetError"]

    run(scenario())


@both_loops
def test_a_paused_reader_pauses_its_writer(loop_name: str) -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork(window_bytes=1000))
        near.transport.set_write_buffer_limits(high=500, low=100)
        assert near.transport.get_write_buffer_limits() == (100, 500)
        far.transport.pause_reading()
        assert not far.transport.is_reading()
        near.transport.write(b"x" * 1500)
        assert near.log == ["made"]
        near.transport.write(b"x")
        assert near.log == ["made", "pause"]
        assert near.transport.get_write_buffer_size() == 501
        await settle()
        assert far.data == b""
        far.transport.resume_reading()
        await until(lambda: len(far.data) == 1501)
        assert near.log == ["made", "pause", "resume"]
        assert near.transport.get_write_buffer_size() == 0
        with pytest.raises(ValueError, match="high"):
            near.transport.set_write_buffer_limits(high=1, low=2)

    run(scenario(), loop_name)


def test_a_paused_reader_learns_of_a_reset_and_not_of_an_end() -> None:
    async def scenario() -> None:
        near, far = await joined(MemoryNetwork())
        far.transport.pause_reading()
        near.transport.write(b"unread")
        near.transport.write_eof()
        await settle()
        assert far.log == ["made"]
        near.transport.abort()
        await settle()
        assert far.log == ["made", "ConnectionResetError"]

    run(scenario())


def test_a_protocol_that_raises_loses_its_connection() -> None:
    class Broken(End):
        def data_received(self, data: bytes) -> None:
            raise KeyError(data)

    async def scenario() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        near, far = await joined(MemoryNetwork())
        broken = Broken()
        far.transport.set_protocol(broken)
        assert far.transport.get_protocol() is broken
        near.transport.write(b"x")
        await settle()
        assert broken.log == ["KeyError"]
        assert near.log == ["made", "ConnectionResetError"]
        assert isinstance(reported[0]["exception"], KeyError)

    run(scenario())


def test_latency_holds_bytes_back_and_keeps_their_order() -> None:
    async def scenario() -> None:
        # The second chunk would be faster than the first.
        latencies = iter([0.0] * 2 + [0.05] + [0.0] * 50)
        network = MemoryNetwork(latency_s=lambda _source, _target: next(latencies))
        near, far = await joined(network)
        loop = asyncio.get_running_loop()
        started = loop.time()
        near.transport.write(b"slow ")
        near.transport.write(b"fast")
        await until(lambda: far.data)
        assert loop.time() - started >= 0.045
        await until(lambda: far.data == b"slow fast")

    run(scenario())


# Dialling.


def test_refused_taken_and_closed() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        transport = MemoryTransport(network)
        with pytest.raises(DialFailed) as caught:
            await transport.dial(B, End)
        assert (caught.value.cause_kind, caught.value.authority) == ("refused", B)
        listener = await transport.listen("b:0", End)
        assert listener.authority == transport.authority == "b:49152"
        with pytest.raises(AuthorityInUse):
            await MemoryTransport(network).listen(listener.authority, End)
        with pytest.raises(InvalidConfig):
            await transport.listen("b", End)
        kept = End()
        await transport.dial(listener.authority, lambda: kept)
        listener.close()
        await listener.wait_closed()
        with pytest.raises(DialFailed):
            await transport.dial(listener.authority, End)
        assert kept.log == ["made"]
        await MemoryTransport(network).listen(listener.authority, End)
        transport.close()
        with pytest.raises(ShuttingDown):
            await transport.dial(B, End)
        with pytest.raises(ShuttingDown):
            await transport.listen(B, End)

    run(scenario())


# The handshake on top.


@both_loops
@pytest.mark.parametrize(
    ("says", "kind"),
    [({}, None), ({"secret": "guess"}, AuthenticationFailed), ({"expected_node_id": "b0"}, WrongIncarnation)],
)
def test_the_handshake_runs_over_memory(loop_name: str, says: dict[str, Any], kind: type[InahoError] | None) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        errors: list[InahoError] = []
        peers: list[PeerInfo] = []

        def established(_transport: asyncio.Transport, peer: PeerInfo) -> End:
            peers.append(peer)
            return End()

        config = HandshakeConfig(cluster="shop", node_id="b1", authority=B, secret="s3")
        factory = accept_factory(
            lambda: Handshake("acceptor", config, secrets.token_bytes(32)),
            timeout_s=1.0,
            gate=HandshakeGate(8),
            established=established,
            failed=lambda error, _address: errors.append(error),
        )
        await MemoryTransport(network).listen(B, factory)
        known: dict[str, Any] = {"cluster": "shop", "node_id": "a1", "authority": A, "secret": "s3"}
        handshake = Handshake("dialer", HandshakeConfig(**{**known, **says}), secrets.token_bytes(32))
        dialing = dial_authenticated(MemoryTransport(network, A), B, handshake, 1.0, established)
        if kind is None:
            end = await dialing
            await until(lambda: len(peers) == 2)
            assert sorted(peer.node_id for peer in peers) == ["a1", "b1"]
            assert end.log == ["made"]
            return
        with pytest.raises(kind):
            await dialing
        await settle()
        assert [type(error) for error in errors] == [kind]
        assert network.connections == ()

    run(scenario(), loop_name)
