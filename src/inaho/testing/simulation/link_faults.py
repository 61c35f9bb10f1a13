"""Faults of the links of a simulated cluster: cuts, partitions, flapping, slowness.

All of it consists of one-way cuts (`MemoryNetwork.cut`), with the names that a test uses.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from inaho.runtime.cluster.cluster import Cluster
from inaho.testing.simulation.simulated_network import Faults, SimulatedNetwork
from inaho.testing.simulation.simulation import Simulation

__all__ = ["LinkFaults"]


class LinkFaults(Simulation):
    """A simulation with a network. Nodes are named by index, clients by their `Cluster`.

    Attributes:
        network: for faults that the methods here do not offer.
    """

    network: SimulatedNetwork

    @abstractmethod
    def _address(self, node: int | Cluster) -> str:
        """By which the network knows a node."""

    @property
    def faults(self) -> Faults:
        """Of the network, from now on when replaced."""
        return self.network.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._note("faults", repr(faults))
        self.network.faults = faults

    def partition(self, *groups: Iterable[int | Cluster]) -> None:
        """Cuts every link between nodes of different groups. A node in no group keeps all links.

        Raises:
            TypeError: a group is no set or list of nodes.
            ValueError: a node is in two groups.
        """
        for group in groups:
            if isinstance(group, str) or not hasattr(group, "__iter__"):
                raise TypeError(f"partition takes groups of nodes, such as partition({{0, 1}}, {{2}}), not {group!r}")
        sides = [[self._address(member) for member in group] for group in groups]
        seen: set[str] = set()
        for side in sides:
            if twice := sorted(seen.intersection(side)):
                raise ValueError(f"{', '.join(twice)} cannot be on two sides of a partition")
            seen.update(side)
        self._note("partition", *(",".join(side) for side in sides))
        for side in sides:
            for other in sides:
                if side is not other:
                    for source in side:
                        for target in other:
                            self.network.cut(source, target)

    def cut(self, source: int | Cluster, target: int | Cluster) -> None:
        """Cuts one direction: nothing of `source` reaches `target`, while the other direction works."""
        self._note("cut", self._address(source), self._address(target))
        self.network.cut(self._address(source), self._address(target))

    def heal(self, one: int | Cluster | None = None, other: int | Cluster | None = None) -> None:
        """Ends all cuts, or those between two nodes. Held-back bytes arrive.

        Raises:
            TypeError: one node is named alone.
        """
        if (one is None) != (other is None):
            raise TypeError("heal ends all cuts, heal(), or those between two nodes, heal(0, 1)")
        if one is None or other is None:
            self._note("heal")
            self.network.heal_all()
            return
        self._note("heal", self._address(one), self._address(other))
        self.network.heal(self._address(one), self._address(other))
        self.network.heal(self._address(other), self._address(one))

    def flap(
        self, one: int | Cluster, other: int | Cluster, *, down_s: float = 1.0, up_s: float = 1.0, for_s: float = 60.0
    ) -> None:
        """Cuts and heals a link in turn for `for_s` seconds, beginning with a cut; returns at once."""
        ends = self.time + for_s

        def down() -> None:
            if self.time < ends:
                self.cut(one, other)
                self.cut(other, one)
                self.network.later(down_s, up)

        def up() -> None:
            self.heal(one, other)
            self.network.later(up_s, down)

        down()

    def slow(self, node: int | Cluster, extra_s: float) -> None:
        """Adds `extra_s` to every delay from and to a node; 0 ends it."""
        self._note("slow", self._address(node), repr(extra_s))
        self.network.extra_s[self._address(node)] = extra_s
        if not extra_s:
            del self.network.extra_s[self._address(node)]
