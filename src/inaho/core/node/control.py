"""The control plane of one node: `step(now, input) -> list[Effect]` and `next_deadline()`.

It passes each input to a handler and each deadline to the machine that set it, and decides what concerns several
machines: admission, removal, refutation, leaving. It uses no clock, socket or randomness of its own, so a thousand of
them run in one process under virtual time, and a seed replays every history. A gap between two calls means that this
process did not run: the node then shifts its own time by the gap, so that no deadline passes because of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inaho.config import ClusterConfig
from inaho.core.effects import CloseConnection, Effect, Outbox
from inaho.core.gossip.anti_entropy import AntiEntropy
from inaho.core.inputs import (
    AuthorityAnswered,
    AuthorityNotReached,
    BlockNode,
    Connected,
    Disconnected,
    Discovered,
    Drained,
    FoundCluster,
    Input,
    LeaveRequested,
    LoadChanged,
    LoopLag,
    ProviderBlocks,
    ProviderMembers,
    RandomSource,
    Received,
    ResolveConflict,
    Start,
    Tick,
    UnblockNode,
)
from inaho.core.membership.member import is_live, with_status
from inaho.core.membership.table import MembershipTable
from inaho.core.messages import (
    LOAD_MAX,
    Digest,
    FullTable,
    Gossip,
    GossipAck,
    JoinAccepted,
    JoinRefused,
    JoinRequest,
    Mark,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResponse,
    ViewVerdict,
    within_bounds,
)
from inaho.core.node.exchange import Exchange
from inaho.core.node.join_requests import JoinRequests
from inaho.core.node.lifecycle import FAILED, LEAVING, LEFT, MEMBER, NEW, SEEKING, Lifecycle, Stage
from inaho.core.node.orders import Orders
from inaho.core.node.periodic import Periodic
from inaho.core.node.view import ClusterView
from inaho.errors import IllegalTransition
from inaho.events import NodePaused
from inaho.types import Member, MemberStatus, TopologySnapshot

__all__ = ["ControlNode"]


class ControlNode:
    """The control plane of one node.

    Args:
        config: of the cluster; `seeds` here serve when `Start` names none.
        member: this node; status and incarnation are overwritten as it joins.
        random: seeded, this node's own.
    """

    def __init__(self, config: ClusterConfig, member: Member, random: RandomSource) -> None:
        self._config = config
        self._outbox = Outbox()
        self._view = ClusterView(config, with_status(member, MemberStatus.JOINING, 0), random, self._outbox)
        self._exchange = Exchange(self._view, config.seeds)
        self._anti_entropy = anti_entropy = AntiEntropy(config.gossip, random)
        self._life = Lifecycle(config, self._view, self._exchange, anti_entropy, self._outbox)
        self._join_requests = JoinRequests(config, self._view, self._outbox)
        self._periodic = Periodic(self._view, self._exchange, anti_entropy, self._outbox, config.membership.members_max)
        orders = Orders(self._view, self._exchange, self._life)
        self._steps = 0
        # The sum of the pauses of this process, seconds: this node's time is the caller's time less this.
        self._skipped_s = 0.0
        # Until when a pause of this process is reported as lag.
        self._lag_until: float | None = None
        self._now = 0.0
        self._deadline: float | None = None
        self._handlers: dict[type, Callable[[float, Any], None]] = {
            Start: self._on_start,
            Tick: self._on_tick,
            Received: self._on_received,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            AuthorityNotReached: self._on_dial_failed,
            AuthorityAnswered: self._on_authority_answered,
            LeaveRequested: self._on_leave_requested,
            Drained: lambda now, _: self._life.leaver.drained(now),
            LoopLag: self._on_loop_lag,
            LoadChanged: self._on_load_changed,
            ResolveConflict: orders.resolve_conflict,
            BlockNode: orders.block,
            UnblockNode: orders.unblock,
            ProviderBlocks: orders.provider_blocks,
            Discovered: orders.discovered,
            FoundCluster: orders.found_cluster,
            ProviderMembers: orders.provider_members,
        }
        self._message_handlers: dict[type, Callable[[float, Received, Any], None]] = {
            JoinRequest: self._on_join_request,
            JoinAccepted: self._on_join_accepted,
            JoinRefused: self._on_join_refused,
            Probe: self._on_probe,
            ProbeAck: self._on_probe_ack,
            ProbeRequest: self._on_probe_request,
            ProbeResponse: self._on_probe_response,
            Gossip: self._on_marked(self._exchange.on_gossip),
            GossipAck: self._on_marked(self._exchange.on_ack),
            Digest: self._on_marked(self._exchange.on_digest),
            FullTable: self._on_marked(self._exchange.on_full_table),
            ViewVerdict: self._on_verdict,
        }

    # The one way in and out.

    def step(self, now: float, input: Input) -> list[Effect]:
        """Takes one input.

        Args:
            now: seconds, monotonic, suspend included; never falls.
            input: what happened.

        Returns:
            Effects, in the order in which to carry them out.

        Raises:
            IllegalTransition: the input is of an unknown type, or not possible now. Nothing changed.
        """
        handler = self._handlers.get(type(input))
        if handler is None:
            raise IllegalTransition(f"unknown input {type(input).__name__}", authority=self.member.authority)
        self._steps += 1
        self._outbox.open(f"n{self._steps}")
        at = self._advance_time(now)
        handler(at, input)
        self._run(at)
        due = self._earliest()
        # A deadline in the past is due now; it must not look like a pause of this process.
        self._deadline = None if due is None else max(due, at)
        return self._outbox.take()

    def next_deadline(self) -> float | None:
        """When a `Tick` is due at the latest, in the caller's time; None when only an input can change anything."""
        return None if self._deadline is None else self._deadline + self._skipped_s

    @property
    def blocked(self) -> tuple[str, ...]:
        """Authorities that may hold no lease, as far as this node knows; the topology has them a period later."""
        return self._view.blocked

    @property
    def blocked_by_provider(self) -> tuple[str, ...]:
        """Those of `blocked` that the provider in use blocks."""
        return self._view.provider_blocks

    @property
    def blocked_by_operators(self) -> tuple[str, ...]:
        """Those of `blocked` that operators of this cluster have blocked."""
        return self._view.table.blocks.blocked

    @property
    def shared(self) -> bool:
        """Whether another member is known to have exactly the table of this node, blocks included."""
        return self._view.engine.shared

    @property
    def stage(self) -> Stage:
        """`new`, `seeking`, `member`, `leaving`, `left` or `failed`."""
        return self._life.stage

    @property
    def topology(self) -> TopologySnapshot:
        """The latest snapshot."""
        return self._view.topology.latest

    @property
    def table(self) -> MembershipTable:
        """The merged table; not to be changed from outside."""
        return self._view.table

    @property
    def member(self) -> Member:
        """This node as it sees itself: its present incarnation and status."""
        return self._view.me

    @property
    def suspects(self) -> tuple[str, ...]:
        """Authorities against which an accusation is open here, oldest first."""
        return tuple(suspicion.authority for suspicion in self._view.detector.suspicions)

    def loads(self) -> tuple[tuple[str, int], ...]:
        """Node id and load of each live member whose load is known, in activations, sorted by node id."""
        return self._view.known_loads()

    @property
    def gossip_phase(self) -> str:
        """`diffusing`, `reconciling` or `confirmed`."""
        return self._view.engine.phase

    def check(self) -> None:
        """Asserts the invariants of all machines."""
        self._view.check()
        self._life.check()
        self._join_requests.collisions.check()

    # Time.

    def _advance_time(self, now: float) -> float:
        at, deadline = max(self._now, now - self._skipped_s), self._deadline
        if deadline is not None and now >= deadline + self._skipped_s:
            # Rounding could put a tick that comes exactly in time just before its deadline, again and again.
            at = max(at, deadline)
        allowed_s = self._config.detection.lag_busy_s
        if deadline is not None and at - deadline > allowed_s:
            gap_s = at - deadline - allowed_s
            self._skipped_s += gap_s
            at -= gap_s
            if gap_s >= self._config.detection.lag_wedged_s:
                self._view.lag_s, self._lag_until = gap_s, at + self._config.membership.remove_unreachable_after_s
                self._view.detector.grant_grace(at)
                self._life.after_pause(at)
                self._outbox.publish(NodePaused(gap_s=gap_s))
        if self._lag_until is not None and at >= self._lag_until:
            self._view.lag_s, self._lag_until = 0.0, None
        self._now = self._view.now = max(self._now, at)
        return self._now

    def _earliest(self) -> float | None:
        if not self._in():
            return self._life.next_deadline() if self.stage is SEEKING else None
        view = self._view
        deadlines = (
            view.table.next_deadline(),
            view.detector.next_deadline(),
            view.removal.next_deadline(),
            view.corroboration.next_deadline(),
            view.engine.next_deadline(),
            view.topology.next_deadline(),
            self._anti_entropy.next_deadline(),
            self._life.next_deadline(),
        )
        times = [at for at in deadlines if at is not None]
        return min(times) if times else None

    def _run(self, now: float) -> None:
        """Lets every machine do what is due. A machine whose deadline has not come costs a comparison."""
        life, rounds = self._life, self._periodic
        if life.stage is SEEKING:
            life.seek(now)
        if life.stage in (MEMBER, LEAVING):
            life.answer_for_self(now)
        if life.stage in (MEMBER, LEAVING):
            rounds.detect(now)
            life.hold_ballot(now)
        if life.stage in (MEMBER, LEAVING):
            rounds.gossip(now)
            life.progress_leave(now)
        if life.stage in (MEMBER, LEAVING):
            rounds.publish_topology(now)
            due = self._view.table.next_deadline()
            if due is not None and due <= now:
                self._view.table.expire(now)

    def _in(self) -> bool:
        return self._life.stage in (MEMBER, LEAVING)

    # Handlers: the life of this node.

    def _on_start(self, now: float, start: Start) -> None:
        self._life.start(now, start.seeds, by_record=start.by_record)

    def _on_tick(self, now: float, tick: Tick) -> None:
        """Does nothing itself: `_run` follows every input."""

    def _on_leave_requested(self, now: float, request: LeaveRequested) -> None:
        self._life.leave(now, request.hold_s)

    # Handlers: messages.

    def _on_received(self, now: float, received: Received) -> None:
        handler = self._message_handlers.get(type(received.message))
        if handler is None:
            raise IllegalTransition(f"unknown message {type(received.message).__name__}", authority=received.authority)
        membership = self._config.membership
        problem = within_bounds(received.message, membership.members_max + membership.tombstones_max)
        if problem:
            self._outbox.add(CloseConnection(received.authority, problem, self._outbox.cause))
        elif self.stage not in (NEW, LEFT, FAILED):
            handler(now, received, received.message)

    def _may_talk(self, now: float, received: Received, mark: Mark) -> bool:
        if not self._in() or not self._exchange.admits(now, received, mark):
            return False
        member = self._view.table.get(received.authority)
        if member is not None and member.node_id == received.node_id:
            self._view.detector.evidence.heard(now, received.authority, received.node_id, mark.lag_s)
            self._view.loads.heard(now, received.node_id, mark.load_version, mark.load)
        return True

    def _on_marked(self, handler: Callable[[float, Received, Any], None]) -> Callable[[float, Received, Any], None]:
        def guarded(now: float, received: Received, message: Any) -> None:
            if self._may_talk(now, received, message.mark):
                handler(now, received, message)

        return guarded

    def _on_join_request(self, now: float, received: Received, request: JoinRequest) -> None:
        self._join_requests.receive(now, received, request.member, self.stage)

    def _on_join_accepted(self, now: float, received: Received, accepted: JoinAccepted) -> None:
        self._life.accepted(now, received, accepted)

    def _on_join_refused(self, now: float, received: Received, refused: JoinRefused) -> None:
        self._life.joiner.refused(now, received.authority, received.node_id, refused)

    def _on_verdict(self, now: float, received: Received, verdict: ViewVerdict) -> None:
        self._life.on_verdict(now, received, verdict)

    def _on_probe(self, now: float, received: Received, probe: Probe) -> None:
        if self._may_talk(now, received, probe.mark):
            self._exchange.on_news(now, received, probe.mark, probe.news)
            self._view.detector.on_probe(received, probe)

    def _on_probe_ack(self, now: float, received: Received, ack: ProbeAck) -> None:
        if self._may_talk(now, received, ack.mark):
            if self._view.detector.on_ack(received, ack):
                self._life.ballot.vote(received.authority)
                self._join_requests.collisions.answered(received.authority)
            self._exchange.on_news(now, received, ack.mark, ack.news)

    def _on_probe_request(self, now: float, received: Received, request: ProbeRequest) -> None:
        if self._may_talk(now, received, request.mark):
            self._view.detector.on_request(now, received, request)

    def _on_probe_response(self, now: float, received: Received, response: ProbeResponse) -> None:
        if self._in():
            self._view.detector.on_response(now, received, response)

    # Handlers: evidence and operators.

    def _on_connected(self, now: float, connected: Connected) -> None:
        member = self._view.table.get(connected.authority)
        if member is None or not is_live(member) or member.node_id == connected.node_id:
            self._view.detector.evidence.connected(now, connected.authority, connected.node_id)

    def _on_disconnected(self, now: float, disconnected: Disconnected) -> None:
        member = self._view.table.get(disconnected.authority)
        if member is not None and member.node_id == disconnected.node_id and is_live(member):
            evidence = self._view.detector.evidence
            evidence.disconnected(disconnected.authority, disconnected.node_id, disconnected.reason)
            # A probe makes the driver dial again, which shows whether the process is dead or a packet was lost.
            self._view.detector.prober.urge(disconnected.authority)

    def seed_answers(self) -> dict[str, str]:
        """By contact, its last answer to this node's search for the cluster, or why it could not be asked."""
        return self._life.joiner.told()

    def _on_dial_failed(self, now: float, failed: AuthorityNotReached) -> None:
        self._life.joiner.dial_failed(now, failed.authority, failed.reason, failed.code, failed.detail)
        if self._in():
            self._view.detector.dial_failed(now, failed.authority, failed.reason)

    def _on_authority_answered(self, now: float, answered: AuthorityAnswered) -> None:
        self._life.joiner.answered(answered.authority, answered.node_id, by_us=answered.node_id == self.member.node_id)
        member = self._view.table.get(answered.authority)
        if self.stage is not MEMBER or member is None or not is_live(member):
            return
        if self._view.detector.evidence.answered(answered.authority, answered.node_id, member.node_id):
            # Two nodes cannot hold one port, so this proves the end of the former one; a second source is not needed.
            sources = (self.member.node_id,)
            self._view.make_statement(now, with_status(member, MemberStatus.REMOVED), "replaced", sources)
            self._join_requests.collisions.settled(answered.authority)

    def _on_loop_lag(self, now: float, lag: LoopLag) -> None:
        if self._lag_until is None:
            self._view.lag_s = lag.lag_s
        if lag.lag_s >= self._config.detection.lag_busy_s:
            self._view.detector.health.worse()

    def _on_load_changed(self, now: float, changed: LoadChanged) -> None:
        self._view.loads.set_own(now, min(max(0, changed.load), LOAD_MAX))
