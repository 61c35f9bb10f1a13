"""Reports the activations of one node to an operator, read from its own tables on request.

Every answer is bounded, so that it fits into a frame whatever the node has: histories by `ENTRIES_MAX`, lists by the
caller's limit and `LISTED_MAX`, texts by `TEXT_MAX`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.errors import InahoError
from inaho.runtime.grains.activation_turns import count_turns
from inaho.runtime.local.history import HistoryEntry, PartitionMove
from inaho.types import Epoch, Struct

if TYPE_CHECKING:
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.node.node import Node

__all__ = [
    "LISTED_MAX",
    "ActivationReport",
    "IdentityReport",
    "KindReport",
    "report_activation",
    "report_identity",
    "report_kinds",
]

ENTRIES_MAX: Final = 64
"""Number of newest entries of an identity's history that one node reports."""

LISTED_MAX: Final = 400
"""Most activations that one answer lists; with the longest keys they take half a frame."""

TEXT_MAX: Final = 500
"""Characters of a reason that are sent."""


class ActivationReport(Struct, frozen=True):
    """One activation as its node sees it.

    Attributes:
        key: within its kind.
        lease: state of its lease, as in `LeaseState`.
        epoch: its fencing token.
        since: Unix seconds; when the lease entered that state.
        idle_s: seconds since its last call; 0 while a turn runs.
        running: turns that run.
        queue_length: turns that wait.
        state_version: of the state that it loaded or saved last; 0 for none.
    """

    key: str
    lease: str
    epoch: Epoch
    since: float
    idle_s: float
    running: int
    queue_length: int
    state_version: int


class KindReport(Struct, frozen=True):
    """The activations of one kind on one node.

    Attributes:
        kind: its name.
        authority: of the node.
        count: all of them.
        activations: some, in the order in which they were made.
    """

    kind: str
    authority: str
    count: int
    activations: tuple[ActivationReport, ...]


class IdentityReport(Struct, frozen=True):
    """What one member knows of one identity.

    Attributes:
        authority, node_id: of the member that reports this.
        topology_version, topology_hash: of the topology that names the owner.
        partition: of the identity.
        owner, owner_node_id: its owner by that topology; empty when no member can own it.
        unowned: the reason why no member can own it.
        activation: the one on this member, if there is one.
        lease_holder: node id that holds the identity by this member's ledger; empty for none.
        lease, epoch, since: that lease, as in `ActivationReport`.
        awaited_from: authorities that must release the identity before this member activates it.
        move: how the partition came to this member, if it is the owner and it came from another one.
        entries: what happened to the identity here, oldest first.
    """

    authority: str
    node_id: str
    topology_version: int
    topology_hash: int
    partition: int
    owner: str = ""
    owner_node_id: str = ""
    unowned: str = ""
    activation: ActivationReport | None = None
    lease_holder: str = ""
    lease: str = ""
    epoch: Epoch = 0
    since: float = 0.0
    awaited_from: tuple[str, ...] = ()
    move: PartitionMove | None = None
    entries: tuple[HistoryEntry, ...] = ()


def report_activation(node: Node, grain: Activation) -> ActivationReport:
    """The present state of that activation."""
    record, lease = grain._inaho_record, grain._inaho_lease
    running, waiting = count_turns(grain)
    return ActivationReport(
        key=grain._inaho_key,
        lease=lease.state.value,
        epoch=lease.epoch,
        since=lease.since + _offset_s(node),
        idle_s=0.0 if running else max(0.0, node.local.loop.time() - grain._inaho_touched),
        running=running,
        queue_length=waiting,
        state_version=0 if record is None else record.version,
    )


def report_kinds(node: Node, kind: str, limit: int) -> list[KindReport]:
    """The activations of one kind, or of all that this node hosts, sorted by kind.

    Args:
        node: that reports.
        kind: name; empty for all.
        limit: activations that are listed of each kind; all of them are counted. Together at most `LISTED_MAX`.
    """
    reports: list[KindReport] = []
    left = LISTED_MAX
    for name, host in sorted(node.hosts.items()):
        if not host.listed or (kind and name != kind):
            continue
        shown = islice(host.activations.values(), max(0, min(limit, left)))
        listed = tuple(report_activation(node, grain) for grain in shown)
        left -= len(listed)
        reports.append(KindReport(name, node.local.authority, len(host.activations), listed))
    return reports


def report_identity(node: Node, kind: str, key: str) -> IdentityReport:
    """Everything that this node knows of an identity."""
    topology = node.topology.snapshot
    partition = node.topology.lookup.partition(kind, key)
    known: dict[str, Any] = {}
    try:
        owner = node.topology.lookup.owner(kind, key)
    except InahoError as error:
        known["unowned"] = error.reason[:TEXT_MAX]
    else:
        known |= {"owner": owner.authority, "owner_node_id": owner.node_id}
        if owner.node_id == node.local.node_id:
            known["awaited_from"] = tuple(previous.authority for previous in node.bridge.previous.of(kind, partition))
            known["move"] = node.ownership.of(kind, partition)
    host = node.hosts.get(kind)
    grain = None if host is None else host.activations.get(key)
    if grain is not None:
        known["activation"] = report_activation(node, grain)
    lease = node.leases.ledger.get(kind, key)
    if lease is not None:
        since = lease.since + _offset_s(node)
        known |= {"lease_holder": lease.holder, "lease": lease.state.value, "epoch": lease.epoch, "since": since}
    entries = node.history.of(kind, key, offset_s=_offset_s(node), authority=node.local.authority)
    known["entries"] = tuple(
        msgspec.structs.replace(entry, reason=entry.reason[:TEXT_MAX]) for entry in entries[-ENTRIES_MAX:]
    )
    return IdentityReport(
        authority=node.local.authority,
        node_id=node.local.node_id,
        topology_version=0 if topology is None else topology.version,
        topology_hash=node.topology.lookup.hash or 0,
        partition=partition,
        **known,
    )


def _offset_s(node: Node) -> float:
    """Unix time less monotonic time of a node."""
    return node.local.unix_time() - node.local.loop.time()
