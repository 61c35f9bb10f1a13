"""Decides which host gets an activation of a kind with `prefer_local` or `least_loaded`.

`prefer_local` takes the host that asks, since the first caller usually calls again. `least_loaded` draws two hosts and
takes the one with less load. Why two and not the best of all: a node's knowledge of other loads is some seconds old and
the same on all nodes. So with the best of all, all nodes would send everything to one host until the next report, and
then to the next host (Mitzenmacher, "How useful is old information?", 2000). What this node has granted since a report
is added to the report, for the same reason.

Owners stay where the hash puts them: the owner of an identity decides, and remembers its decision. Only the host of the
activation is chosen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Final, Protocol

from inaho.errors import InvalidGrain, TopologyUnavailable
from inaho.types import Member, MemberStatus, TopologySnapshot

__all__ = ["LEAST_LOADED", "OWNER", "PREFER_LOCAL", "STRATEGIES", "LoadBook", "check_strategy", "choose", "hosts_of"]

OWNER: Final = "owner"
PREFER_LOCAL: Final = "prefer_local"
LEAST_LOADED: Final = "least_loaded"
STRATEGIES: Final = (OWNER, PREFER_LOCAL, LEAST_LOADED)


class Chance(Protocol):
    """A source of randomness, such as `random.Random`."""

    def randrange(self, stop: int, /) -> int: ...


def check_strategy(kind: str, strategy: str) -> str:
    """Returns the strategy. Raises `InvalidGrain` when there is none of that name."""
    if strategy not in STRATEGIES:
        raise InvalidGrain(f"{kind}: placement must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    return strategy


def hosts_of(snapshot: TopologySnapshot | None, kind: str) -> list[Member]:
    """The members that may take an activation of `kind`: up, not blocked, and hosting it; sorted by authority."""
    if snapshot is None:
        return []
    newest: dict[str, Member] = {}
    for member in snapshot.members:
        if member.status is not MemberStatus.UP or kind not in member.kinds or not 0 < member.weight < inf:
            continue
        other = newest.get(member.authority)
        if member.authority not in snapshot.blocked and (other is None or other.incarnation <= member.incarnation):
            newest[member.authority] = member
    return [newest[authority] for authority in sorted(newest)]


class LoadBook:
    """The load of other nodes as one node knows it: the last report of each, and what it has granted since.

    Bounded by the members of the newest topology (`retain`).
    """

    def __init__(self) -> None:
        self._reports: dict[str, float] = {}
        self._granted: dict[str, int] = {}

    def report(self, loads: Mapping[str, float]) -> None:
        """Takes the newest reports: node id to load. An unchanged load counts as the same report."""
        for node_id, load in loads.items():
            if self._reports.get(node_id) != load:
                self._reports[node_id] = load
                self._granted.pop(node_id, None)

    def granted(self, node_id: str) -> None:
        """An activation was granted to that node."""
        self._granted[node_id] = self._granted.get(node_id, 0) + 1

    def ended(self, node_id: str) -> None:
        """An activation that was granted to that node since its last report has ended, or did not start."""
        left = self._granted.get(node_id, 0) - 1
        if left > 0:
            self._granted[node_id] = left
        else:
            self._granted.pop(node_id, None)

    def of(self, node_id: str) -> float:
        """The known load of a node; 0 if it has reported nothing and was granted nothing."""
        return self._reports.get(node_id, 0.0) + self._granted.get(node_id, 0)

    def retain(self, node_ids: Iterable[str]) -> None:
        """Forgets all nodes but these."""
        known = dict.fromkeys(node_ids)
        self._reports = {node_id: load for node_id, load in self._reports.items() if node_id in known}
        self._granted = {node_id: count for node_id, count in self._granted.items() if node_id in known}

    def check(self) -> None:
        """Asserts that only granted activations are counted."""
        assert all(count > 0 for count in self._granted.values()), "a count of nothing is kept"


def choose(
    strategy: str, hosts: Sequence[Member], *, asker: str, owner: str, loads: LoadBook, random: Chance
) -> Member:
    """The host for a new activation.

    Args:
        strategy: one of `STRATEGIES`.
        hosts: as `hosts_of` gives them.
        asker: node id of the caller; it need not host the kind.
        owner: node id of the owner, which decides; it is chosen where the strategy finds no host.
        loads: the known loads.
        random: seeded, for `least_loaded`.

    Raises:
        TopologyUnavailable: there are no hosts.
    """
    if not hosts:
        raise TopologyUnavailable("no member that is up and not blocked hosts the kind")
    if strategy == LEAST_LOADED:
        return _less_loaded(hosts, loads, random)
    by_id = {member.node_id: member for member in hosts}
    local = by_id.get(asker) if strategy == PREFER_LOCAL else None
    return local or by_id.get(owner) or hosts[0]


def _less_loaded(hosts: Sequence[Member], loads: LoadBook, random: Chance) -> Member:
    first = random.randrange(len(hosts))
    if len(hosts) == 1:
        return hosts[first]
    second = random.randrange(len(hosts) - 1)
    if second >= first:
        second += 1
    one, other = hosts[first], hosts[second]
    return other if loads.of(other.node_id) / other.weight < loads.of(one.node_id) / one.weight else one
