"""Simulated control planes whose membership is a provider: a back end with entries that expire, read by each node."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from inaho.config import ClusterConfig, MembershipConfig
from inaho.core.effects import ApplyTopology, Effect, Joined, StopActivations
from inaho.core.inputs import Discovered, Input, ProviderMembers
from inaho.core.node import ControlNode
from inaho.core.node.lifecycle import FAILED, LEAVING, LEFT, MEMBER
from inaho.testing.control_plane.simulation import ControlSimulation, Observer
from inaho.types import Member, MemberStatus

__all__ = ["ProviderWorld", "TopologyRules"]

STEP_S: Final = 0.05
TTL_S: Final = 3.0

CONFIG: Final = ClusterConfig(membership=MembershipConfig(source="provider"))


class TopologyRules:
    """Checks of every step: versions grow, and a node whose snapshot lacks it is no member."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self.listed: dict[str, bool] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        node_id = node.member.node_id
        if isinstance(happening, ProviderMembers):
            self.listed[node_id] = any(member.node_id == node_id for member in happening.members)
        assert node.stage not in (MEMBER, LEAVING) or self.listed.get(node_id), f"{authority} is not listed"
        for effect in effects:
            if isinstance(effect, ApplyTopology):
                before = self._versions.get(node_id, 0)
                assert effect.snapshot.version > before, f"{authority}: {effect.snapshot.version} after {before}"
                self._versions[node_id] = effect.snapshot.version


class ProviderWorld:
    """The nodes, and the back end.

    Args:
        seed: of everything.
        observers: besides `TopologyRules`.
    """

    def __init__(self, seed: int, observers: Iterable[Observer] = ()) -> None:
        self.simulation = ControlSimulation(seed, CONFIG, observers=(TopologyRules(), *observers))
        self.down = False
        self.away: dict[str, None] = {}
        # Seconds between two reads of a node; 0: it sees each change with the next step.
        self.period_s = 0.0
        self._random = random.Random(f"provider members/{seed}")
        self._entries: dict[str, Member] = {}
        self._expires_at: dict[str, float] = {}
        self._read_at: dict[str, float] = {}
        self._given: dict[str, tuple[Member, ...]] = {}

    def authority(self, index: int) -> str:
        return self.simulation.authority(index)

    def start(self, *indexes: int) -> None:
        """Starts nodes, which register first."""
        for index in indexes:
            authority = self.authority(index)
            self._given.pop(authority, None)
            self.simulation.start(authority)

    def cluster(self, count: int) -> list[str]:
        """Starts so many nodes, one after the other, and waits for all."""
        for index in range(count):
            self.start(index)
            assert self.until(self.agreed, 10.0), self.show()
        return [self.authority(index) for index in range(count)]

    def expire(self, authority: str) -> None:
        """The entry is gone; its node writes it again with the next renewal."""
        self._entries.pop(authority, None)

    def run(self, duration_s: float) -> None:
        end = self.simulation.now + duration_s
        while self.simulation.now < end:
            self._serve()
            self.simulation.run(STEP_S)

    def until(self, done: Callable[[], bool], limit_s: float) -> bool:
        end = self.simulation.now + limit_s
        while not done():
            if self.simulation.now >= end:
                return False
            self.run(STEP_S)
        return True

    def agreed(self) -> bool:
        """Whether all nodes show exactly all nodes as up, in equal topologies."""
        nodes = list(self.simulation.nodes.values())
        shown = {(node.topology.version, node.topology.hash) for node in nodes}
        return len(shown) == 1 and all(self.up(authority) == sorted(self.simulation.nodes) for authority in self.nodes)

    @property
    def nodes(self) -> dict[str, ControlNode]:
        return self.simulation.nodes

    def up(self, authority: str) -> list[str]:
        """Who is up in the topology of a node."""
        return [
            member.authority for member in self.nodes[authority].topology.members if member.status is MemberStatus.UP
        ]

    def stopped(self, authority: str) -> int:
        """How often a node has ended its activations."""
        return len(self.simulation.effects(StopActivations, authority))

    def joined(self, authority: str) -> int:
        """How often a node has become a member."""
        return len(self.simulation.effects(Joined, authority))

    def show(self) -> str:
        return "; ".join(
            f"{authority} {node.stage} v{node.topology.version}: "
            + ", ".join(f"{member.authority} {member.status.name}" for member in node.topology.members)
            for authority, node in self.nodes.items()
        )

    # The back end.

    def _serve(self) -> None:
        if self.down:
            return
        now = self.simulation.now
        for authority, node in self.nodes.items():
            if self._reaches(authority) and node.stage not in (LEFT, FAILED):
                self._register(now, authority, node)
        for authority in [name for name in self._entries if self._expires_at[name] <= now]:
            del self._entries[authority]
        listed = tuple(self._entries[authority] for authority in sorted(self._entries))
        for authority in tuple(self.nodes):
            if self._reaches(authority) and now >= self._read_at.get(authority, 0.0):
                self._read_at[authority] = now + self.period_s * (0.5 + self._random.random())
                self._give(authority, listed)

    def _reaches(self, authority: str) -> bool:
        return authority not in self.away and authority not in self.simulation.paused

    def _register(self, now: float, authority: str, node: ControlNode) -> None:
        incarnation = node.member.incarnation if node.stage in (MEMBER, LEAVING) else 0
        entry = msgspec.structs.replace(node.member, incarnation=incarnation, status=MemberStatus.UP)
        present = self._entries.get(authority)
        renews = present is not None and present.node_id == entry.node_id
        if renews or now >= self._expires_at.get(authority, 0.0) - TTL_S + 1.0 or present is not None:
            self._entries[authority] = entry  # an entry that was lost is written again a second after the last renewal
            self._expires_at[authority] = now + TTL_S

    def _give(self, authority: str, listed: tuple[Member, ...]) -> None:
        if self._given.get(authority) != listed:
            self._given[authority] = listed
            self.simulation.give(authority, Discovered(tuple(member.authority for member in listed)))
            if authority in self.nodes:
                self.simulation.give(authority, ProviderMembers(listed))
