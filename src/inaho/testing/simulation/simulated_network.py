"""The network of a simulation: seeded delays, and faults that a seed decides.

Calls use TCP, so a connection delays, holds back and breaks, but loses and reorders nothing. Control messages use the
same connections and are designed to survive much worse. By default they are only delayed; `Faults` can lose, repeat and
reorder them one by one. This happens where whole frames are known, between the node's write and the wire; the handshake
and all other frames are not affected.

A cut holds bytes back, as retransmission does. If it lasts for `Faults.reset_after_s`, the writing end gives up and its
connection times out, as TCP does in the end; the other end does not notice until it writes itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from typing import TYPE_CHECKING, Any, Final

from inaho.config import Group
from inaho.errors import InvalidConfig
from inaho.runtime.connections.connection import Connection
from inaho.testing.simulation.memory_pipe import MemoryPipe
from inaho.testing.simulation.memory_transport import MemoryNetwork
from inaho.wire.frames import CALL, CONTROL, DEFINE, HEADER, REPLY

if TYPE_CHECKING:
    from inaho.testing.simulation.simulated_process import SimulatedProcess
    from inaho.testing.simulation.trace import Trace

__all__ = ["Faults", "SimulatedNetwork"]

LENGTH_BYTES: Final = 4
METHOD_AT: Final = 6
NUMBERED: Final = (CALL, DEFINE, REPLY)
"""Frames whose header holds the number of a method."""


class Faults(Group, frozen=True, kw_only=True):
    """How the network behaves. `SimCluster.faults` may be replaced at any time.

    Attributes:
        delay_least_s: one way, for every chunk.
        delay_most_s: one way; the delay is drawn evenly between the two.
        control_loss: share of control frames that are lost, 0 to 1.
        control_repeat: share of control frames that arrive twice.
        control_reorder: share of control frames that are held up, each for up to `control_reorder_s`, while others
            overtake them.
        control_reorder_s: see `control_reorder`.
        reset_after_s: bytes without an acknowledgement for this time break their connection. Linux takes minutes by
            default; a deployment may set `TCP_USER_TIMEOUT`.
    """

    delay_least_s: float = 0.0002
    delay_most_s: float = 0.002
    control_loss: float = 0.0
    control_repeat: float = 0.0
    control_reorder: float = 0.0
    control_reorder_s: float = 0.05
    reset_after_s: float = 30.0

    @classmethod
    def may_be_zero(cls) -> frozenset[str]:
        return frozenset({"control_loss", "control_repeat", "control_reorder", "delay_least_s"})

    def check(self) -> None:
        if self.delay_most_s < self.delay_least_s:
            raise InvalidConfig(
                f"Faults.delay_most_s ({self.delay_most_s}) must not be below delay_least_s ({self.delay_least_s})"
            )
        for name in ("control_loss", "control_repeat", "control_reorder"):
            if getattr(self, name) > 1:
                raise InvalidConfig(f"Faults.{name} is a share and must not be above 1")

    @property
    def disturb_control(self) -> bool:
        """Whether control frames are treated one by one."""
        return bool(self.control_loss or self.control_repeat or self.control_reorder)


class SimulatedNetwork(MemoryNetwork):
    """A `MemoryNetwork` whose ends belong to processes.

    Args:
        loop: the simulation's.
        faults: see `Faults`.
        seed: of delays and faults.
        trace: records everything that arrives.

    Attributes:
        faults: in force now.
        processes: the present process at each authority.
        extra_s: seconds that are added to every delay from and to an authority.
        control_lost, control_repeated, control_held_up: frames, counted.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, faults: Faults, *, seed: int, trace: Trace, dial_timeout_s: float
    ) -> None:
        super().__init__(latency_s=self._draw_delay, dial_timeout_s=dial_timeout_s)
        self.faults = faults
        self.trace = trace
        self.processes: dict[str, SimulatedProcess] = {}
        self.extra_s: dict[str, float] = {}
        self.control_lost = 0
        self.control_repeated = 0
        self.control_held_up = 0
        self._loop = loop
        self._random = random.Random(f"{seed}/network")
        self._methods: dict[int, int] = {}
        self._cut_numbers: dict[tuple[str, str], int] = {}

    def loop_for(self, authority: str) -> asyncio.AbstractEventLoop:
        process: Any = self.processes.get(authority)
        loop: asyncio.AbstractEventLoop = self._loop if process is None else process.loop
        return loop

    def make_pipes(self, source: str, target: str) -> tuple[MemoryPipe, MemoryPipe]:
        return SimulatedPipe.pair(self, source, target)

    # Links.

    def cut(self, source: str, target: str) -> None:
        if not self.is_cut(source, target):
            self._count_down(source, target)
        super().cut(source, target)

    def crash(self, authority: str, *, silent: bool = False) -> None:
        super().crash(authority, silent=silent)
        for other in self.processes if silent else ():
            self._count_down(other, authority)

    def _count_down(self, source: str, target: str) -> None:
        number = self._cut_numbers.get((source, target), 0) + 1
        self._cut_numbers[source, target] = number
        self.later(self.faults.reset_after_s, self._give_up, source, target, number)

    def _give_up(self, source: str, target: str, number: int) -> None:
        """The retransmission time-out of what is under way from `source` to `target`, if the cut is still that one."""
        if not self.is_cut(source, target) or self._cut_numbers[source, target] != number:
            return
        for pipe in list(self._pipes):
            if (pipe.local, pipe.remote) == (source, target) and pipe.unacknowledged_bytes:
                self.trace.add("timed out", source, target)
                pipe.break_off(TimeoutError("retransmission timed out"))
        self.later(self.faults.reset_after_s, self._give_up, source, target, number)

    def later(self, delay_s: float, callback: Any, *args: Any) -> None:
        """Calls back as the network: no pause or end of a process affects it."""
        self._loop.call_later(delay_s, callback, *args, context=contextvars.Context())

    def _draw_delay(self, source: str, target: str) -> float:
        faults = self.faults
        spread_s = faults.delay_most_s - faults.delay_least_s
        delay_s = faults.delay_least_s + spread_s * self._random.random()
        if self.extra_s:
            delay_s += self.extra_s.get(source, 0.0) + self.extra_s.get(target, 0.0)
        return delay_s

    # Frames.

    def comparable(self, data: bytes) -> bytes:
        """Whole frames, as they enter the trace.

        Methods are numbered per process, in the order in which their classes were made. What other tests have defined
        must not change a history, so they are numbered here in the order in which they are first used.
        """
        frames, position = bytearray(data), 0
        while position < len(data):
            length, kind, _, method, _ = HEADER.unpack_from(data, position)
            if kind in NUMBERED:
                number = self._methods.setdefault(method, len(self._methods))
                frames[position + METHOD_AT : position + METHOD_AT + 2] = number.to_bytes(2, "little")
            position += LENGTH_BYTES + length
        return bytes(frames)

    def disturb(self, pipe: SimulatedPipe, data: bytes) -> bytes:
        """The part of `data`, whole frames, that is sent at once; faults have taken the rest."""
        faults, chance, kept = self.faults, self._random.random, bytearray()
        position = 0
        while position < len(data):
            length, kind, *_ = HEADER.unpack_from(data, position)
            end = position + LENGTH_BYTES + length
            frame = data[position:end]
            position = end
            if kind != CONTROL:
                kept += frame
                continue
            if chance() < faults.control_loss:
                self.control_lost += 1
                continue
            copies = 1
            if chance() < faults.control_repeat:
                self.control_repeated += 1
                copies = 2
            for _ in range(copies):
                if chance() < faults.control_reorder:
                    self.control_held_up += 1
                    self.later(faults.control_reorder_s * chance(), pipe.inject, frame)
                else:
                    kept += frame
        return bytes(kept)


class SimulatedPipe(MemoryPipe):
    """A `MemoryPipe` on which control frames have faults and arrivals are recorded."""

    _network: SimulatedNetwork

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        network, data = self._network, bytes(data)
        # A node writes whole frames, always; before it is a `Connection` that writes, it is the handshake.
        framed = isinstance(self._protocol, Connection)
        network.trace.add("sent", self.local, self.remote, network.comparable(data) if framed else data)
        if framed and network.faults.disturb_control:
            data = network.disturb(self, data)
        super().write(data)

    def inject(self, frame: bytes) -> None:
        """Sends a frame that was held up now, if the connection is still there."""
        if not self._end_sent:
            super().write(frame)

    def _receive(self, data: bytes) -> None:
        self._network.trace.add("arrived", self.remote, self.local, str(len(data)))
        super()._receive(data)
