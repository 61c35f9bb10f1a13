"""Decides which reports that a member left or died are accepted; a report from one source waits for a second.

Two members must have told it themselves, or one, where this node has seen the same. What one alone tells is held back
and looked into: the accused is probed and told of it, so that it refutes; when this node fails to reach it too, that is
the second voice. A word that finds none in time is refused, and whoever holds on to it is told our view.
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
from inaho.core.messages import VOICES_MAX, Accusation, Entry
from inaho.events import StatementRefused
from inaho.types import Member, MemberStatus

__all__ = ["Witness"]

VOICES: Final = 2
ACCUSING: Final = ("dead", "wedged", "busy", "silent")


class FirstHand(Protocol):
    """What this node has seen itself, and what it does about it: the part of its `ClusterView` that a witness needs.

    Attributes:
        contested: whether somebody tells that this node has no place, and it waits for a second voice.
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


class Witness:
    """The judgement of one node over what it is told.

    Args:
        config: bounds and periods.
        node_id: this node.
        view: what it has seen itself.
    """

    def __init__(self, config: ClusterConfig, node_id: str, view: FirstHand) -> None:
        membership = config.membership
        self._node_id = node_id
        self._probe_timeout_s = config.detection.probe_timeout_s
        self._view = view
        look_s = min(config.gossip.convergence_s, membership.remove_unreachable_after_s / 4)
        self._concurs_after_s = max(0.0, membership.remove_unreachable_after_s - config.gossip.convergence_s)
        self._claims = Claims(membership.members_max, membership.remove_unreachable_after_s, look_s)
        # Whoever was misled is told so after `look_s`, by two, and begins anew; well before its word counts.
        self._young_s = membership.remove_unreachable_after_s - look_s
        # When each node that joined since was first seen, and on whose word each unreachable member is so.
        self._met: dict[str, float] = {}
        self._voices: dict[str, tuple[str, ...]] = {}
        # Authorities of which the last message told something new that is to be looked into.
        self._fresh: dict[str, None] = {}

    def counts(self, teller: str) -> bool:
        """Whether that node's word has weight here: a member that we have not found unreachable."""
        member = self._view.table.find(teller)
        return member is not None and member.status < MemberStatus.UNREACHABLE

    def judge(self, now: float, teller: str) -> Credible:
        """How far statements are to be believed that this node tells."""

        def credible(before: Member | None, entry: Entry) -> bool:
            after = entry.member
            if before is None or not ends_life(before, after):
                return True
            return self._credible(now, teller, before, entry)

        return credible

    def _credible(self, now: float, teller: str, before: Member, entry: Entry) -> bool:
        after = entry.member
        if teller == before.node_id == after.node_id and (entry.origin == teller or after.status <= MemberStatus.UP):
            return True  # it says so itself
        # Of ourselves we hear even strangers: another part of the cluster may have found us unreachable.
        known = before.node_id == self._node_id or self._view.table.find(teller) is not None
        if teller != before.node_id and known:
            if self._claims.hear(now, teller, after):
                self._fresh[after.authority] = None
        if new_life(before, after) and before.status is MemberStatus.UNREACHABLE:
            return True  # two have not reached the former one
        voices = self._heard(now, before, after)
        if len(voices) < VOICES:
            return False
        if after.status is MemberStatus.UNREACHABLE:
            self._voices[after.authority] = voices[:VOICES_MAX]
        return True

    def _heard(self, now: float, before: Member, after: Member) -> tuple[str, ...]:
        """Who has said so to us: members, accusers, and this node where it has seen the same."""
        voices = dict.fromkeys(
            voice
            for voice in self._claims.tellers(after)
            if self.counts(voice) and now >= self._met.get(voice, now - self._young_s) + self._young_s
        )
        suspicion = self._view.detector.suspicions.get(before.authority)
        if after.status is MemberStatus.UNREACHABLE and suspicion is not None:
            if suspicion.node_id == after.node_id and suspicion.incarnation >= before.incarnation:
                voices.update(dict.fromkeys(suspicion.voices))
        if self._seen(now, before, after):
            voices[self._node_id] = None
        return tuple(voices)

    def _seen(self, now: float, before: Member, after: Member) -> bool:
        """Whether this node has seen for itself what others tell."""
        view = self._view
        if before.node_id == self._node_id or after.status is MemberStatus.LEAVING:
            return False
        if view.detector.evidence.proves_death(before.authority, before.node_id):
            return True
        if (after.status is MemberStatus.REMOVED or new_life(before, after)) and view.detector.despairs(before):
            return True  # nobody confirms that it is silent, since they all know what became of it
        if after.status is MemberStatus.UNREACHABLE:
            return False  # its own accusation is among the voices of the suspicion
        since = view.removal.since(before.authority)
        return since is not None and now >= since + self._concurs_after_s

    def look_into(self, now: float, teller: str, entry: Entry) -> None:
        """A statement was held back: has the subject look after itself, and sees for itself."""
        view, after = self._view, entry.member
        before = view.table.get(after.authority)
        if self._fresh.pop(after.authority, self) is self or before is None or not is_live(before):
            return
        if entry.origin == after.node_id == before.node_id and before.node_id != self._node_id:
            return  # it is said to leave, which a probe does not tell; it says so itself, or a second one does
        if before.node_id == self._node_id:
            view.contested = True
        elif before.node_id == after.node_id and after.status >= MemberStatus.UNREACHABLE and self.counts(teller):
            reason = entry.reason if entry.reason in ACCUSING else "silent"
            accusation = Accusation(after.authority, after.node_id, after.incarnation, teller, reason)
            view.detector.on_accusation(now, accusation, heard=True)
        elif not view.detector.prober.probing(after.authority):
            view.detector.prober.urge(after.authority)

    def voices(self, authority: str) -> tuple[str, ...]:
        """On whose word that member is unreachable here, this node's included; empty where it was adopted."""
        return self._voices.get(authority, ())

    def settled(self, before: Member | None, after: Member) -> None:
        """Another record holds of that authority now."""
        self._claims.settled(after)
        if after.status is not MemberStatus.UNREACHABLE:
            self._voices.pop(after.authority, None)
        if before is None:
            return
        if new_life(before, after) or not is_live(after):
            self._claims.withdraw(before.node_id)
        if before.node_id != after.node_id or not is_live(after):
            self._met.pop(before.node_id, None)

    def met(self, now: float, member: Member) -> None:
        """That node joined just now: what it tells of others it has on the word of one, who admitted it."""
        self._met[member.node_id] = now

    def clear(self) -> None:
        """Forgets all."""
        self._claims.clear()
        self._met.clear()
        self._voices.clear()

    def look_again(self, now: float) -> tuple[list[str], list[str]]:
        """Looks at what is held back.

        Returns:
            Authorities of those who may be believed now and are to tell it again, and of those who hold on to a view
            that is known to be wrong: their subject has answered meanwhile.
        """
        if not self._claims:
            return [], []
        credible: dict[str, None] = {}
        stubborn: dict[str, None] = {}
        for teller, claim in self._claims.due(now):
            told, speaker = claim.member, self._view.table.find(teller)
            before = self._view.table.get(told.authority)
            if before is None or speaker is None or not ends_life(before, told):
                continue
            if len(self._heard(now, before, told)) >= VOICES:
                credible[speaker.authority] = None
            elif not claim.answered and self._final(before, told):
                if self._lives(before, told, claim.since):
                    claim.answered = True
                    stubborn[speaker.authority] = None
                elif not self._view.detector.prober.probing(before.authority):
                    self._view.detector.prober.urge(before.authority)
        return list(credible), list(stubborn)

    def _final(self, before: Member, told: Member) -> bool:
        """Whether two that hold these records cannot come to agree, though the first one stands here."""
        final = told.status is MemberStatus.REMOVED or new_life(before, told)
        well = before.status < MemberStatus.LEAVING and before.authority not in self._view.detector.suspicions
        return final and well

    def _lives(self, member: Member, told: Member, since: float) -> bool:
        """Whether the member that holds has been heard since then, and it was not what was on its way."""
        if member.node_id == self._node_id:
            return True
        if member.node_id == told.node_id and new_life(member, told):
            return False  # the same process may go by the other generation now
        heard_at = self._view.detector.evidence.heard_at(member.authority, member.node_id)
        return heard_at > since + self._probe_timeout_s

    def refuse(self, now: float) -> list[str]:
        """Refuses what found no second voice in time; returns authorities of members that hold on to such a view."""
        if not self._claims:
            return []
        stubborn: dict[str, None] = {}
        for teller, claim in self._claims.expire(now):
            told, speaker = claim.member, self._view.table.find(teller)
            before = self._view.table.get(told.authority)
            if before is None or speaker is None or not ends_life(before, told):
                continue
            reason = f"only {speaker.authority} says that it is {told.status.name} at incarnation {told.incarnation}"
            self._view.outbox.publish(StatementRefused(authority=before.authority, origin=teller, reason=reason))
            if self._final(before, told):
                stubborn[speaker.authority] = None
        return list(stubborn)

    def next_deadline(self) -> float | None:
        """When the next word is looked at or refused."""
        return self._claims.next_deadline()

    def check(self) -> None:
        """Asserts the invariants."""
        self._claims.check()
        table = self._view.table
        for node_id in self._met:
            assert table.find(node_id) is not None
        for authority in self._voices:
            member = table.get(authority)
            assert member is not None and member.status is MemberStatus.UNREACHABLE
