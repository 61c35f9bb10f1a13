"""Decides which reports that a member left or died are accepted; a report from one source waits for a second.

A report counts from two sources: two members that sent it over their own connections, or one member and this node, if
this node has observed the same. A report from one source is held back and investigated: the accused member is probed
and told of the report, so that it refutes. If this node fails to reach it too, this node is the second source. A report
without a second source is refused when its time is up, and the members that keep it are sent this node's view.

`core.membership.claims` says why two sources are enough.
"""

from __future__ import annotations

from typing import Final, Protocol

from inaho.config import ClusterConfig
from inaho.core.detection.detector import Detector
from inaho.core.effects import Outbox
from inaho.core.membership.claims import Claims, ends_life, new_life
from inaho.core.membership.member import is_live
from inaho.core.membership.removal import RemovalClock
from inaho.core.membership.table import Credible, MembershipTable
from inaho.core.messages import SOURCES_MAX, Accusation, Entry
from inaho.events import StatementRefused
from inaho.types import Member, MemberStatus

__all__ = ["Corroboration"]

SOURCES_NEEDED: Final = 2
ACCUSING: Final = ("dead", "wedged", "busy", "silent")


class Observations(Protocol):
    """What this node has observed itself, and the parts that act on it: the part of `ClusterView` that is needed here.

    Attributes:
        contested: whether a node reports that this node is not a member, and this node waits for a second source.
    """

    contested: bool

    @property
    def table(self) -> MembershipTable: ...

    @property
    def detector(self) -> Detector: ...

    @property
    def removal(self) -> RemovalClock: ...

    @property
    def outbox(self) -> Outbox: ...


class Corroboration:
    """Decides which statements of other members this node accepts.

    Args:
        config: bounds and periods.
        node_id: this node.
        view: what this node has observed itself.
    """

    def __init__(self, config: ClusterConfig, node_id: str, view: Observations) -> None:
        membership = config.membership
        self._node_id = node_id
        self._probe_timeout_s = config.detection.probe_timeout_s
        self._view = view
        look_s = min(config.gossip.convergence_s, membership.remove_unreachable_after_s / 4)
        self._concurs_after_s = max(0.0, membership.remove_unreachable_after_s - config.gossip.convergence_s)
        self._claims = Claims(membership.members_max, membership.remove_unreachable_after_s, look_s)
        # A joiner that was told wrong statements learns so from two members after `look_s`, and joins again, before it
        # counts.
        self._young_s = membership.remove_unreachable_after_s - look_s
        # When each node that joined since was first seen; and the sources for each unreachable member.
        self._joined_at: dict[str, float] = {}
        self._sources: dict[str, tuple[str, ...]] = {}
        # Authorities about which the last message had a new claim that is to be investigated.
        self._new_claims: dict[str, None] = {}

    def is_source(self, sender: str) -> bool:
        """Whether reports of that node count as a source: it is a member that this node has not found unreachable."""
        member = self._view.table.find(sender)
        return member is not None and member.status < MemberStatus.UNREACHABLE

    def judge(self, now: float, sender: str) -> Credible:
        """Returns the test by which statements that the node `sender` sent are accepted or held back."""

        def credible(before: Member | None, entry: Entry) -> bool:
            after = entry.member
            if before is None or not ends_life(before, after):
                return True
            return self._credible(now, sender, before, entry)

        return credible

    def _credible(self, now: float, sender: str, before: Member, entry: Entry) -> bool:
        after = entry.member
        if sender == before.node_id == after.node_id and (entry.origin == sender or after.status <= MemberStatus.UP):
            return True  # its subject says so itself
        # Claims about this node are recorded from non-members too: another part of the cluster may find it unreachable.
        known = before.node_id == self._node_id or self._view.table.find(sender) is not None
        if sender != before.node_id and known:
            if self._claims.record(now, sender, after):
                self._new_claims[after.authority] = None
        if new_life(before, after) and before.status is MemberStatus.UNREACHABLE:
            return True  # two sources have not reached the former one
        sources = self._find_sources(now, before, after)
        if len(sources) < SOURCES_NEEDED:
            return False
        if after.status is MemberStatus.UNREACHABLE:
            self._sources[after.authority] = sources[:SOURCES_MAX]
        return True

    def _find_sources(self, now: float, before: Member, after: Member) -> tuple[str, ...]:
        """The sources of this record: members that sent it, accusers, and this node if it has observed the same."""
        sources = dict.fromkeys(
            source
            for source in self._claims.senders(after)
            if self.is_source(source) and now >= self._joined_at.get(source, now - self._young_s) + self._young_s
        )
        suspicion = self._view.detector.suspicions.get(before.authority)
        if after.status is MemberStatus.UNREACHABLE and suspicion is not None:
            if suspicion.node_id == after.node_id and suspicion.incarnation >= before.incarnation:
                sources.update(dict.fromkeys(suspicion.sources))
        if self._has_observed(now, before, after):
            sources[self._node_id] = None
        return tuple(sources)

    def _has_observed(self, now: float, before: Member, after: Member) -> bool:
        """Whether this node has observed itself what others report."""
        view = self._view
        if before.node_id == self._node_id or after.status is MemberStatus.LEAVING:
            return False
        if view.detector.evidence.proves_death(before.authority, before.node_id):
            return True
        if (after.status is MemberStatus.REMOVED or new_life(before, after)) and view.detector.silent_too_long(before):
            return True  # others know its end already, so they confirm no suspicion
        if after.status is MemberStatus.UNREACHABLE:
            return False  # this node's own accusation is among the sources of the suspicion
        since = view.removal.since(before.authority)
        return since is not None and now >= since + self._concurs_after_s

    def investigate(self, now: float, sender: str, entry: Entry) -> None:
        """Investigates a statement that was held back: probes its subject, or has it refute."""
        view, after = self._view, entry.member
        before = view.table.get(after.authority)
        if after.authority not in self._new_claims:
            return
        del self._new_claims[after.authority]
        if before is None or not is_live(before):
            return
        if entry.origin == after.node_id == before.node_id and before.node_id != self._node_id:
            return  # a leave, which no probe shows: its subject says so itself, or a second source does
        if before.node_id == self._node_id:
            view.contested = True
        elif before.node_id == after.node_id and after.status >= MemberStatus.UNREACHABLE and self.is_source(sender):
            reason = entry.reason if entry.reason in ACCUSING else "silent"
            accusation = Accusation(after.authority, after.node_id, after.incarnation, sender, reason)
            view.detector.on_accusation(now, accusation, heard=True)
        elif not view.detector.prober.probing(after.authority):
            view.detector.prober.urge(after.authority)

    def sources(self, authority: str) -> tuple[str, ...]:
        """The sources by which that member is unreachable here, this node included; empty if the record was adopted."""
        return self._sources.get(authority, ())

    def record_changed(self, before: Member | None, after: Member) -> None:
        """Another record holds of that authority now."""
        self._claims.record_changed(after)
        if after.status is not MemberStatus.UNREACHABLE:
            self._sources.pop(after.authority, None)
        if before is None:
            return
        if new_life(before, after) or not is_live(after):
            self._claims.withdraw(before.node_id)
        if before.node_id != after.node_id or not is_live(after):
            self._joined_at.pop(before.node_id, None)

    def member_joined(self, now: float, member: Member) -> None:
        """Records that the node joined just now: it knows the others only from the one member that admitted it."""
        self._joined_at[member.node_id] = now

    def clear(self) -> None:
        """Forgets all."""
        self._claims.clear()
        self._joined_at.clear()
        self._sources.clear()

    def review(self, now: float) -> tuple[list[str], list[str]]:
        """Checks the claims that are held back.

        Returns:
            Authorities of members whose claim can be accepted now and that are to send it again; and of members that
            keep a record that is known to be wrong, because its subject has answered meanwhile.
        """
        if not self._claims:
            return [], []
        credible: dict[str, None] = {}
        stubborn: dict[str, None] = {}
        for sender, claim in self._claims.due(now):
            told, speaker = claim.member, self._view.table.find(sender)
            before = self._view.table.get(told.authority)
            if before is None or speaker is None or not ends_life(before, told):
                continue
            if len(self._find_sources(now, before, told)) >= SOURCES_NEEDED:
                credible[speaker.authority] = None
            elif not claim.answered and self._final(before, told):
                if self._has_answered(before, told, claim.since):
                    claim.answered = True
                    stubborn[speaker.authority] = None
                elif not self._view.detector.prober.probing(before.authority):
                    self._view.detector.prober.urge(before.authority)
        return list(credible), list(stubborn)

    def _final(self, before: Member, told: Member) -> bool:
        """Whether two nodes that hold these two records cannot agree by gossip alone."""
        final = told.status is MemberStatus.REMOVED or new_life(before, told)
        well = before.status < MemberStatus.LEAVING and before.authority not in self._view.detector.suspicions
        return final and well

    def _has_answered(self, member: Member, told: Member, since: float) -> bool:
        """Whether the member that holds has answered since then, with a message that was not already on its way."""
        if member.node_id == self._node_id:
            return True
        if member.node_id == told.node_id and new_life(member, told):
            return False  # the same process may have the other generation now
        heard_at = self._view.detector.evidence.heard_at(member.authority, member.node_id)
        return heard_at > since + self._probe_timeout_s

    def expire(self, now: float) -> list[str]:
        """Refuses claims without a second source in time; returns authorities of members that keep such a record."""
        if not self._claims:
            return []
        stubborn: dict[str, None] = {}
        for sender, claim in self._claims.expire(now):
            told, speaker = claim.member, self._view.table.find(sender)
            before = self._view.table.get(told.authority)
            if before is None or speaker is None or not ends_life(before, told):
                continue
            reason = f"only {speaker.authority} says that it is {told.status.name} at incarnation {told.incarnation}"
            self._view.outbox.publish(StatementRefused(authority=before.authority, origin=sender, reason=reason))
            if self._final(before, told):
                stubborn[speaker.authority] = None
        return list(stubborn)

    def next_deadline(self) -> float | None:
        """When the next claim is checked or refused."""
        return self._claims.next_deadline()

    def check(self) -> None:
        """Asserts the invariants."""
        self._claims.check()
        table = self._view.table
        for node_id in self._joined_at:
            assert table.find(node_id) is not None
        for authority in self._sources:
            member = table.get(authority)
            assert member is not None and member.status is MemberStatus.UNREACHABLE
