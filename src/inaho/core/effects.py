"""What a control plane asks its driver to do: the closed union `Effect`, and the `Outbox` that collects them.

Every effect names the input that led to it (`cause`, such as `n17`), so that a log line can be traced back.
"""

from __future__ import annotations

import msgspec

from inaho.core.messages import ControlMessage
from inaho.events import Event
from inaho.types import TopologySnapshot

__all__ = [
    "ApplyTopology",
    "CloseConnection",
    "Effect",
    "JoinFailed",
    "Joined",
    "Left",
    "Outbox",
    "Publish",
    "Send",
    "StopActivations",
]


class Send(msgspec.Struct, frozen=True):
    """Send to the node at `authority`; dial when there is no connection. The message may be lost."""

    authority: str
    message: ControlMessage
    cause: str = ""


class Publish(msgspec.Struct, frozen=True):
    """Put on the event stream, stamped with the time."""

    event: Event
    cause: str = ""


class ApplyTopology(msgspec.Struct, frozen=True):
    """The members or the block list changed; at most one per `membership.update_period_s`."""

    snapshot: TopologySnapshot
    cause: str = ""


class Joined(msgspec.Struct, frozen=True):
    """This node is a member, for the first time or again after a removal; `founded`: of a cluster of its own."""

    cause: str = ""
    founded: bool = False


class JoinFailed(msgspec.Struct, frozen=True):
    """The join has failed; only a new `ControlNode` can try again."""

    code: str
    reason: str
    cause: str = ""


class Left(msgspec.Struct, frozen=True):
    """The leave is complete and announced. The node does nothing more."""

    cause: str = ""


class StopActivations(msgspec.Struct, frozen=True):
    """Others may already run this node's activations: end all activations without saving. A rejoin follows."""

    reason: str
    cause: str = ""


class CloseConnection(msgspec.Struct, frozen=True):
    """Close the connection with that peer; it broke the protocol or is gone for good."""

    authority: str
    reason: str
    cause: str = ""


Effect = Send | Publish | ApplyTopology | Joined | JoinFailed | Left | StopActivations | CloseConnection


class Outbox:
    """Collects the effects of one step, each with its cause."""

    def __init__(self) -> None:
        self.cause = ""
        self._effects: list[Effect] = []

    def open(self, cause: str) -> None:
        """Starts a step."""
        self.cause = cause
        self._effects = []

    def take(self) -> list[Effect]:
        """Ends a step: its effects in order."""
        effects, self._effects = self._effects, []
        return effects

    def add(self, effect: Effect) -> None:
        """Adds an effect whose cause the caller has set."""
        self._effects.append(effect)

    def send(self, authority: str, message: ControlMessage) -> None:
        """Adds a `Send`."""
        self._effects.append(Send(authority, message, self.cause))

    def publish(self, event: Event) -> None:
        """Adds a `Publish`; the event carries the cause too."""
        self._effects.append(Publish(msgspec.structs.replace(event, cause=self.cause), self.cause))
