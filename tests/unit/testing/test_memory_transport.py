"""The network in memory behaves as TCP does, and breaks when told to."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.errors import AuthenticationFailed, AuthorityInUse, InahoError, InvalidConfig, ShuttingDown, WrongIncarnation
from inaho.runtime.connections.handshake import HandshakeGate, accept_factory, dial_authenticated
from inaho.runtime.transport.transport import DialFailed
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.wire.handshake import Handshake, HandshakeConfig, PeerInfo
from support.waiting import until

ResultT = TypeVar("ResultT")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
both_loops = pytest.mark.parametrize("loop_name", LOOPS)

A, B = "a:1", "b:1"


def run(scenario: Coroutine[Any, Any, ResultT], loop_name: str = "asyncio") -> ResultT:
    async def limited() -> ResultT:
        async with asyncio.timeout(40):
            return await scenario

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        return runner.run(limited())


async def settle(turns: int = 20) -> None:
    """Lets everything happen that needs no time to pass."""
    for _ in range(turns):
        await asyncio.sleep(0)


class End(asyncio.Protocol):
    """Writes down every callback."""

    def __init__(self, *, stay_open: bool = False) -> None:
        self.log: list[Any] = []
        self.data = b""
        self.transport: Any = None
        self._stay_open = stay_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        self.data += data

    def eof_received(self) -> bool:
        self.log.append("end")
        return self._stay_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(type(exc).__name__ if exc else "lost")

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")


async def joined(network: MemoryNetwork, *, stay_open: bool = False) -> tuple[End, End]:
    """A connection from A to B: the protocols of both ends."""
    accepted: list[End] = []

    def accept() -> End:
        accepted.append(End(stay_open=stay_open))
        return accepted[-1]

    await MemoryTransport(network).listen(B, accept)
    near = End(stay_open=stay_open)
    await MemoryTransport(network, A).dial(B, lambda: near)
    await until(lambda: near.log and accepted[0].log)
    return near, accepted[0]


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


@both_loops
@pytest.mark.parametrize(("source", "target"), [(A, B), (B, A)])
def test_a_cut_link_lets_a_dial_time_out_or_wait(loop_name: str, source: str, target: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork(dial_timeout_s=0.05)
        accepted: list[End] = []
        await MemoryTransport(network).listen(B, lambda: (accepted.append(End()), accepted[-1])[1])
        network.cut(source, target)
        with pytest.raises(DialFailed) as caught:
            await MemoryTransport(network, A).dial(B, End)
        assert caught.value.cause_kind == "timeout"
        network.dial_timeout_s = 5.0
        task = asyncio.get_running_loop().create_task(MemoryTransport(network, A).dial(B, End))
        await settle()
        assert not task.done()
        network.heal(source, target)
        await task
        # What the first dial had half opened on B has been reset.
        await until(lambda: [pair for pair in network.connections if pair[0] == B] == [(B, A)])
        assert all(end.log[1:] == ["ConnectionResetError"] for end in accepted[:-1])

    run(scenario(), loop_name)


# Faults.


def test_a_one_way_cut_holds_back_and_heals_in_order() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        near, far = await joined(network)
        network.cut(A, B)
        near.transport.write(b"held ")
        far.transport.write(b"passes")
        await settle()
        assert (far.data, near.data) == (b"", b"passes")
        near.transport.write(b"back")
        near.transport.close()
        await settle()
        assert far.log == ["made"]
        network.heal(A, B)
        await settle()
        assert (far.data, far.log) == (b"held back", ["made", "end", "lost"])

    run(scenario())


def test_a_cut_in_flight_holds_what_was_under_way() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(latency_s=0.01)
        near, far = await joined(network)
        near.transport.write(b"under way")
        network.cut(A, B)
        loop = asyncio.get_running_loop()
        later = loop.time() + 0.05
        await until(lambda: loop.time() > later)
        assert far.data == b""
        network.heal_all()
        await until(lambda: far.data == b"under way")

    run(scenario())


def test_reset_breaks_only_the_named_pair() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        near, far = await joined(network)
        other = End()
        await MemoryTransport(network, "c:1").dial(B, lambda: other)
        assert network.reset(B, A) == 1
        await settle()
        assert near.log == far.log == ["made", "ConnectionResetError"]
        assert other.log == ["made"]
        assert network.reset(A, B) == 0

    run(scenario())


def test_a_crash_resets_peers_and_calls_nobody_in_the_dead_process() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        near, far = await joined(network)
        far.transport.write(b"last words")
        network.crash(B)
        await settle()
        assert far.log == ["made"]
        assert (near.data, near.log) == (b"last words", ["made", "ConnectionResetError"])
        far.transport.write(b"from the grave")
        far.transport.close()
        far.transport.abort()
        await settle()
        assert far.log == ["made"]
        with pytest.raises(DialFailed) as caught:
            await MemoryTransport(network, A).dial(B, End)
        assert caught.value.cause_kind == "refused"

    run(scenario())


def test_a_host_that_vanishes_is_silent_until_it_is_back() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(dial_timeout_s=0.05, window_bytes=0)
        near, far = await joined(network)
        network.crash(B, silent=True)
        near.transport.write(b"x" * 100_000)
        await settle()
        assert near.log == ["made", "pause"]
        with pytest.raises(DialFailed) as caught:
            await MemoryTransport(network, A).dial(B, End)
        assert caught.value.cause_kind == "timeout"
        await MemoryTransport(network).listen(B, End)
        await settle()
        assert near.log == ["made", "pause", "ConnectionResetError"]
        assert far.log == ["made"]
        network.dial_timeout_s = 5.0
        await MemoryTransport(network, A).dial(B, End)

    run(scenario())


# One history.


def chatter(seed: int) -> list[tuple[str, bytes]]:
    """A few connections under random traffic, latency and cuts; what arrived where, in order."""

    async def scenario() -> list[tuple[str, bytes]]:
        choose = random.Random(seed)
        network = MemoryNetwork(latency_s=0.0)
        history: list[tuple[str, bytes]] = []

        class Scribe(End):
            def data_received(self, data: bytes) -> None:
                history.append((self.transport.local, data))

        ends: list[Scribe] = []

        def make() -> Scribe:
            ends.append(Scribe())
            return ends[-1]

        names = ["a:1", "b:1", "c:1"]
        for name in names:
            await MemoryTransport(network).listen(name, make)
        for source, target in [(0, 1), (1, 2), (2, 0)]:
            await MemoryTransport(network, names[source]).dial(names[target], make)
        await settle()
        for step in range(200):
            choose.choice(ends).transport.write(str(step).encode())
            if choose.random() < 0.1:
                network.cut(*choose.sample(names, 2))
            if choose.random() < 0.1:
                network.heal_all()
            if choose.random() < 0.3:
                await asyncio.sleep(0)
        network.heal_all()
        await settle()
        return history

    return run(scenario())


def test_one_seed_is_one_history() -> None:
    first = chatter(7)
    assert len(first) > 50
    assert chatter(7) == first
    assert chatter(8) != first


@given(st.lists(st.tuples(st.sampled_from(["write", "pause", "resume", "cut", "heal", "turn"]), st.integers(1, 3000))))
@settings(max_examples=60, deadline=None)
def test_no_byte_is_lost_whatever_happens_to_the_link(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        network = MemoryNetwork(window_bytes=2000)
        near, far = await joined(network)
        near.transport.set_write_buffer_limits(high=1000)
        sent = b""
        for action, number in steps:
            if action == "write":
                piece = number.to_bytes(2, "big") * number
                near.transport.write(piece)
                sent += piece
            elif action == "pause":
                far.transport.pause_reading()
            elif action == "resume":
                far.transport.resume_reading()
            elif action == "cut":
                network.cut(A, B)
            elif action == "heal":
                network.heal(A, B)
            else:
                await settle(3)
        near.transport.close()
        network.heal_all()
        far.transport.resume_reading()
        await until(lambda: far.log[-1] == "lost")
        assert far.data == sent
        assert near.log[-1] == "lost"
        assert near.log.count("pause") - near.log.count("resume") in (0, 1)

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


def test_a_handshake_over_a_link_that_is_cut_ends_in_time() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        await MemoryTransport(network).listen(B, End)
        config = HandshakeConfig(cluster="shop", node_id="a1", authority=A)
        handshake = Handshake("dialer", config, b"n" * 32)
        task = asyncio.get_running_loop().create_task(
            dial_authenticated(MemoryTransport(network, A), B, handshake, 0.05, lambda _, __: End())
        )
        await until(lambda: network.connections)
        network.cut(A, B)
        with pytest.raises(DialFailed) as caught:
            await task
        assert caught.value.cause_kind == "timeout"
        network.heal_all()
        await settle()
        assert network.connections == ()

    run(scenario())
