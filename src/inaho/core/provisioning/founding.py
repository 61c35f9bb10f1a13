"""Decides whether a node founds a cluster, joins one, or waits, where the provider keeps a record of the cluster.

The record says that a cluster exists, with its id and a generation. It is changed by compare-and-set only, so of many
nodes that start together one founds. A node registers first and decides then: whoever wins has its registration there.

A new generation is founded only when no process of the last one can be alive: every registration has expired, refuses
connections, or is answered by a newer boot. A registration that does not answer counts as alive until it expires: the
process may be paused, or the network between may be cut. Who loses the compare-and-set reads again, and joins.

A member that answers is joined whatever the record says. Without a record all these rules hold too, since it may have
been lost. Registrations run out while the back end is away, and the cluster lives on. So the record also names members,
which keep it up to date; they and the founder are dialled although they are registered no more.

One round of dials does not prove that nobody is left. A member may admit a node after that node was dialled, and die
before it is dialled itself. Two rounds with the same result do: whoever was admitted during the first round is seen by
the second one, as a member or as a new registration.

Why not the first of the seeds as without a record: the rule depends on equal lists on all nodes, and lists that come
from a back end differ for moments.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from inaho.core.provisioning.snapshot import ProviderMember

__all__ = ["MEMBERS_MAX", "ClusterRecord", "Contact", "Found", "FoundingRule", "Join", "Step", "Wait"]


MEMBERS_MAX: Final = 16
"""So many members are in a record. One that lives is enough to find the cluster."""


class ClusterRecord(msgspec.Struct, frozen=True):
    """The durable record of a cluster.

    Attributes:
        cluster_id: 16 hexadecimal digits, drawn by the first founder.
        generation: 1 for the first founder; one more for each that founds the cluster anew.
        authority, node_id: of the founder of this generation, or of a member that has taken its place here since.
        members: authorities of members that were up when one of them wrote last, sorted; at most `MEMBERS_MAX`.
    """

    cluster_id: str
    generation: int
    authority: str
    node_id: str
    members: tuple[str, ...] = ()

    def is_of(self, other: ClusterRecord) -> bool:
        """Whether both are of the same generation of one cluster."""
        return (self.cluster_id, self.generation) == (other.cluster_id, other.generation)

    def names_any(self, up: tuple[str, ...]) -> bool:
        """Whether it names one of these authorities."""
        return self.authority in up or any(member in up for member in self.members)

    def kept_by(self, authority: str, node_id: str, up: tuple[str, ...]) -> ClusterRecord:
        """This record as a member of that cluster writes it, so that the cluster is found by it.

        Args:
            authority, node_id: of that member.
            up: the authorities of the members that are up, sorted, its own among them.
        """
        kept = msgspec.structs.replace(self, members=up[:MEMBERS_MAX])
        return kept if self.authority in up else msgspec.structs.replace(kept, authority=authority, node_id=node_id)


class Contact(enum.StrEnum):
    """What a dial of a registered authority has shown."""

    MEMBER = "member"
    """A member of the cluster answers, whichever process is registered there."""
    STARTING = "starting"
    """A process answers that is no member."""
    REFUSES = "refuses"
    """The host refuses the connection: no process listens."""
    SILENT = "silent"
    """Nothing has come back in time."""


class Join(msgspec.Struct, frozen=True):
    """Ask these for admission, the founder first."""

    authorities: tuple[str, ...]


class Wait(msgspec.Struct, frozen=True):
    """Read again later, or at once if `soon`."""

    reason: str
    soon: bool = False


class Found(msgspec.Struct, frozen=True):
    """Write this record in place of the one that was read; found the cluster if that succeeds."""

    record: ClusterRecord


Step = Found | Join | Wait


class FoundingRule:
    """The rounds of one node that looks for its cluster.

    A round: read the record, read the registrations, dial each of them and the founder, `decide`. Rounds follow each
    other, none begins before the one before has ended. After `Found` and a write that succeeded, the node founds at
    once, or begins a new round if its registration may have expired since it was renewed. After a write that failed, or
    whose result is not known, it begins a new round.

    Args:
        me: this node, which has registered.
        cluster_id: for the first record, drawn at random.
    """

    def __init__(self, me: ProviderMember, cluster_id: str) -> None:
        self._me = me
        self._cluster_id = cluster_id
        self._offered: ClusterRecord | None = None
        """The record that this object has said to write last."""
        self._seen: tuple[ClusterRecord | None, dict[str, Contact]] | None = None
        """What the round before has shown, by node id, if no member was alive in it."""

    def decide(
        self,
        record: ClusterRecord | None,
        registered: tuple[ProviderMember, ...],
        contacts: Mapping[str, Contact],
    ) -> Step:
        """What this node does after a round.

        Args:
            record: as read; None if there is none.
            registered: the registrations, read after the record.
            contacts: what dials have shown that began after that read, by authority. Without a member among them, one
                that is missing is waited for.
        """
        seen, self._seen = self._seen, None
        others = [member for member in registered if member.node_id != self._me.node_id]
        if len(others) == len(registered):
            return Wait("this node is not registered, so others cannot see that it founds")
        named = () if record is None else self.named(record)
        asked = tuple(dict.fromkeys((*named, *(one.authority for one in others))))
        members = tuple(authority for authority in asked if contacts.get(authority) is Contact.MEMBER)
        if members:
            return Join(members)
        waits = [authority for authority in asked if authority not in contacts]
        if waits:
            return Wait(f"not dialled yet: {', '.join(waits)}")
        if record is not None and record == self._offered:  # this node won, and learns only now that it did
            return self._found(record)
        winner = next((one.authority for one in others if record and one.node_id == record.node_id), "")
        if winner and contacts[winner] is Contact.STARTING:
            return Join((winner,))  # it is a member in a moment
        silent = [one.authority for one in others if contacts[one.authority] is Contact.SILENT]
        if silent:
            return Wait(f"registered and silent: {', '.join(silent)}")
        self._seen = record, {one.node_id: contacts[one.authority] for one in others}
        if self._seen != seen:
            return Wait("no member answers; a second round must show the same", soon=True)
        cluster_id, generation = (self._cluster_id, 1) if record is None else (record.cluster_id, record.generation + 1)
        return self._found(ClusterRecord(cluster_id, generation, self._me.authority, self._me.node_id))

    def named(self, record: ClusterRecord) -> tuple[str, ...]:
        """The authorities to dial because the record names them: the founder first."""
        return tuple(one for one in dict.fromkeys((record.authority, *record.members)) if one != self._me.authority)

    def forget(self) -> None:
        """This node was a member and is none any more: a record that it wrote before is no permission to found."""
        self._offered = self._seen = None

    def _found(self, record: ClusterRecord) -> Found:
        self._offered = record
        return Found(record)
