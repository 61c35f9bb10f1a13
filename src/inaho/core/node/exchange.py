"""Answers gossip, digests and tables of peers, and the messages of nodes that are not members in this view.

Rules of the exchange: a push is acknowledged with a mark. A node that finds a gap asks for the range. A digest is
answered with what each side lacks. Equal digests with different contents lead to a whole table. A node that this node
knows to be removed gets a verdict, with this node's view, and its table is not merged: it knows whether it has removed
this node too, and decides which view holds (`settle` in `core.gossip.conflicts`).
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

__all__ = ["Exchange", "Marked"]

SOURCES_NEEDED: Final = 2
VERDICT_ROUNDS: Final = 3
"""For so many rounds of anti-entropy a verdict counts, since the second one may come in another round."""

Marked = Probe | ProbeAck | ProbeRequest | Gossip | GossipAck | Digest | FullTable


class Exchange:
    """Answers the messages of peers about their tables, and sends digests, tables and verdicts.

    Args:
        view: of this node.
        seeds: as configured, for settling conflicts.
    """

    def __init__(self, view: ClusterView, seeds: tuple[str, ...]) -> None:
        self._view = view
        self.seeds = seeds
        config = view.config
        self.verdicts = Verdicts(VERDICT_ROUNDS * config.gossip.anti_entropy_s, config.membership.members_max)
        # When members of a view were last asked whether they share it, and which of them is next.
        self._asked_at = float("-inf")
        self._asked_turn = 0
        # An operator's order to keep this node's view against that authority. It holds until then at least, and longer
        # while that authority is no member here: during a network partition the other side cannot be notified.
        self._kept_until = 0.0
        self._kept_against = ""
        # When each authority was last sent a verdict: once per round and not per message.
        self._told_at: BoundedMap[str, float] = BoundedMap(view.config.membership.members_max)

    def admits(self, now: float, received: Received, mark: Mark) -> bool:
        """Whether the sender may exchange tables with this node; a removed node is answered with a verdict."""
        table = self._view.table
        if not table.removed(received.node_id, mark.incarnation):
            record = table.find(received.node_id)
            if record is None or not self._view.overlay.has_dropped(received.node_id):
                return True
            self.send_verdict(now, record)  # it may not know that the provider lists it no more
            return False
        entry = table.entry(received.authority)
        if entry is not None and entry.origin == entry.member.node_id == received.node_id:
            # It has left by its own statement and waits until this node knows.
            self._view.outbox.send(received.authority, GossipAck(self._view.mark()))
            return False
        self.send_verdict(now, self._gone(received, mark))
        return False

    def _gone(self, received: Received, mark: Mark) -> Member:
        """The record of the sender as a node that is not a member here, under its own generation."""
        record = self._view.table.get(received.authority)
        replaced = record is None or record.node_id != received.node_id
        if replaced or record is None or generation_of(record.incarnation) != generation_of(mark.incarnation):
            return Member(received.authority, received.node_id, mark.incarnation, MemberStatus.REMOVED)
        return with_status(record, record.status, max(record.incarnation, mark.incarnation))

    def send_verdict(self, now: float, member: Member, rule: str = "") -> None:
        """Sends a node this node's record of it, at most once per gossip interval unless an operator gave an order.

        An operator's order is about a view, not about one node: while it holds, every node of the other view gets it.
        """
        config = self._view.config
        if not rule and self._view.me.status is not MemberStatus.UP:
            return  # this view ends with this node, so a successor must not wait for it
        last = self._told_at.get(member.authority)
        if not rule and last is not None and now < last + config.gossip.interval_s:
            return
        self._told_at[member.authority] = now
        if rule:
            self._kept_until = now + VERDICT_ROUNDS * config.gossip.anti_entropy_s
            self._kept_against = member.authority
        elif now < self._kept_until or self._is_gone_or_unreachable(self._kept_against):
            rule = "operator"
        ours = self.our_view()
        self._view.outbox.send(member.authority, ViewVerdict(self._view.mark(), member, ours.members, ours.seeds, rule))

    def _is_gone_or_unreachable(self, authority: str) -> bool:
        """Whether that authority is unreachable, or was removed without a leave."""
        entry = self._view.table.entry(authority)
        return entry is not None and entry.member.status >= MemberStatus.UNREACHABLE and entry.reason != "left"

    def reset_verdicts(self) -> None:
        """This node has lost its place: verdicts and orders about its view, by others or an operator, are void."""
        self.verdicts.clear()
        self._kept_until, self._kept_against = 0.0, ""

    def in_conflict(self, now: float, authority: str, keep: bool) -> Member | None:
        """The record of that authority, if an operator can decide between its view and this node's; else None.

        This node's view can be kept against every node that is no member in it. If other members share it, it can be
        given up only for a node that lately sent a verdict that this node is no member: during a network partition this
        node's own side would admit it again, and the order would be lost.
        """
        member = self._view.table.get(authority)
        if member is None or member.status < MemberStatus.UNREACHABLE:
            return None
        joinable = not self._view.peers() or member.node_id in self.verdicts.senders(now)
        return member if keep or joinable else None

    def our_view(self) -> View:
        """This node's side of a conflict."""
        up = tuple(member.authority for member in self._view.table.live if member.status is MemberStatus.UP)
        return View(up, self.seeds)

    def compare_mark(self, now: float, received: Received, mark: Mark) -> None:
        """Compares a mark with this node's, after the statements that came with it have been applied."""
        view = self._view
        member = view.table.get(received.authority)
        same = view.same(mark)
        if member is None or member.node_id != received.node_id or member.status is MemberStatus.REMOVED:
            if not same:
                # Unknown here, or above the removed incarnation: another part of the cluster, or its statements are
                # still on the way.
                view.engine.differs(now, received.authority)
                if member is not None and view.engine.tried(received.authority) and self._outdone(received, mark):
                    self.send_verdict(
                        now, Member(received.authority, received.node_id, mark.incarnation, MemberStatus.UP)
                    )
        else:
            # An unreachable member too: if two members have found each other unreachable, perhaps no other one notifies
            # them.
            if (
                received.authority == self._kept_against
                and is_live(member)
                and member.status < MemberStatus.UNREACHABLE
            ):
                self._kept_against = ""  # the views are equal again
            view.engine.heard(now, received.authority, same)

    def _outdone(self, received: Received, mark: Mark) -> bool:
        """Whether the record of another, removed node at that authority wins over all statements of the sender.

        The sender founded a cluster, or was admitted to one, that did not know the former node. It needs a new
        generation.
        """
        record = self._view.table.get(received.authority)
        if record is None or record.status is not MemberStatus.REMOVED or record.node_id == received.node_id:
            return False
        return generation_of(record.incarnation) >= generation_of(mark.incarnation)

    def on_gossip(self, now: float, received: Received, message: Gossip) -> None:
        """Applies a push; answers with what was asked for, or with this node's mark."""
        missing = self._view.learn(now, message.news, received.node_id)
        self.compare_mark(now, received, message.mark)
        self._supply(now, received.authority, message.wants, missing, acknowledge=True)

    def on_ack(self, now: float, received: Received, message: GossipAck) -> None:
        """Handles an acknowledgement; sends what it asks for."""
        self.compare_mark(now, received, message.mark)
        self._supply(now, received.authority, message.wants, (), acknowledge=False)

    def on_digest(self, now: float, received: Received, message: Digest) -> None:
        """Sends what the other node lacks and asks for what this node lacks."""
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
        self.compare_mark(now, received, message.mark)

    def on_full_table(self, now: float, received: Received, message: FullTable) -> None:
        """Merges a whole table; answers with this node's table when asked to."""
        view = self._view
        view.merge(now, message.table, received.node_id)
        if message.mark.content_hash == view.table.content_hash():
            self._adopt(now, message.mark)
        if message.reply:
            view.outbox.send(received.authority, FullTable(view.mark(), view.table.snapshot(now), reply=False))
        else:
            view.outbox.send(received.authority, GossipAck(view.mark()))
        self.compare_mark(now, received, message.mark)

    def on_news(self, now: float, received: Received, mark: Mark, news: News) -> None:
        """Applies statements that came with a probe or its answer."""
        missing = self._view.learn(now, news, received.node_id)
        self.compare_mark(now, received, mark)
        if missing:
            self._view.outbox.send(received.authority, GossipAck(self._view.mark(), missing))

    def send_digest(self, now: float, authority: str) -> None:
        """Starts an exchange."""
        view = self._view
        digest = view.table.digest(now)
        lines = tuple(OriginVersion(origin, digest[origin]) for origin in sorted(digest))
        view.outbox.send(authority, Digest(view.mark(), lines))

    def send_table(self, now: float, authority: str) -> None:
        """Sends the whole table, when deltas did not settle a difference."""
        view = self._view
        view.outbox.send(authority, FullTable(view.mark(), view.table.snapshot(now), reply=True))

    def yields_to(self, now: float, received: Received, verdict: ViewVerdict) -> bool:
        """Handles a verdict about this node (SPEC CL-7.4): True when it has lost its place and must join again."""
        view = self._view
        me = view.me
        aimed = verdict.member.node_id == me.node_id and verdict.member.authority == me.authority
        if not aimed or generation_of(verdict.member.incarnation) < generation_of(me.incarnation):
            return False
        if jump(me, verdict.member) > view.config.membership.incarnation_jump_max:
            return False  # beyond it no member would admit this node again
        self.verdicts.record(now, received.node_id, bool(verdict.rule))
        senders = self.verdicts.senders(now)
        if self._is_fellow(received.node_id):
            # Members of one view: two senders are needed if two could send it.
            fellows = sum(1 for sender in senders if self._is_fellow(sender))
            able = sum(1 for member in view.others() if self._could_be_source(member))
            enough = fellows >= max(1, min(SOURCES_NEEDED, able))
            if not enough:
                self._ask_others(now, received.authority, verdict.members)
            return enough
        removed = view.table.removed(received.node_id, verdict.mark.incarnation)
        if (
            verdict.member.status < MemberStatus.UNREACHABLE
            and not removed
            and not self._outdone(received, verdict.mark)
        ):
            return False  # neither has removed the other: it becomes a member here first, and then its verdict counts
        settlement = settle(self.our_view(), View(verdict.members, verdict.seeds))
        # If a view claims to be shared by others, one of them must confirm it.
        alone = len(senders) < min(SOURCES_NEEDED, sum(1 for authority in verdict.members if authority != me.authority))
        if settlement.holds == UNDECIDED and self.verdicts.by_operator and not alone:
            settlement = Settlement(THEIRS, "operator")
        if settlement.holds == THEIRS and alone:
            self._ask_others(now, received.authority, verdict.members)
            return False
        if settlement.holds == UNDECIDED:
            reason = "neither seeds nor numbers decide which view holds"
            view.outbox.publish(ViewConflict(authority=received.authority, reason=reason))
            return False
        refused = "theirs" if settlement.holds == OURS else "ours"
        view.outbox.publish(ViewRefused(authority=received.authority, refused=refused, rule=settlement.rule))
        if settlement.holds == OURS:
            self.send_verdict(now, self._gone(received, verdict.mark))
            return False
        return True

    def _ask_others(self, now: float, sender: str, members: tuple[str, ...]) -> None:
        """Sends this node's mark to a few of those that are said to share a view; they know whether they do."""
        config, table = self._view.config.gossip, self._view.table
        if now < self._asked_at + config.interval_s:
            return
        self._asked_at = now
        mine = self._view.me.authority
        others = [other for other in members if other not in (sender, mine)]
        # If this node knows none of them, it asks unknown ones: they may have joined since the views parted.
        asked = [other for other in others if table.get(other) is not None] or others
        for _ in range(min(config.fanout, len(asked))):
            self._asked_turn = (self._asked_turn + 1) % len(asked)
            self._view.outbox.send(asked[self._asked_turn], Gossip(self._view.mark()))

    def _is_fellow(self, node_id: str) -> bool:
        """Whether that node is a member in this view: one that is heard, or one that the provider lists."""
        view = self._view
        return view.corroboration.is_source(node_id) or (
            view.overlay.lists(node_id) and view.table.find(node_id) is not None
        )

    def _could_be_source(self, member: Member) -> bool:
        """Whether that member could be a source: this node hears from it, or has no reason to doubt that it does."""
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
        """Adopts the higher version of equal tables, see `MembershipTable.adopt_version`."""
        if mark.version > self._view.table.version:
            self._view.table.adopt_version(mark.version)
            self._view.topology.changed(now)

    def _blocks(self) -> tuple[BlockNotice, ...]:
        return self._view.table.blocks.notices
