"""Logs which members joined, left, became unreachable or were removed, and doubts and removals of this node.

The lines are for people, in the logger `inaho.membership`: INFO for what is intended, WARNING for what is not. Each
begins with the authority of the node that logs it, since a process may have several. Programs subscribe to the events
instead (`Cluster.events`), of which the lines are made.

A member with an unstable network would fill the log. So of one kind of event about one member only the first
`membership.log_lines_max` within `membership.log_period_s` are logged, and then the number of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from inaho.core.rpc.throttle import WarningThrottle
from inaho.events import (
    AuthorityCollision,
    BlockListChanged,
    DoubtBegan,
    DoubtEnded,
    Event,
    MemberEvent,
    MemberLeaving,
    MemberReachable,
    MemberRemoved,
    MemberUnreachable,
    MemberUp,
    NodePaused,
    SelfRemoved,
    ViewConflict,
    ViewRefused,
)
from inaho.runtime.control.control_plane import ControlPlane
from inaho.runtime.local.local_node import LocalNode

__all__ = ["MEMBERSHIP_LOGGER", "MembershipLog"]

MEMBERSHIP_LOGGER: Final = "inaho.membership"

_REASONS: Final = {
    "dead": "its process has ended",
    "wedged": "its connections are open, but it does not answer",
    "busy": "its event loop is too busy to answer",
    "silent": "it does not answer",
    "view refused": "the view of the other members holds",
    "isolated": "no other member could reach this node",
}
"""Texts for the reasons of events."""

Line = tuple[int, str]
"""Level and text of a log line."""


class MembershipLog:
    """Logs the events of one member's cluster.

    Args:
        local: a member.
        control: its control plane.
        doubted: the number of members that this node doubts now.
    """

    def __init__(self, local: LocalNode, control: ControlPlane, doubted: Callable[[], int]) -> None:
        config = local.config.membership
        self._control = control
        self._doubted = doubted
        self._local = local
        self._log = logging.getLogger(MEMBERSHIP_LOGGER)
        self._lines: dict[type[Event], Callable[[Any], Line | None]] = {
            AuthorityCollision: self._collision,
            BlockListChanged: self._blocked,
            DoubtBegan: self._doubt_began,
            DoubtEnded: self._doubt_ended,
            MemberLeaving: self._leaving,
            MemberReachable: self._reachable,
            MemberRemoved: self._removed,
            MemberUnreachable: self._unreachable,
            MemberUp: self._up,
            NodePaused: self._paused,
            SelfRemoved: self._self_removed,
            ViewConflict: self._conflict,
            ViewRefused: self._view_refused,
        }
        self._period_s = config.log_period_s
        self._throttle = WarningThrottle(config.log_lines_max, config.log_period_s, config.members_max)
        self.close = local.events.subscribe_callback(tuple(self._lines), self._notice)

    def _notice(self, event: Event) -> None:
        line = self._lines[type(event)](event)
        if line is None or not self._log.isEnabledFor(line[0]):
            return
        about = f"{type(event).__name__} of {getattr(event, 'authority', '') or self._local.authority}"
        if not self._throttle.admit(about, self._local.loop.time()):
            return
        if isinstance(event, DoubtBegan):  # it is published before the event that caused it
            self._local.loop.call_soon(self._tell, line)
        else:
            self._tell(line)

    def _tell(self, line: Line) -> None:
        self._log.log(line[0], "%s: %s", self._local.authority, line[1])

    def tick(self, now: float) -> None:
        """Logs how many lines were not logged, once their period is over."""
        for held in self._throttle.due(now):
            self._log.warning(
                "%s: %d further events (%s) within %g s were not logged",
                self._local.authority, held.count, held.kind, self._period_s,
            )  # fmt: skip

    # Members.

    def _is_self(self, event: MemberEvent) -> bool:
        return event.member.node_id == self._local.node_id

    def _up(self, event: MemberUp) -> Line:
        if self._is_self(event):
            did = "founded" if event.reason == "founded" else "joined"
            return (
                logging.INFO,
                f"this node (node {event.member.node_id}) {did} cluster {self._local.config.name!r}",
            )
        kinds = ", ".join(kind for kind in event.member.kinds if not kind.startswith("inaho.")) or "nothing"
        did = "joined" if self._control.is_member else "is a member"
        return logging.INFO, f"{event.authority} (node {event.member.node_id}) {did}; it hosts {kinds}"

    def _leaving(self, event: MemberLeaving) -> Line:
        who = "this node" if self._is_self(event) else event.authority
        return logging.INFO, f"{who} leaves: others take over its grains"

    def _unreachable(self, event: MemberUnreachable) -> Line:
        after_s = self._local.config.membership.remove_unreachable_after_s
        return (
            logging.WARNING,
            f"{event.authority} is unreachable{_why(event.reason)}; others take over its grains, and it is removed "
            f"unless it answers within {after_s:g} s",
        )

    def _reachable(self, event: MemberReachable) -> Line:
        return logging.INFO, f"{event.authority} is reachable again{_why(event.reason)}"

    def _removed(self, event: MemberRemoved) -> Line:
        who = "this node" if self._is_self(event) else event.authority
        if event.reason == "left":
            return logging.INFO, f"{who} left"
        if event.reason == "replaced":
            text = f"{who} (node {event.member.node_id}) is gone: another process has its authority now"
            return logging.WARNING, text
        return logging.WARNING, f"{who} (node {event.member.node_id}) was removed{_why(event.reason)}"

    # This node.

    def _self_removed(self, event: SelfRemoved) -> Line:
        return (
            logging.WARNING,
            f"the other members removed this node{_why(event.reason)}; its activations end, and it joins again",
        )

    def _paused(self, event: NodePaused) -> Line:
        return (
            logging.WARNING,
            f"this process did not run for {event.gap_s:.1f} s (stopped, suspended, or its event loop was blocked); "
            "others may have taken over its grains",
        )

    def _doubt_began(self, event: DoubtBegan) -> Line | None:
        if self._doubted() > 1:  # logged for the first one
            return None
        return (
            logging.INFO,
            f"{event.authority} may have taken over grains that are active here ({event.reason}): until that is "
            f"settled, answers may be {self._local.config.activation.freshness_s:g} s old (activation.freshness_s)",
        )

    def _doubt_ended(self, event: DoubtEnded) -> Line | None:
        if event.outcome == "expired":
            return (
                logging.WARNING,
                f"{event.authority} has not answered for {event.lasted_s:.0f} s and is assumed to be dead "
                "(membership.tombstone_s); if it still runs and saves, answers here may be old",
            )
        if self._doubted():
            return None
        return logging.INFO, f"no member is doubted any more ({event.authority}: {event.outcome})"

    # Views and orders.

    def _collision(self, event: AuthorityCollision) -> Line:
        return (
            logging.WARNING,
            f"a second process (node {event.claimed_by}) claims the authority {event.authority} of node "
            f"{event.node_id} and was refused: give each process an authority of its own",
        )

    def _blocked(self, event: BlockListChanged) -> Line:
        if event.blocked:
            return logging.INFO, f"{event.authority} is blocked: it may hold no grains until it is unblocked"
        return logging.INFO, f"{event.authority} is no longer blocked"

    def _conflict(self, event: ViewConflict) -> Line:
        return (
            logging.WARNING,
            f"this node and {event.authority} have different views of the cluster, and no rule settles which one holds "
            f"({event.reason}): decide with inaho settle",
        )

    def _view_refused(self, event: ViewRefused) -> Line:
        if event.refused == "ours":
            return logging.WARNING, f"the view of {event.authority} holds instead of this node's (rule: {event.rule})"
        return logging.INFO, f"the view of {event.authority} was refused, this node's holds (rule: {event.rule})"

    def check(self) -> None:
        """Asserts the invariants."""
        self._throttle.check()


def _why(reason: str) -> str:
    return f": {_REASONS.get(reason, reason)}" if reason else ""
