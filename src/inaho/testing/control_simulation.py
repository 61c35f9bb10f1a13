"""Many control planes in one process, under virtual time and a seeded network.

A dict of `ControlNode`s, one heap of what will happen, and a network that delays, loses, repeats and cuts. What the
asyncio driver would report of connections (opened, reset, refused, answered by another node) is modelled too, and can
be switched off to see that detection works without it. One seed is one history. Every node's `check()` runs after each
of its steps.

Why not the real driver on a virtual loop: this is the machine room alone, fast enough for a thousand nodes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from inaho.config import ClusterConfig
from inaho.core.effects import Effect, Send
from inaho.core.inputs import (
    AuthorityAnswered,
    Connected,
    DialFailed,
    Disconnected,
    Input,
    LeaveRequested,
    Received,
    Start,
    Tick,
)
from inaho.core.membership.member import is_live
from inaho.core.messages import ControlMessage, JoinAccepted, JoinRefused, JoinRequest
from inaho.core.node import ControlNode
from inaho.types import Member, MemberStatus

__all__ = ["ControlSimulation", "Network"]

FIRST_PORT: Final = 7700


class Network(msgspec.Struct):
    """How the network behaves; may be changed while the simulation runs.

    Attributes:
        delay_least_s: one way.
        delay_most_s: one way; unequal delays reorder.
        loss: share of messages that vanish.
        repeat: share of messages that arrive twice.
        evidence: whether nodes are told about connections and dials.
    """

    delay_least_s: float = 0.0005
    delay_most_s: float = 0.005
    loss: float = 0.0
    repeat: float = 0.0
    evidence: bool = True


class ControlSimulation:
    """A simulated cluster.

    Args:
        seed: of everything that is random.
        config: of every node; authority and seeds are set per node.
        network: see `Network`.
        check_every: run `check()` after every so many steps; 1 in tests, more for large simulations.
    """

    def __init__(
        self, seed: int, config: ClusterConfig | None = None, network: Network | None = None, check_every: int = 1
    ) -> None:
        self.config = config or ClusterConfig()
        self.network = network or Network()
        self.now = 1000.0
        self.nodes: dict[str, ControlNode] = {}
        # All effects but `Send`, with time and authority: the history to assert on.
        self.history: list[tuple[float, str, Effect]] = []
        self.messages = 0
        self.steps = 0
        self._check_every = check_every
        self._seed = seed
        self._random = random.Random(seed)
        self._boots = 0
        self._sequence = 0
        self._heap: list[tuple[float, int, str, str, Input | None]] = []
        self._ticks: dict[str, float] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._paused: dict[str, list[Input]] = {}
        self._connections: dict[tuple[str, str], None] = {}

    # The cast.

    def authority(self, index: int) -> str:
        """The authority of the `index`-th node."""
        return f"10.0.{index // 200}.{index % 200}:{FIRST_PORT}"

    def start(self, authority: str, seeds: Iterable[str] = (), kinds: tuple[str, ...] = ()) -> ControlNode:
        """Starts a node, as a new process with a new node id; an earlier one there must have crashed or left."""
        self._boots += 1
        node_id = f"{self._seed & 0xFFFF_FFFF:08x}{self._boots:08x}"
        member = Member(authority, node_id, 0, MemberStatus.JOINING, kinds)
        config = self.config.replace(authority=authority, seeds=tuple(seeds))
        node = ControlNode(config, member, random.Random(f"{self._seed}/{self._boots}"))
        self.nodes[authority] = node
        self._ticks.pop(authority, None)
        self.give(authority, Start(tuple(seeds)))
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
        self._paused.pop(authority, None)
        self._ticks.pop(authority, None)
        self._drop_connections(authority, "reset")

    def leave(self, authority: str) -> None:
        """Asks a node to leave."""
        self.give(authority, LeaveRequested())

    def pause(self, authority: str) -> None:
        """Stops a process: its connections stay open and silent."""
        self._paused[authority] = []

    def resume(self, authority: str) -> None:
        """Lets it run on, with what has queued up meanwhile."""
        waiting = self._paused.pop(authority)
        self.give(authority, Tick())
        for queued in waiting:
            self.give(authority, queued)

    def partition(self, *sides: Iterable[str]) -> None:
        """Cuts all links between the sides."""
        groups = [list(side) for side in sides]
        for left in groups:
            for right in groups:
                if left is not right:
                    self._cuts.update((a, b) for a in left for b in right)

    def cut(self, source: str, target: str) -> None:
        """Cuts one direction of one link."""
        self._cuts.add((source, target))

    def heal(self) -> None:
        """Mends all links."""
        self._cuts.clear()

    # Time.

    def run(self, duration_s: float) -> None:
        """Runs for that much virtual time."""
        self.run_until(lambda: False, duration_s)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Runs until `done()` or the limit; returns whether it was done."""
        end = self.now + limit_s
        while not done():
            if not self._heap or self._heap[0][0] > end:
                self.now = end
                return done()
            self._next()
        return True

    def give(self, authority: str, happening: Input) -> list[Effect]:
        """Gives a node an input now, and carries out what follows."""
        node = self.nodes[authority]
        effects = node.step(self.now, happening)
        self.steps += 1
        if self.steps % self._check_every == 0:
            node.check()
        for effect in effects:
            if isinstance(effect, Send):
                self._send(authority, effect.authority, effect.message)
            else:
                self.history.append((self.now, authority, effect))
        self._arm(authority, node)
        return effects

    # What to assert on.

    def converged(self) -> bool:
        """Whether all nodes show the same members, each up, and themselves among them."""
        nodes = list(self.nodes.values())
        expected = sorted(self.nodes)
        for node in nodes:
            live = node.table.live
            if [member.authority for member in live] != expected:
                return False
            if any(member.status is not MemberStatus.UP for member in live):
                return False
        return len({(node.table.content_hash(), node.table.version) for node in nodes}) <= 1

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

    # The machinery.

    def _next(self) -> None:
        at, _, action, authority, happening = heapq.heappop(self._heap)
        self.now = max(self.now, at)
        node = self.nodes.get(authority)
        if node is None:
            return
        if action == "tick":
            if self._ticks.get(authority) == at:
                del self._ticks[authority]
                if authority not in self._paused:
                    self.give(authority, Tick())
        elif happening is not None:
            if authority in self._paused:
                self._paused[authority].append(happening)
            else:
                self.give(authority, happening)

    def _arm(self, authority: str, node: ControlNode) -> None:
        deadline = node.next_deadline()
        if deadline is None:
            return
        deadline = max(deadline, self.now)
        armed = self._ticks.get(authority)
        if armed is None or deadline < armed:
            self._ticks[authority] = deadline
            self._push(deadline, "tick", authority, None)

    def _push(self, at: float, action: str, authority: str, happening: Input | None) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, action, authority, happening))

    def _later(self) -> float:
        spread = self.network.delay_most_s - self.network.delay_least_s
        return self.now + self.network.delay_least_s + spread * self._random.random()

    def _send(self, source: str, target: str, message: ControlMessage) -> None:
        self.messages += 1
        if (source, target) in self._cuts or self._random.random() < self.network.loss:
            return
        receiver = self.nodes.get(target)
        if receiver is None:
            self._report(source, DialFailed(target, "refused"))
            return
        expected = self.nodes[source].table.get(target)
        joining = isinstance(message, JoinRequest | JoinAccepted | JoinRefused)
        other = is_live(expected) and expected is not None and expected.node_id != receiver.member.node_id
        if other and not joining:
            self._report(source, AuthorityAnswered(target, receiver.member.node_id))
            return
        self._connect(source, target)
        received = Received(source, self.nodes[source].member.node_id, message)
        self._push(self._later(), "input", target, received)
        if self._random.random() < self.network.repeat:
            self._push(self._later(), "input", target, received)

    def _connect(self, source: str, target: str) -> None:
        pair = (min(source, target), max(source, target))
        if pair in self._connections or (target, source) in self._cuts:
            return
        self._connections[pair] = None
        self._report(source, Connected(target, self.nodes[target].member.node_id))
        self._report(target, Connected(source, self.nodes[source].member.node_id))

    def _drop_connections(self, authority: str, reason: str) -> None:
        for left, right in [pair for pair in self._connections if authority in pair]:
            del self._connections[left, right]
            other = right if left == authority else left
            if other in self.nodes and (authority, other) not in self._cuts:
                known = self.nodes[other].table.get(authority)
                node_id = "" if known is None else known.node_id
                self._report(other, Disconnected(authority, node_id, reason))

    def _report(self, authority: str, happening: Input) -> None:
        if self.network.evidence:
            self._push(self._later(), "input", authority, happening)
