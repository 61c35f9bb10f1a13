"""Runs the control planes of a whole cluster in one process, under virtual time and a seeded network.

Each node is a real `ControlNode`; messages are handed over as objects, through `testing.control_plane.network`. Reports
that the asyncio driver would make about connections (opened, reset, refused, answered by another node) are modelled
too, and can be switched off to see that detection works without them. One seed gives one history. Every node's
`check()` runs after each of its steps, and observers (`testing.control_plane.checkers`) see every step.

Why not the real driver on a virtual loop: the control plane alone is fast enough for a thousand nodes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from inaho.config import ClusterConfig
from inaho.core.effects import Effect, Send
from inaho.core.inputs import (
    AuthorityAnswered,
    AuthorityNotReached,
    Connected,
    Disconnected,
    Discovered,
    Input,
    LeaveRequested,
    Received,
    Start,
    Tick,
)
from inaho.core.membership.member import is_live
from inaho.core.messages import ControlMessage, JoinAccepted, JoinRefused, JoinRequest
from inaho.core.node import ControlNode
from inaho.testing.control_plane.network import Links, Network, Traffic
from inaho.types import Member, MemberStatus

__all__ = ["ControlSimulation", "Network", "Observer"]

FIRST_PORT: Final = 7700
_TICK: Final = Tick()
_encode = msgspec.msgpack.Encoder().encode


class Observer(Protocol):
    """Sees every step of every node, after it."""

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        """Checks what a step did."""
        ...


class ControlSimulation:
    """A simulated cluster.

    Args:
        seed: of everything that is random.
        config: of every node; authority and seeds are set per node.
        network: see `Network`.
        check_every: run `check()` after every so many steps; 1 in tests, 0 for never.
        observers: see every step.
        keep_history: whether effects are kept for `effects()`; off for large simulations.
        measure_bytes: whether messages are encoded to learn their size.
    """

    def __init__(
        self,
        seed: int,
        config: ClusterConfig | None = None,
        network: Network | None = None,
        check_every: int = 1,
        observers: Iterable[Observer] = (),
        keep_history: bool = True,
        measure_bytes: bool = False,
    ) -> None:
        self.config = config or ClusterConfig()
        self.network = network or Network()
        self.now = 1000.0
        self.nodes: dict[str, ControlNode] = {}
        self.links = Links()
        self.traffic = Traffic()
        # All effects but `Send`, with time and authority: the history to assert on.
        self.history: list[tuple[float, str, Effect]] = []
        self.steps = 0
        # Whether queued messages are being delivered: meanwhile they count neither as in flight nor as delivered.
        self.resuming = False
        self.seed = seed
        self._check_every = check_every
        self._observe = tuple(observer.on_step for observer in observers)
        self._keep_history = keep_history
        self._measure_bytes = measure_bytes
        self._random = random.Random(seed)
        self._boots = 0
        self._sequence = 0
        # Time, order, recipient, the process for which it is meant, and what happens; None is a tick.
        self._heap: list[tuple[float, int, str, ControlNode, Input | None]] = []
        self._ticks: dict[str, float] = {}
        self._paused: dict[str, list[Input]] = {}

    # Nodes.

    def authority(self, index: int) -> str:
        """The authority of the `index`-th node."""
        return f"10.0.{index // 200}.{index % 200}:{FIRST_PORT}"

    def start(
        self,
        authority: str,
        seeds: Iterable[str] = (),
        kinds: tuple[str, ...] = (),
        *,
        discovered: Iterable[str] = (),
        by_record: bool = False,
    ) -> ControlNode:
        """Starts a node as a new process with a new node id; an earlier process there must have crashed or left.

        Args:
            authority, seeds, kinds: of the node.
            discovered: what a provider lists at its start; given only if it is not empty.
            by_record: see `inputs.Start`.
        """
        self._boots += 1
        node_id = f"{self.seed & 0xFFFF_FFFF:08x}{self._boots:08x}"
        member = Member(authority, node_id, 0, MemberStatus.JOINING, kinds)
        config = self.config.replace(authority=authority, seeds=tuple(seeds))
        node = ControlNode(config, member, random.Random(f"{self.seed}/{self._boots}"))
        self.nodes[authority] = node
        self._ticks.pop(authority, None)
        listed = tuple(discovered)
        if listed:
            self.give(authority, Discovered(listed))
        self.give(authority, Start(tuple(seeds), by_record))
        return node

    def start_many(self, count: int, seed_count: int = 1, gap_s: float = 0.0) -> list[ControlNode]:
        """Starts `count` nodes that share the first `seed_count` as seeds."""
        seeds = [self.authority(index) for index in range(min(seed_count, count))]
        started: list[ControlNode] = []
        for index in range(count):
            started.append(self.start(self.authority(index), seeds))
            if gap_s:
                self.run(gap_s)
        return started

    def crash(self, authority: str) -> None:
        """Kills a process: its sockets are reset, its port refuses."""
        self.nodes.pop(authority)
        for waiting in self._paused.pop(authority, ()):
            self.traffic.outlived += isinstance(waiting, Received)
        self._ticks.pop(authority, None)
        for other in self.links.disconnect(authority):
            if other in self.nodes and not self.links.is_cut(authority, other):
                known = self.nodes[other].table.get(authority)
                self._report(other, Disconnected(authority, "" if known is None else known.node_id, "reset"))

    def leave(self, authority: str) -> None:
        """Asks a node to leave."""
        self.give(authority, LeaveRequested())

    @property
    def paused(self) -> tuple[str, ...]:
        """Processes that are stopped, longest first."""
        return tuple(self._paused)

    def pause(self, authority: str) -> None:
        """Stops a process: its connections stay open and silent."""
        self._paused[authority] = []

    def resume(self, authority: str) -> None:
        """Continues a process, with the messages that have queued up meanwhile."""
        waiting = self._paused.pop(authority)
        self.resuming = True
        self.give(authority, _TICK)
        for queued in waiting:
            self._deliver(authority, queued)
        self.resuming = False

    def partition(self, *sides: Iterable[str]) -> None:
        """Cuts all links between the sides."""
        self.links.partition(sides)

    def cut(self, source: str, target: str) -> None:
        """Cuts one direction of one link."""
        self.links.cut(source, target)

    def heal(self) -> None:
        """Ends all cuts."""
        self.links.heal()

    # Time.

    def run(self, duration_s: float) -> None:
        """Runs for that much virtual time."""
        end = self.now + duration_s
        while self._heap and self._heap[0][0] <= end:
            self._next()
        self.now = end

    def run_until(self, done: Callable[[], bool], limit_s: float, every_s: float = 0.0) -> bool:
        """Runs until `done()` or the limit; returns whether it was done.

        Args:
            done: checked after every event, or every `every_s` of virtual time when that is above 0.
            limit_s: virtual seconds.
            every_s: for a `done` that costs more than an event.
        """
        end = self.now + limit_s
        while not done():
            if every_s:
                if self.now >= end:
                    return False
                self.run(min(every_s, end - self.now))
            elif not self._heap or self._heap[0][0] > end:
                self.now = end
                return done()
            else:
                self._next()
        return True

    def give(self, authority: str, happening: Input) -> list[Effect]:
        """Gives a node an input now, and carries out its effects."""
        node = self.nodes[authority]
        effects = node.step(self.now, happening)
        self.steps += 1
        if self._check_every and self.steps % self._check_every == 0:
            node.check()
        for effect in effects:
            if type(effect) is Send:
                self._send(authority, node, effect.authority, effect.message)
            elif self._keep_history:
                self.history.append((self.now, authority, effect))
        self._arm(authority, node)
        for observe in self._observe:
            observe(self, authority, node, happening, effects)
        return effects

    # What to assert on.

    @property
    def messages(self) -> int:
        """Messages that nodes have sent."""
        return self.traffic.sent

    def in_flight(self) -> int:
        """Messages under way, those that wait for a paused process included."""
        queued = sum(isinstance(waiting, Received) for inbox in self._paused.values() for waiting in inbox)
        return queued + sum(type(happening) is Received for *_, happening in self._heap)

    def converged(self) -> bool:
        """Whether all nodes show the same members, each up, and themselves among them."""
        nodes = iter(self.nodes.values())
        first = next(nodes, None)
        if first is None:
            return True
        table = first.table
        if len(table) != len(self.nodes):
            return False
        version, content_hash = table.version, table.content_hash()
        if any(node.table.version != version or node.table.content_hash() != content_hash for node in nodes):
            return False
        live = table.live
        return all(member.status is MemberStatus.UP for member in live) and [
            member.authority for member in live
        ] == sorted(self.nodes)

    def status(self, observer: str, subject: str) -> MemberStatus | None:
        """How one node sees another."""
        member = self.nodes[observer].table.get(subject)
        return None if member is None else member.status

    def effects(self, kind: type[object], authority: str = "") -> list[tuple[float, str, Effect]]:
        """Effects of that type, or published events of that type, in order."""
        return [
            (at, who, effect)
            for at, who, effect in self.history
            if (not authority or who == authority)
            and (isinstance(effect, kind) or isinstance(getattr(effect, "event", None), kind))
        ]

    # Inside.

    def _next(self) -> None:
        at, _, authority, process, happening = heapq.heappop(self._heap)
        self.now = max(self.now, at)
        if self.nodes.get(authority) is not process:
            self.traffic.outlived += type(happening) is Received
        elif happening is None:
            if self._ticks.get(authority) == at:
                del self._ticks[authority]
                if authority not in self._paused:
                    self.give(authority, _TICK)
        elif authority in self._paused:
            self._paused[authority].append(happening)
        else:
            self._deliver(authority, happening)

    def _deliver(self, authority: str, happening: Input) -> None:
        if type(happening) is AuthorityAnswered:
            # A driver reports its connections of that moment, so the report is never older than the process there.
            process = self.nodes.get(happening.authority)
            if process is None or process.member.node_id != happening.node_id:
                return
        self.traffic.delivered += type(happening) is Received
        self.give(authority, happening)

    def _arm(self, authority: str, node: ControlNode) -> None:
        deadline = node.next_deadline()
        if deadline is None:
            return
        deadline = max(deadline, self.now)
        armed = self._ticks.get(authority)
        if armed is None or deadline < armed:
            self._ticks[authority] = deadline
            self._push(deadline, authority, None)

    def _push(self, at: float, authority: str, happening: Input | None) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, authority, self.nodes[authority], happening))

    def _later(self) -> float:
        spread = self.network.delay_most_s - self.network.delay_least_s
        return self.now + self.network.delay_least_s + spread * self._random.random()

    def _send(self, source: str, sender: ControlNode, target: str, message: ControlMessage) -> None:
        traffic, network = self.traffic, self.network
        traffic.sent += 1
        if self._measure_bytes:
            traffic.encoded_bytes += len(_encode(message))
        if self.links.is_cut(source, target):
            traffic.cut += 1
            return
        if network.loss and self._random.random() < network.loss:
            traffic.lost += 1
            return
        receiver = self.nodes.get(target)
        if receiver is None:
            traffic.refused += 1
            self._report(source, AuthorityNotReached(target, "refused"))
            return
        expected = sender.table.get(target)
        if (
            network.evidence
            and expected is not None
            and expected.node_id != receiver.member.node_id
            and is_live(expected)
            and not isinstance(message, JoinRequest | JoinAccepted | JoinRefused)
        ):
            traffic.misdirected += 1
            self._report(source, AuthorityAnswered(target, receiver.member.node_id))
            return
        if self.links.connect(source, target):
            self._report(source, Connected(target, receiver.member.node_id))
            self._report(target, Connected(source, sender.member.node_id))
        received = Received(source, sender.member.node_id, message)
        self._push(self._later(), target, received)
        if network.repeat and self._random.random() < network.repeat:
            traffic.repeated += 1
            self._push(self._later(), target, received)

    def _report(self, authority: str, happening: Input) -> None:
        if self.network.evidence:
            self._push(self._later(), authority, happening)
