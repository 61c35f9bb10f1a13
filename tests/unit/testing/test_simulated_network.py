"""The simulator's network: delays, faults of control frames, cuts that outlast TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.errors import InvalidConfig
from inaho.runtime.connections.connection import Connection
from inaho.testing.simulation.memory_transport import MemoryTransport
from inaho.testing.simulation.simulated_network import Faults, SimulatedNetwork
from inaho.testing.simulation.trace import Trace
from inaho.testing.simulation.virtual_loop import VirtualLoop
from inaho.wire.frames import CALL, CONTROL, frame

A, B = "a:1", "b:1"


class Ear(asyncio.Protocol):
    def __init__(self) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.lost: Exception | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.chunks.append((asyncio.get_running_loop().time(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionError("closed")

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.chunks)


class Mouth(Connection):
    """A connection of a node as far as the pipe can tell."""

    def __init__(self) -> None:
        self.lost: Exception | None = None

    def on_frame(self, kind: int, flags: int, method: int, correlation: int, body: memoryview) -> None:
        raise AssertionError("the ear writes nothing")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionError("closed")


class Wire:
    """A and B, connected."""

    def __init__(self, faults: Faults, seed: int = 1) -> None:
        self.loop = VirtualLoop()
        self.trace = Trace(self.loop.time)
        self.network = SimulatedNetwork(self.loop, faults, seed=seed, trace=self.trace, dial_timeout_s=2.0)
        self.ear, self.mouth = Ear(), Mouth()

        async def connect() -> None:
            await MemoryTransport(self.network, B).listen(B, lambda: self.ear)
            await MemoryTransport(self.network, A).dial(B, lambda: self.mouth)

        self.loop.run_until_complete(connect())

    def write(self, data: bytes) -> None:
        async def write() -> None:
            self.mouth.transport.write(data)

        self.loop.run_until_complete(write())

    def run_for(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Wire] = []

    def wire(**faults: float) -> Wire:
        made.append(Wire(Faults(**faults)))
        return made[-1]

    yield wire
    for each in made:
        each.loop.close()


CONTROLS = [frame(CONTROL, b"control %03d" % number) for number in range(200)]
CALLS = [frame(CALL, b"call %03d" % number) for number in range(200)]
MIXED = [each for pair in zip(CONTROLS, CALLS, strict=True) for each in pair]


def frames_of(data: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "little")
        found.append(data[position:end])
        position = end
    return found


def test_without_faults_everything_arrives_in_order_within_the_delay(make: Any):
    wire = make(delay_least_s=0.01, delay_most_s=0.02)
    began = wire.loop.time()
    wire.write(b"".join(MIXED))
    wire.run_for(1.0)
    assert frames_of(wire.ear.data) == MIXED
    assert 0.01 <= wire.ear.chunks[0][0] - began <= 0.02


@given(seed=st.integers(min_value=0, max_value=1000), batch=st.integers(min_value=1, max_value=50))
def test_faults_touch_control_frames_only(seed: int, batch: int):
    wire = Wire(Faults(control_loss=0.3, control_repeat=0.3, control_reorder=0.5), seed)
    for start in range(0, len(MIXED), batch):
        wire.write(b"".join(MIXED[start : start + batch]))
    wire.run_for(1.0)
    wire.loop.close()
    got = frames_of(wire.ear.data)
    assert [each for each in got if each in CALLS] == CALLS, "a stream loses and reorders nothing"
    controls = [each for each in got if each not in CALLS]
    assert set(controls) < set(CONTROLS)
    lost, repeated = wire.network.control_lost, wire.network.control_repeated
    assert len(controls) == len(CONTROLS) - lost + repeated
    assert controls != sorted(controls)


def test_what_is_no_connection_yet_is_not_taken_for_frames(make: Any):
    wire = make(control_loss=1.0)

    async def answer() -> None:
        wire.ear.transport.write(b"the handshake is no frame")

    wire.mouth.data_received = Ear.data_received.__get__(other := Ear())
    wire.loop.run_until_complete(answer())
    wire.run_for(0.1)
    assert other.data == b"the handshake is no frame"


def test_a_short_cut_holds_bytes_back(make: Any):
    wire = make(reset_after_s=5.0)
    wire.network.cut(A, B)
    wire.write(CALLS[0])
    wire.run_for(4.0)
    assert wire.ear.data == b""
    wire.network.heal(A, B)
    wire.run_for(1.0)
    assert wire.ear.data == CALLS[0]
    wire.run_for(10.0)
    assert wire.mouth.lost is None


def test_a_long_cut_times_the_writer_out_and_leaves_the_reader_unaware(make: Any):
    wire = make(reset_after_s=5.0)
    wire.network.cut(A, B)
    wire.write(CALLS[0])
    wire.run_for(5.5)
    assert isinstance(wire.mouth.lost, TimeoutError)
    assert wire.ear.lost is None


def test_a_long_cut_of_a_silent_connection_breaks_nothing(make: Any):
    wire = make(reset_after_s=5.0)
    wire.network.cut(A, B)
    wire.run_for(60.0)
    assert wire.mouth.lost is None


def test_a_link_that_was_healed_and_cut_again_starts_its_time_anew(make: Any):
    wire = make(reset_after_s=5.0)
    wire.network.cut(A, B)
    wire.run_for(4.0)
    wire.network.heal(A, B)
    wire.run_for(0.5)
    wire.network.cut(A, B)
    wire.write(CALLS[0])
    wire.run_for(4.0)
    assert wire.mouth.lost is None
    wire.run_for(1.5)
    assert isinstance(wire.mouth.lost, TimeoutError)


@pytest.mark.parametrize(
    "values", [{"control_loss": 1.5}, {"delay_least_s": 0.1, "delay_most_s": 0.01}, {"reset_after_s": 0.0}]
)
def test_impossible_faults_are_refused(values: dict[str, float]):
    with pytest.raises(InvalidConfig):
        Faults(**values)


def test_the_trace_tells_histories_apart():
    def hashed(*records: tuple[str, ...]) -> str:
        trace = Trace(lambda: 1.0)
        for record in records:
            trace.add(*record)
        return trace.hexdigest()

    assert hashed(("a", "b")) == hashed(("a", "b"))
    assert len({hashed(("a", "b")), hashed(("a", "b"), ("a", "b")), hashed(("a", "bc")), hashed(("a", "b", "c"))}) == 4
