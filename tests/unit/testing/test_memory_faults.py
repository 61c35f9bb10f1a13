"""The network in memory breaks when told to: links that are cut, and hosts that vanish; one seed is one history."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.runtime.connections.handshake import dial_authenticated
from inaho.runtime.transport.transport import DialFailed
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.wire.handshake import Handshake, HandshakeConfig
from support.loops import both_loops, run
from support.memory_ends import A, B, End, joined, settle
from support.waiting import until


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
