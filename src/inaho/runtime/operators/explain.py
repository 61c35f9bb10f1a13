"""Explains why an identity is where it is: merges the reports of all members into one answer and one sentence.

No node knows all of it. The owner knows its lease and from which member the partition came, the host knows which turns
run, and each member knows what happened there. So all are asked, and the report with the newest topology names the
owner. Times come from the clocks of the members. Epochs order the activations of one identity, even if the clocks
differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from inaho.runtime.local.history import HistoryEntry, PartitionMove
from inaho.runtime.operators.reports import ActivationReport, IdentityReport
from inaho.types import ClusterIdentity, Epoch, Pid, Struct

__all__ = ["Explanation", "Silent", "explain"]

_ENDS: Final = ("ended", "timed_out", "revoked")


class Silent(Struct, frozen=True):
    """A member that did not answer.

    Attributes:
        authority: of the member.
        code, reason: of the error.
    """

    authority: str
    code: str
    reason: str


class Explanation(Struct, frozen=True):
    """Where an identity is and why (`inaho where`).

    Attributes:
        identity: which.
        partition: it belongs to.
        owner, owner_node_id: member that owns the partition; empty when no member can.
        topology_version, topology_hash: of the topology that names the owner: the newest that any member reported.
        holder: where it is active; None when it is not.
        lease: state of its lease, as in `LeaseState`; `none` when no member holds it.
        epoch: of the lease; 0 for none.
        since: Unix seconds at which the lease entered that state; 0 for none.
        idle_s: seconds since the last call.
        running, queue_length: turns that run and that wait.
        state_version: of the state that is loaded; 0 for none.
        also_active: other authorities that have it active, while members disagree.
        awaited_from: authorities that must release the identity before the owner activates it.
        move: how the partition came to its owner; None if it was there from the start, or if the owner did not report
            it.
        history: what happened to the identity on all members that answered, oldest first.
        silent: members that did not answer.
        reason: one or two sentences.
    """

    identity: ClusterIdentity
    partition: int
    owner: str
    owner_node_id: str
    topology_version: int
    topology_hash: int
    holder: Pid | None
    lease: str
    epoch: Epoch
    since: float
    idle_s: float
    running: int
    queue_length: int
    state_version: int
    also_active: tuple[str, ...]
    awaited_from: tuple[str, ...]
    move: PartitionMove | None
    history: tuple[HistoryEntry, ...]
    silent: tuple[Silent, ...]
    reason: str


def explain(
    identity: ClusterIdentity, partition: int, reports: Sequence[IdentityReport], silent: Sequence[Silent]
) -> Explanation:
    """Merges the reports of members.

    Args:
        identity, partition: asked for.
        reports: of the members that answered; may be empty.
        silent: members that did not answer.
    """
    newest = max(reports, key=lambda told: told.topology_version, default=None)
    if newest is not None:
        partition = newest.partition  # a client may be configured otherwise
    owner = None if newest is None else next((r for r in reports if r.node_id == newest.owner_node_id), None)
    active = [report for report in reports if report.activation is not None]
    # If there are several, the one with the highest epoch holds: the others do not know yet that their lease ended.
    active.sort(key=lambda told: 0 if told.activation is None else told.activation.epoch, reverse=True)
    holder = active[0] if active else None
    doing = None if holder is None else holder.activation
    lease = owner if owner is not None and owner.lease else None
    history = sorted((entry for told in reports for entry in told.entries), key=lambda entry: (entry.at, entry.epoch))
    return Explanation(
        identity=identity,
        partition=partition,
        owner="" if newest is None else newest.owner,
        owner_node_id="" if newest is None else newest.owner_node_id,
        topology_version=0 if newest is None else newest.topology_version,
        topology_hash=0 if newest is None else newest.topology_hash,
        holder=None if holder is None else Pid(holder.authority, holder.node_id, identity),
        lease=doing.lease if doing else lease.lease if lease else "none",
        epoch=doing.epoch if doing else lease.epoch if lease else 0,
        since=doing.since if doing else lease.since if lease else 0.0,
        idle_s=doing.idle_s if doing else 0.0,
        running=doing.running if doing else 0,
        queue_length=doing.queue_length if doing else 0,
        state_version=doing.state_version if doing else 0,
        also_active=tuple(told.authority for told in active[1:]),
        awaited_from=() if owner is None else owner.awaited_from,
        move=None if owner is None else owner.move,
        history=tuple(history),
        silent=tuple(silent),
        reason=" ".join(_sentences(identity, partition, newest, owner, holder, history)),
    )


def _sentences(
    identity: ClusterIdentity,
    partition: int,
    newest: IdentityReport | None,
    owner: IdentityReport | None,
    holder: IdentityReport | None,
    history: Sequence[HistoryEntry],
) -> list[str]:
    if newest is None:
        return ["No member answered."]
    if not newest.owner:
        where = f" It is still active on {holder.authority}." if holder else ""
        return [f"No member can own it: {newest.unowned}.{where}"]
    owns = _ownership(partition, newest.owner, owner)
    if holder is None or holder.activation is None:
        return [_why_inactive(newest.owner, owner, history), owns]
    doing = holder.activation
    if holder.authority != newest.owner:
        return [_why_elsewhere(holder.authority, newest.owner, owner, doing), owns]
    said = [_how_it_came(identity, holder.authority, doing, owner, history)]
    if not said[0].startswith("Moved"):
        said.append(owns)
    return said


def _ownership(partition: int, authority: str, owner: IdentityReport | None) -> str:
    """Explains why that member is the owner."""
    if owner is None:
        return f"{authority} owns partition {partition} and did not answer."
    move = owner.move
    if move is None:
        return f"{authority} owns partition {partition}, by rendezvous among the members that host the kind."
    moved = f"which came from {move.from_authority} at {clock(move.at)} because {move.because}"
    return f"{authority} owns partition {partition}, {moved}."


def _why_inactive(authority: str, owner: IdentityReport | None, history: Sequence[HistoryEntry]) -> str:
    next_call = f"The next call activates it on {authority}."
    if owner is not None and owner.awaited_from:
        next_call = f"The next call activates it on {authority}, once {' and '.join(owner.awaited_from)} released it."
    if not history:
        return f"Not active, and no member remembers that it was. {next_call}"
    last = history[-1]
    return f"Not active: {_told(last)}. {next_call}"


def _why_elsewhere(here: str, authority: str, owner: IdentityReport | None, doing: ActivationReport) -> str:
    if owner is not None and owner.lease_holder and owner.lease_holder != owner.node_id:
        return f"Active on {here} since {clock(doing.since)}; its owner {authority} placed it there."
    if doing.lease == "active":
        since = clock(doing.since)
        return f"Active on {here} since {since}, but {authority} owns it and will ask {here} to release it."
    return f"Ending on {here} ({doing.lease}) before it goes to {authority}."


def _how_it_came(
    identity: ClusterIdentity,
    here: str,
    doing: ActivationReport,
    owner: IdentityReport | None,
    history: Sequence[HistoryEntry],
) -> str:
    """Explains the origin of the present activation on the owner: moved, activated again, or the first one."""
    if doing.lease == "pending":
        waits = f", which waits for {' and '.join(owner.awaited_from)}" if owner and owner.awaited_from else ""
        return f"Starting on {here}{waits} since {clock(doing.since)}."
    before = [entry for entry in history if entry.epoch < doing.epoch and entry.what in ("started", *_ENDS)]
    before.sort(key=lambda entry: (entry.epoch, entry.at))
    last = before[-1] if before else None
    since = f"{clock(doing.since)}"
    move = None if owner is None else owner.move
    away = next((entry for entry in reversed(before) if entry.authority != here), None)
    if away is not None and (away is last or (move is not None and move.from_authority == away.authority)):
        why = f" because {move.because} at {clock(move.at)}" if move is not None else f": {_told(away)}"
        return f"Moved from {away.authority} to {here}{why}; active there since {since}."
    if last is not None:
        return f"Active on {here} since {since}, again: {_told(last)}."
    return f"Active on {here} since {since}, when it was first called there."


def _told(entry: HistoryEntry) -> str:
    """One history entry in words."""
    what = entry.what.replace("_", " ")
    reason = f" ({entry.reason})" if entry.reason else ""
    return f"it {what}{reason} on {entry.authority} at {clock(entry.at)}"


def clock(at: float) -> str:
    """The local time of day, to the millisecond."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]
