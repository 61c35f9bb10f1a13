"""Decides whether a node founds a cluster, joins one, or waits, where the provider keeps a record of the cluster.

The record says that a cluster exists, with its id and a generation. It is changed by compare-and-set only, so of many
nodes that start together one founds. A node registers first and decides then: whoever wins has its registration there.

A new generation is founded only when no process of the last one can be alive: every registration has expired, refuses
connections, or is answered by a newer boot. A registration that does not answer counts as alive until it expires: the
process may be paused, or the network between may be cut. Who loses the compare-and-set reads again, and joins.

Why not the first of the seeds as without a record: the rule depends on equal lists on all nodes, and lists that come
from a back end differ for moments.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from inaho.core.provisioning.snapshot import ProviderMember

__all__ = ["ClusterRecord", "Contact", "Found", "Join", "Wait", "decide"]


class ClusterRecord(msgspec.Struct, frozen=True):
    """The durable record of a cluster.

    Attributes:
        cluster_id: 16 hexadecimal digits, drawn by the first founder.
        generation: 1 for the first founder; one more for each that founds the cluster anew.
        authority, node_id: of the founder of this generation.
    """

    cluster_id: str
    generation: int
    authority: str
    node_id: str


class Contact(enum.StrEnum):
    """What a dial of a registered authority has shown."""

    MEMBER = "member"
    """A member of the cluster answers, whichever process is registered there."""
    STARTING = "starting"
    """A process answers that is no member."""
    REFUSES = "refuses"
    """The host refuses the connection: no process listens."""
    SILENT = "silent"
    """Nothing has come back in time, or it was not dialled yet."""


class Join(msgspec.Struct, frozen=True):
    """Ask these for admission, the founder first."""

    authorities: tuple[str, ...]


class Wait(msgspec.Struct, frozen=True):
    """Read again later."""

    reason: str


class Found(msgspec.Struct, frozen=True):
    """Write this record in place of the one that was read; found the cluster if that succeeds."""

    record: ClusterRecord


def decide(
    me: ProviderMember,
    cluster_id: str,
    record: ClusterRecord | None,
    registered: tuple[ProviderMember, ...],
    contacts: Mapping[str, Contact],
) -> Found | Join | Wait:
    """What this node does.

    Args:
        me: this node, which has registered.
        cluster_id: for the first record, drawn at random.
        record: as read; None if there is none.
        registered: the registrations, read after the record.
        contacts: what dials of them have shown, by authority; one that is missing counts as silent.
    """
    others = [member for member in registered if member.node_id != me.node_id]
    if record is None:
        return Found(ClusterRecord(cluster_id, 1, me.authority, me.node_id))
    if record.node_id == me.node_id:  # this node won, and learns only now that it did
        return Found(record)
    found = {member.authority: contacts.get(member.authority, Contact.SILENT) for member in others}
    members = tuple(authority for authority, contact in found.items() if contact is Contact.MEMBER)
    if members:
        return Join(members)
    founder = next((member.authority for member in others if member.node_id == record.node_id), "")
    if founder and found[founder] is Contact.STARTING:
        return Join((founder,))  # it has won, and is a member in a moment
    silent = [authority for authority, contact in found.items() if contact is Contact.SILENT]
    if silent:
        return Wait(f"registered and silent: {', '.join(silent)}")
    return Found(ClusterRecord(record.cluster_id, record.generation + 1, me.authority, me.node_id))
