"""Handles join requests: sends the answer of `admission` and announces the new member (SPEC CL-1.1, CL-1.4)."""

from __future__ import annotations

from inaho.config import ClusterConfig
from inaho.core.effects import Outbox
from inaho.core.inputs import Received
from inaho.core.membership.admission import Admit, Collisions, Welcome, examine
from inaho.core.messages import JoinAccepted, JoinRefused
from inaho.core.node.lifecycle import MEMBER, Stage
from inaho.core.node.view import ClusterView
from inaho.errors import IllegalTransition
from inaho.events import AuthorityCollision
from inaho.types import Member

__all__ = ["JoinRequests"]


class JoinRequests:
    """Handles join requests.

    Args:
        config: of the cluster.
        view: of this node.
        outbox: takes the answers.
    """

    def __init__(self, config: ClusterConfig, view: ClusterView, outbox: Outbox) -> None:
        self._config = config
        self._view = view
        self._outbox = outbox
        self.collisions = Collisions(config.membership.join_timeout_s, config.gossip.accusations_max)

    def receive(self, now: float, received: Received, joiner: Member, stage: Stage) -> None:
        """Answers a join request; `stage` is where this node itself stands."""
        if received.node_id == self._view.me.node_id:  # a seed is this node under another name; `Joiner` reports it
            return
        answer = self._judge(now, received, joiner, stage)
        if isinstance(answer, JoinRefused):
            self._outbox.send(received.authority, answer)
            return
        if isinstance(answer, Admit):
            try:
                self._view.make_statement(now, answer.member, "admitted")
            except IllegalTransition as error:
                # An invalid claim of a joiner, such as an incarnation that is far too high, is its fault and not this
                # node's.
                self._outbox.send(received.authority, JoinRefused("inadmissible", error.reason, False))
                return
            self.collisions.settled(joiner.authority)
        accepted = JoinAccepted(answer.member, self._view.table.snapshot(now))
        self._outbox.send(received.authority, accepted)

    def _judge(self, now: float, received: Received, joiner: Member, stage: Stage) -> Admit | Welcome | JoinRefused:
        if (joiner.authority, joiner.node_id) != (received.authority, received.node_id):
            return JoinRefused("identity_mismatch", "the request names another node than its connection", False)
        if joiner.authority == self._view.me.authority:
            self._report_collision(now, joiner, self._view.me, alive=True)
            reason = f"{joiner.authority} is the authority of this node"
            return JoinRefused("authority_in_use", reason, False, self._view.me.node_id)
        if stage is not MEMBER:
            return JoinRefused("not_a_member", f"this node is {stage}", True)
        if not self._view.overlay.may_join(joiner.node_id):
            return JoinRefused("not_listed", f"the provider does not list {joiner.authority} yet", True)
        answer = examine(self._view.table, joiner, self._config.membership.members_max, self._is_dead)
        if isinstance(answer, JoinRefused) and answer.code == "authority_collision":
            holder = self._view.table.get(joiner.authority)
            if holder is not None and self._report_collision(now, joiner, holder, alive=False):
                reason = f"{joiner.authority} belongs to node {holder.node_id}, which is alive"
                return JoinRefused("authority_in_use", reason, False, holder.node_id)
        return answer

    def _report_collision(self, now: float, joiner: Member, holder: Member, alive: bool) -> bool:
        """Publishes a collision once per claimant and probes the holder; True when the holder is known to be alive."""
        fresh, answered = self.collisions.claim(now, joiner.authority, joiner.node_id)
        if fresh:
            event = AuthorityCollision(
                authority=joiner.authority,
                node_id=holder.node_id,
                claimed_by=joiner.node_id,
                reason="a second node claims the authority of a member",
            )
            self._outbox.publish(event)
        if not alive:
            self._view.detector.prober.urge(joiner.authority)
        return answered

    def _is_dead(self, member: Member) -> bool:
        return self._view.detector.evidence.proves_death(member.authority, member.node_id)
