"""Finds the member that owns an identity, and keeps the partition tables of each topology.

Kinds that are hosted by the same members have the same owners, so there is one partition table per set of members, not
per kind. A topology whose hash has not changed has the same owners, so nothing is done at all (SPEC BS-2.2). A table is
made when a kind is first looked up, and derived from the table of the topology before, so that a change costs only what
it moves. The previous topology is kept: a new owner must know whom to ask for the hand-off (`OwnershipChange`).

Why owners are not computed for all kinds when the topology changes: a node calls few of the kinds that a large cluster
hosts, and the loop that would do it is the loop that answers probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf

from xxhash import xxh3_64_intdigest

from inaho.config import ActivationConfig
from inaho.core.identity.partitions import PartitionTable
from inaho.errors import NoSuchKind, ShuttingDown, TopologyUnavailable
from inaho.types import Member, MemberStatus, Pid, TopologySnapshot

__all__ = ["IdentityLookup", "OwnershipChange"]

_NAMED_MAX = 20
"""Bound of the kinds or members that an error names, so that it stays readable."""


class _Placement:
    """The tables of one topology: per kind, shared by kinds with the same hosts, made on demand.

    `ancestors` are tables of earlier topologies from which to derive new ones. So a kind without calls between two
    changes does not lose its computed owners.
    """

    def __init__(self, snapshot: TopologySnapshot | None, before: _Placement | None, config: ActivationConfig) -> None:
        self.partitions = config.partitions
        self.tables_max = config.placement_tables_max
        self.hosts = {} if snapshot is None else _hosts(snapshot)
        self.tables: dict[str, PartitionTable] = {}
        self.shared: dict[tuple[str, ...], PartitionTable] = {}
        self.ancestors: dict[str, PartitionTable] = {}
        if before is not None:
            known = {**before.tables, **before.ancestors, **before.tables}  # newer tables first, and they win
            hosted = [kind for kind in known if kind in self.hosts]
            self.ancestors = {kind: known[kind] for kind in hosted[: self.tables_max]}

    def table(self, kind: str) -> PartitionTable | None:
        """The table of `kind`, made if needed; None when no member hosts the kind."""
        table = self.tables.get(kind)
        if table is not None:
            return table
        members = self.hosts.get(kind)
        if members is None:
            return None
        key = tuple([member.authority for member in members])
        table = self.shared.get(key)
        if table is None:
            if len(self.shared) >= self.tables_max:
                self._drop_oldest()
            table = PartitionTable(members, self.partitions, self.ancestors.get(kind))
            self.shared[key] = table
        self.tables[kind] = table
        return table

    def open_next(self) -> bool:
        """Makes the next table that an ancestor predicts; False when there is none to make."""
        if len(self.shared) >= self.tables_max:
            return False
        for kind in self.ancestors:
            if kind not in self.tables:
                self.table(kind)
                return True
        return False

    def _drop_oldest(self) -> None:
        oldest = self.shared.pop(next(iter(self.shared)))
        for kind in [kind for kind, table in self.tables.items() if table is oldest]:
            del self.tables[kind]


def _hosts(snapshot: TopologySnapshot) -> dict[str, list[Member]]:
    """Per kind the members that may own its identities, sorted by authority and one per authority."""
    blocked = frozenset(snapshot.blocked)
    hosts: dict[str, list[Member]] = {}
    for member in sorted(snapshot.members, key=_seniority):
        if member.status is not MemberStatus.UP or member.authority in blocked or not 0 < member.weight < inf:
            continue
        for kind in member.kinds:
            listed = hosts.setdefault(kind, [])
            if listed and listed[-1].authority == member.authority:
                listed[-1] = member  # two processes of one authority while views differ: the later incarnation counts
            else:
                listed.append(member)
    return hosts


def _seniority(member: Member) -> tuple[str, int, str]:
    return member.authority, member.incarnation, member.node_id


class OwnershipChange:
    """One change of topology, as far as owners are concerned: who owned a partition before, and who owns it now.

    It answers for single partitions, on demand. Which partitions of one node are concerned `OwnPartitions` finds out.
    """

    def __init__(self, before: _Placement, now: _Placement, node_id: str) -> None:
        self._before = before
        self._now = now
        self._node_id = node_id
        self._without: dict[tuple[str, ...], PartitionTable | None] = {}

    def hosts(self, kind: str) -> Sequence[Member]:
        """The members that may own partitions of the kind now, sorted by authority."""
        return self._now.hosts.get(kind, ())

    def hosted_before(self, kind: str) -> bool:
        """Whether anybody could own partitions of the kind before."""
        return kind in self._before.hosts

    def owners(self, kind: str, partition: int) -> tuple[Member, Member] | None:
        """Who owned the partition before and who owns it now; None where there was or is nobody.

        Without a topology before, or without a host in it, who owned a partition is who would without this node: it has
        just joined.
        """
        now = self._now.table(kind)
        if now is None:
            return None
        before = self._before.table(kind) or self._without_me(now)
        return None if before is None else (before.owner(partition), now.owner(partition))

    def _without_me(self, now: PartitionTable) -> PartitionTable | None:
        others = [member for member in now.members if member.node_id != self._node_id]
        key = tuple([member.authority for member in others])
        if key not in self._without:
            self._without[key] = PartitionTable(others, now.partitions) if others else None
        return self._without[key]


class IdentityLookup:
    """Owners of identities under the newest topology (SPEC VA-1.1, BS-2, CL-5.1).

    Args:
        config: `partitions` and `placement_tables_max` are used.
        known_as: what is known of a kind that no member hosts, for the reason of a refusal; None if it is unknown, so
            that waiting would not help.

    Attributes:
        snapshot: the newest topology, or None before the first.
        recomputed: topologies that changed owners, a plain counter.
    """

    def __init__(self, config: ActivationConfig, known_as: Callable[[str], str | None] | None = None) -> None:
        self._config = config
        self._known_as = known_as
        self._mask = config.partitions - 1
        self._current = _Placement(None, None, config)
        self._previous = self._current
        self._tables = self._current.tables  # the same dict, one attribute nearer
        self.snapshot: TopologySnapshot | None = None
        self.recomputed = 0
        self._closed_at: str | None = None

    @property
    def hash(self) -> int | None:
        """Hash of the newest topology; None before the first."""
        return None if self.snapshot is None else self.snapshot.hash

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds that at least one member may host now, sorted."""
        return tuple(sorted(self._current.hosts))

    def update_topology(self, snapshot: TopologySnapshot) -> bool:
        """Takes a new topology. Costs one pass over the members and what they host.

        Args:
            snapshot: an older version than the present one is ignored (SPEC CL-2.5).

        Returns:
            Whether owners may have changed. False when the hash is the same: owners, tables and what `change` tells
            stay as they are.
        """
        present = self.snapshot
        if self._closed_at is not None or (present is not None and snapshot.version < present.version):
            return False
        self.snapshot = snapshot
        if present is not None and snapshot.hash == present.hash:
            return False
        self._previous = self._current
        self._current = _Placement(snapshot, self._previous, self._config)
        self._tables = self._current.tables
        self.recomputed += 1
        return True

    def close(self, authority: str) -> None:
        """The node at `authority` stops: nothing has an owner any more, and no topology changes that (SPEC BS-3)."""
        self._closed_at = authority
        self._current = self._previous = _Placement(None, None, self._config)
        self._tables = self._current.tables

    def owner(self, kind: str, key: str) -> Member:
        """The member that owns an identity: a dictionary look-up, a hash and a list index, whatever the cluster's size.

        Args:
            kind: of the grain.
            key: of the grain; both were validated before.

        Raises:
            NoSuchKind: no member hosts the kind, and it is unknown (`known_as`); the reason names the hosted kinds.
            TopologyUnavailable: there is no topology, it has no member that is up (SPEC PR-2.4), those that host the
                kind are leaving, unreachable or blocked, or a kind that is known has no host now; it may pass.
            ShuttingDown: the node has stopped (`close`).
        """
        table = self._tables.get(kind)
        if table is None:
            table = self._open(kind, key)
        partition = xxh3_64_intdigest(f"{kind}/{key}".encode()) & self._mask
        return table.slots[partition] or table.resolve(partition)

    def hosts(self, kind: str) -> tuple[Member, ...] | list[Member]:
        """The members that may take activations of the kind, sorted by authority; none where `owner` would raise."""
        return self._current.hosts.get(kind, ())

    def partition(self, kind: str, key: str) -> int:
        """The partition of an identity, 0 to `config.partitions - 1`; equal on all nodes."""
        return xxh3_64_intdigest(f"{kind}/{key}".encode()) & self._mask

    def owner_of(self, kind: str, partition: int) -> Member | None:
        """The member that owns a partition of a kind now; None when no member may."""
        table = self._current.table(kind)
        return None if table is None else table.owner(partition)

    def owns(self, pid: Pid) -> bool:
        """Whether the node of `pid`, in that very process, owns the identity now. False when no member may.

        It is what `PidCache.retain` asks after a change of topology.
        """
        table = self._current.table(pid.identity.kind)
        if table is None:
            return False
        owner = table.owner(self.partition(pid.identity.kind, pid.identity.key))
        return owner.authority == pid.authority and owner.node_id == pid.node_id

    def open_next(self) -> bool:
        """Makes the table of a kind that was called under an earlier topology, ahead of the next call of it.

        A millisecond at 1,000 members.

        Returns:
            False when there is none to make.
        """
        return self._current.open_next()

    def change(self, node_id: str) -> OwnershipChange:
        """The last change of topology that may have changed owners, as the node of that id sees it."""
        return OwnershipChange(self._previous, self._current, node_id)

    @property
    def scored(self) -> int:
        """Scores computed for the tables in use, a plain counter: what questions have cost."""
        return sum([table.scored for table in self._current.shared.values()])

    def check(self) -> None:
        """Asserts that tables belong to the topology and that the bound holds."""
        assert self._tables is self._current.tables, "the short cut points elsewhere"
        for placement in (self._current, self._previous):
            assert len(placement.shared) <= self._config.placement_tables_max, "too many tables"
            for kind, table in placement.tables.items():
                hosts = sorted(member.authority for member in placement.hosts[kind])
                assert [member.authority for member in table.members] == hosts, f"hosts of {kind}"
        for table in self._in_use():
            table.check()

    def _in_use(self) -> Iterable[PartitionTable]:
        if self._previous is self._current:
            return tuple(self._current.shared.values())
        return (*self._current.shared.values(), *self._previous.shared.values())

    def _open(self, kind: str, key: str) -> PartitionTable:
        table = self._current.table(kind)
        if table is None:
            raise self._refusal(kind, key)
        return table

    def _refusal(self, kind: str, key: str) -> NoSuchKind | ShuttingDown | TopologyUnavailable:
        identity = f"{kind}/{key}"
        if self._closed_at is not None:
            reason = "this node has stopped, and looks up no owners"
            return ShuttingDown(reason, identity=identity, authority=self._closed_at)
        snapshot = self.snapshot
        if snapshot is None:
            return TopologyUnavailable("no topology has arrived yet", identity=identity)
        if not any(member.status is MemberStatus.UP for member in snapshot.members):
            return TopologyUnavailable(f"no member is up at topology version {snapshot.version}", identity=identity)
        out = [
            f"{member.authority} ({'blocked' if member.authority in snapshot.blocked else member.status.name.lower()})"
            for member in snapshot.members
            if kind in member.kinds
        ]
        if out:
            return TopologyUnavailable(f"its only hosts take no identities now: {_named(out)}", identity=identity)
        hosted = _named(self.kinds) or "none"
        known = None if self._known_as is None else self._known_as(kind)
        if known is not None:
            return TopologyUnavailable(f"no member hosts it now ({known}); hosted are: {hosted}", identity=identity)
        return NoSuchKind(f"no member hosts it; hosted are: {hosted}", identity=identity)


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED_MAX} more" if len(listed) > _NAMED_MAX else ""
    return ", ".join(listed[:_NAMED_MAX]) + more
