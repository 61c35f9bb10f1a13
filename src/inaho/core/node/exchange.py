"""Answers gossip, digests and tables of peers, and the messages of nodes that are not members in this view.

Rules of the exchange: a push is acknowledged with a mark; whoever finds a gap asks for the range; a digest is answered
with what each side lacks; equal digests over different contents mean a whole table. A node that we know to be removed
is not merged but told so, together with our view: it knows best whether it has removed us too (`settle`).
"""

from __future__ import annotations

from typing import Final

from inaho.core.bounded_map import BoundedMap
from inaho.core.gossip.conflicts import OURS, THEIRS, UNDECIDED, Settlement, Verdicts, View, settle
from inaho.core.gossip.digest import answer_digest, answer_wants
from inaho.core.inputs import Received
from inaho.core.membership.incarnation import generation_of
from inaho.core.membership.member import is_live, with_status
from inaho.core.membership.plausibility import jump
from inaho.core.messages import (
    BlockNotice,
    Digest,
    FullTable,
    Gossip,
    GossipAck,
    Mark,
    News,
    OriginVersion,
    Probe,
    ProbeAck,
    ProbeRequest,
    ViewVerdict,
)
from inaho.core.node.view import ClusterView
from inaho.events import ViewConflict, ViewRefused
from inaho.types import Member, MemberStatus

__all__ = ["Conversation", "Marked"]

VOICES: Final = 2
VERDICT_ROUNDS: Final = 3
"""For so many rounds of anti-entropy a verdict counts: the second one may come in another round."""

Marked = Probe | ProbeAck | ProbeRequest | Gossip | GossipAck | Digest | FullTable


class Conversation:
    """The peer-to-peer exchange of one node.

    Args:
        view: what it speaks from.
        seeds: as configured, for settling conflicts.
    """

    def __init__(self, view: ClusterView, seeds: tuple[str, ...]) -> None:
        self._view = view
        self.seeds = seeds
        config = view.config
        self.verdicts = Verdicts(VERDICT_ROUNDS * config.gossip.anti_entropy_s, config.membership.members_max)
        # When others of a view were last asked whether they share it, and whose turn it is.
        self._asked_at = float("-inf")
        self._asked_turn = 0
        # An operator's word that ours is the view to keep, against that authority: it stands until then at least, and
        # for as long as that one has no place here. A split may last, and nobody can be told before it is over.
        self._kept_until = 0.0
        self._kept_against = ""
        # When each authority was last told that it is removed, to say it once per round and not per message.
        self._told_at: BoundedMap[str, float] = BoundedMap(view.config.membership.members_max)

    def admits(self, now: float, received: Received, mark: Mark) -> bool:
        """Whether the sender may talk to us; a removed one is answered with a verdict."""
        table = self._view.table
        if not table.removed(received.node_id, mark.incarnation):
            return True
        entry = table.entry(received.authority)
        if entry is not None and entry.origin == entry.member.node_id == received.node_id:
            # It has left by its own word and waits to hear that we know.
            self._view.outbox.send(received.authority, GossipAck(self._view.mark()))
            return False
        self.tell_verdict(now, self._gone(received, mark))
        return False

    def _gone(self, received: Received, mark: Mark) -> Member:
        """The sender as one that has no place here, under the generation by which it goes."""
        record = self._view.table.get(received.authority)
        replaced = record is None or record.node_id != received.node_id
        if replaced or record is None or generation_of(record.incarnation) != generation_of(mark.incarnation):
            return Member(received.authority, received.node_id, mark.incarnation, MemberStatus.REMOVED)
        return with_status(record, record.status, max(record.incarnation, mark.incarnation))

    def tell_verdict(self, now: float, member: Member, rule: str = "") -> None:
        """Tells a node how we see it, at most once per gossip interval unless an operator spoke.

        An operator speaks about a view, not about one node: while the word stands, all who call from the other hear it.
        """
        config = self._view.config
        if not rule and self._view.me.status is not MemberStatus.UP:
            return  # our view ends with us: whoever comes after us must not wait for it
        last = self._told_at.get(member.authority)
        if not rule and last is not None and now < last + config.gossip.interval_s:
            return
        self._told_at[member.authority] = now
        if rule:
            self._kept_until = now + VERDICT_ROUNDS * config.gossip.anti_entropy_s
            self._kept_against = member.authority
        elif now < self._kept_until or self._is_away(self._kept_against):
            rule = "operator"
        ours = self.our_view()
        self._view.outbox.send(member.authority, ViewVerdict(self._view.mark(), member, ours.members, ours.seeds, rule))

    def _is_away(self, authority: str) -> bool:
        """Whether that authority is out of reach or was removed, otherwise than by leaving."""
        entry = self._view.table.entry(authority)
        return entry is not None and entry.member.status >= MemberStatus.UNREACHABLE and entry.reason != "left"

    def begin_anew(self) -> None:
        """This node has lost its place: what was said of its view, by others or an operator, is over with it."""
        self.verdicts.clear()
        self._kept_until, self._kept_against = 0.0, ""

    def in_conflict(self, now: float, authority: str, keep: bool) -> Member | None:
        """The record of that authority, where an operator can settle whose view holds; None where not.

        Our view can be kept against whoever has no place in it. Where others share it, it can be given up only for one
        that told us lately that we have none: during a split our own side would take us back, and the order be lost.
        """
        member = self._view.table.get(authority)
        if member is None or member.status < MemberStatus.UNREACHABLE:
            return None
        joinable = not self._view.peers() or member.node_id in self.verdicts.speakers(now)
        return member if keep or joinable else None

    def our_view(self) -> View:
        """Our side of a conflict."""
        up = tuple(member.authority for member in self._view.table.live if member.status is MemberStatus.UP)
        return View(up, self.seeds)

    def heard(self, now: float, received: Received, mark: Mark) -> None:
        """Compares a mark, after whatever came with it has been taken over."""
        view = self._view
        member = view.table.get(received.authority)
        same = view.same(mark)
        if member is None or member.node_id != received.node_id or member.status is MemberStatus.REMOVED:
            if not same:
                # A stranger, or back above what we removed: another part of the cluster, or news on its way to us.
                view.engine.differs(now, received.authority)
                if member is not None and view.engine.tried(received.authority) and self._outdone(received, mark):
                    self.tell_verdict(
                        now, Member(received.authority, received.node_id, mark.incarnation, MemberStatus.UP)
                    )
        else:
            # An unreachable one too: where two have called each other so, nobody else may tell them that it is over.
            if (
                received.authority == self._kept_against
                and is_live(member)
                and member.status < MemberStatus.UNREACHABLE
            ):
                self._kept_against = ""  # the views are one again
            view.engine.heard(now, received.authority, same)

    def _outdone(self, received: Received, mark: Mark) -> bool:
        """Whether our record of that authority, another node that was removed, beats all that the sender can say.

        It founded a cluster, or was admitted to one, that did not know of the former node. Only a new generation helps.
        """
        record = self._view.table.get(received.authority)
        if record is None or record.status is not MemberStatus.REMOVED or record.node_id == received.node_id:
            return False
        return generation_of(record.incarnation) >= generation_of(mark.incarnation)

    def on_gossip(self, now: float, received: Received, message: Gossip) -> None:
        """Takes a push; answers with what was asked for, or where we stand."""
        missing = self._view.learn(now, message.news, received.node_id)
        self.heard(now, received, message.mark)
        self._supply(now, received.authority, message.wants, missing, acknowledge=True)

    def on_ack(self, now: float, received: Received, message: GossipAck) -> None:
        """Takes an acknowledgement; sends what it asks for."""
        self.heard(now, received, message.mark)
        self._supply(now, received.authority, message.wants, (), acknowledge=False)

    def on_digest(self, now: float, received: Received, message: Digest) -> None:
        """Sends what the other lacks and asks for what we lack."""
        view = self._view
        budget = view.config.gossip.push_bytes_max
        deltas, wants = answer_digest(view.table, now, message.versions, budget)
        if deltas or wants:
            view.outbox.send(received.authority, Gossip(view.mark(), News(deltas, blocks=self._blocks()), wants))
        elif message.mark.content_hash != view.table.content_hash():
            view.outbox.send(received.authority, FullTable(view.mark(), view.table.snapshot(now), reply=True))
        else:
            self._adopt(now, message.mark)
            view.outbox.send(received.authority, GossipAck(view.mark()))
        self.heard(now, received, message.mark)

    def on_full_table(self, now: float, received: Received, message: FullTable) -> None:
        """Merges a whole table; answers with ours when asked to."""
        view = self._view
        view.merge(now, message.table, received.node_id)
        if message.mark.content_hash == view.table.content_hash():
            self._adopt(now, message.mark)
        if message.reply:
            view.outbox.send(received.authority, FullTable(view.mark(), view.table.snapshot(now), reply=False))
        else:
            view.outbox.send(received.authority, GossipAck(view.mark()))
        self.heard(now, received, message.mark)

    def on_news(self, now: float, received: Received, mark: Mark, news: News) -> None:
        """Takes what rode on a probe or its answer."""
        missing = self._view.learn(now, news, received.node_id)
        self.heard(now, received, mark)
        if missing:
            self._view.outbox.send(received.authority, GossipAck(self._view.mark(), missing))

    def send_digest(self, now: float, authority: str) -> None:
        """Starts an exchange."""
        view = self._view
        digest = view.table.digest(now)
        lines = tuple(OriginVersion(origin, digest[origin]) for origin in sorted(digest))
        view.outbox.send(authority, Digest(view.mark(), lines))

    def send_table(self, now: float, authority: str) -> None:
        """Ends an exchange that deltas did not settle."""
        view = self._view
        view.outbox.send(authority, FullTable(view.mark(), view.table.snapshot(now), reply=True))

    def yields_to(self, now: float, received: Received, verdict: ViewVerdict) -> bool:
        """Settles a verdict about us (SPEC CL-7.4): True when we have lost our place and must join again."""
        view = self._view
        me = view.me
        aimed = verdict.member.node_id == me.node_id and verdict.member.authority == me.authority
        if not aimed or generation_of(verdict.member.incarnation) < generation_of(me.incarnation):
            return False
        if jump(me, verdict.member) > view.config.membership.incarnation_jump_max:
            return False  # beyond it nobody would admit us again
        self.verdicts.hear(now, received.node_id, bool(verdict.rule))
        speakers = self.verdicts.speakers(now)
        if view.witness.counts(received.node_id):
            # A fellow member; where two could say so, it takes two.
            fellows = sum(1 for speaker in speakers if view.witness.counts(speaker))
            able = sum(1 for member in view.others() if self._could_speak(member))
            enough = fellows >= max(1, min(VOICES, able))
            if not enough:
                self._ask_others(now, received.authority, verdict.members)
            return enough
        removed = view.table.removed(received.node_id, verdict.mark.incarnation)
        if (
            verdict.member.status < MemberStatus.UNREACHABLE
            and not removed
            and not self._outdone(received, verdict.mark)
        ):
            return False  # neither has removed the other: it becomes a fellow first, and then its word counts
        settlement = settle(self.our_view(), View(verdict.members, verdict.seeds))
        # Of a view that claims to be shared by others we hear one of them before we believe it.
        alone = len(speakers) < min(VOICES, sum(1 for authority in verdict.members if authority != me.authority))
        if settlement.holds == UNDECIDED and self.verdicts.by_operator and not alone:
            settlement = Settlement(THEIRS, "operator")
        if settlement.holds == THEIRS and alone:
            self._ask_others(now, received.authority, verdict.members)
            return False
        if settlement.holds == UNDECIDED:
            reason = "neither seeds nor numbers tell which view holds"
            view.outbox.publish(ViewConflict(authority=received.authority, reason=reason))
            return False
        refused = "theirs" if settlement.holds == OURS else "ours"
        view.outbox.publish(ViewRefused(authority=received.authority, refused=refused, rule=settlement.rule))
        if settlement.holds == OURS:
            self.tell_verdict(now, self._gone(received, verdict.mark))
            return False
        return True

    def _ask_others(self, now: float, speaker: str, members: tuple[str, ...]) -> None:
        """Shows our mark to others who are said to share a view, a few at a time: they know best whether they do."""
        config, table = self._view.config.gossip, self._view.table
        if now < self._asked_at + config.interval_s:
            return
        self._asked_at = now
        mine = self._view.me.authority
        others = [other for other in members if other not in (speaker, mine)]
        # Strangers where we know none of them: they may have come since the views parted, and know us as little.
        asked = [other for other in others if table.get(other) is not None] or others
        for _ in range(min(config.fanout, len(asked))):
            self._asked_turn = (self._asked_turn + 1) % len(asked)
            self._view.outbox.send(asked[self._asked_turn], Gossip(self._view.mark()))

    def _could_speak(self, member: Member) -> bool:
        """Whether that member could be a voice: we hear it, or have no reason to think that we do not."""
        return member.status < MemberStatus.UNREACHABLE and not self._view.detector.accuses(member)

    def _supply(
        self,
        now: float,
        authority: str,
        wants: tuple[OriginVersion, ...],
        missing: tuple[OriginVersion, ...],
        acknowledge: bool,
    ) -> None:
        view = self._view
        deltas = answer_wants(view.table, now, wants, view.config.gossip.push_bytes_max) if wants else ()
        if deltas:
            view.outbox.send(authority, Gossip(view.mark(), News(deltas), missing))
        elif acknowledge or missing:
            view.outbox.send(authority, GossipAck(view.mark(), missing))

    def _adopt(self, now: float, mark: Mark) -> None:
        """Equal tables: the higher version counts, see `MembershipTable.adopt_version`."""
        if mark.version > self._view.table.version:
            self._view.table.adopt_version(mark.version)
            self._view.topology.changed(now)

    def _blocks(self) -> tuple[BlockNotice, ...]:
        return self._view.table.blocks.notices
