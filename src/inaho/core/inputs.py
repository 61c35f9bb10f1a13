"""What a control plane is told: the closed union `Input`.

Only `Start`, `Tick`, `Received` and `LeaveRequested` are needed for correctness. The others are evidence that a driver
has anyway (a connection was reset, a dial was refused). They make detection faster and reasons more exact.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from inaho.core.messages import ControlMessage
from inaho.types import Member

__all__ = [
    "AuthorityAnswered",
    "AuthorityNotReached",
    "BlockNode",
    "Connected",
    "Disconnected",
    "Discovered",
    "Drained",
    "FoundCluster",
    "Input",
    "LeaveRequested",
    "LoadChanged",
    "LoopLag",
    "ProviderBlocks",
    "ProviderMembers",
    "RandomSource",
    "Received",
    "ResolveConflict",
    "Start",
    "Tick",
    "UnblockNode",
]

Item = TypeVar("Item")


class RandomSource(Protocol):
    """Injected randomness: one seeded `random.Random` per node satisfies it."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def shuffle(self, items: MutableSequence[Any], /) -> None:
        """Shuffles in place."""
        ...

    def sample(self, population: Sequence[Item], /, k: int) -> list[Item]:
        """`k` distinct items."""
        ...


class Start(msgspec.Struct, frozen=True):
    """Begin to join through `seeds`, or found the cluster when they name nobody else.

    Attributes:
        seeds: as configured.
        by_record: a provider with a durable record decides who founds: this node waits for `FoundCluster`, or for a
            contact that admits it, whatever its seeds are. This holds for later searches of this node too.
    """

    seeds: tuple[str, ...] = ()
    by_record: bool = False


class Discovered(msgspec.Struct, frozen=True):
    """The authorities that the provider in use lists; replaces those of the last `Discovered`.

    Give the first one before `Start`: a node without seeds founds a cluster at once if it knows no other authority.

    Attributes:
        authorities: in the order in which to ask them; this node's own may be among them. Those beyond
            `membership.members_max` are not used.
    """

    authorities: tuple[str, ...]


class FoundCluster(msgspec.Struct, frozen=True):
    """This node has won the record of the cluster: it founds at once if it still looks for a cluster."""


class ProviderBlocks(msgspec.Struct, frozen=True):
    """Authorities that the provider in use blocks; replaces those of the last `ProviderBlocks`. Sorted."""

    authorities: tuple[str, ...]


class ProviderMembers(msgspec.Struct, frozen=True):
    """The provider in use is the membership (`membership.source = "provider"`), and these are the members.

    Give the first one before `Start`, and one for each change: until it is listed, a node neither joins nor founds. It
    has no effect where gossip decides.

    Attributes:
        members: sorted by authority. The incarnation of one that no member has admitted yet is 0; the status is not
            used. Those beyond `membership.members_max` are not used.
    """

    members: tuple[Member, ...]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed; sent no later than `next_deadline()`."""


class Received(msgspec.Struct, frozen=True):
    """A message from an authenticated peer; its connection names the peer."""

    authority: str
    node_id: str
    message: ControlMessage


class Connected(msgspec.Struct, frozen=True):
    """A connection to that node is open, whoever dialled."""

    authority: str
    node_id: str


class Disconnected(msgspec.Struct, frozen=True):
    """The last connection to that node ended: `reset`, `closed`, `refused_handshake`, …"""

    authority: str
    node_id: str
    reason: str


class AuthorityNotReached(msgspec.Struct, frozen=True):
    """A dial of that authority failed.

    Attributes:
        authority: that was dialled.
        reason: `refused`, `timeout`, `handshake`, `other`.
        code: of the error with which a handshake was refused, on either side; empty for all else.
        detail: what happened, for people.
    """

    authority: str
    reason: str
    code: str = ""
    detail: str = ""


class AuthorityAnswered(msgspec.Struct, frozen=True):
    """A dial of that authority reached this node id. Another one than expected proves that the old one is gone."""

    authority: str
    node_id: str


class LeaveRequested(msgspec.Struct, frozen=True):
    """Leave. The node stays `LEAVING` until `Drained`, at most for `hold_s` seconds; 0 does not wait."""

    hold_s: float = 0.0


class Drained(msgspec.Struct, frozen=True):
    """No activation or message is left that a leave should wait for."""


class LoopLag(msgspec.Struct, frozen=True):
    """Measured lag of the event loop, seconds."""

    lag_s: float


class LoadChanged(msgspec.Struct, frozen=True):
    """This node's load: its activations, 0 or more. Sent to the others when it has changed by more than a tenth."""

    load: int


class ResolveConflict(msgspec.Struct, frozen=True):
    """An operator decides between conflicting views: keep this node's view, or join the view of `authority`."""

    authority: str
    keep: bool


class BlockNode(msgspec.Struct, frozen=True):
    """An operator blocks that authority: it must not hold activations."""

    authority: str


class UnblockNode(msgspec.Struct, frozen=True):
    """An operator ends a block."""

    authority: str


Input = (
    Start
    | Tick
    | Received
    | Connected
    | Disconnected
    | AuthorityNotReached
    | AuthorityAnswered
    | LeaveRequested
    | Discovered
    | FoundCluster
    | ProviderMembers
    | Drained
    | LoopLag
    | LoadChanged
    | ResolveConflict
    | ProviderBlocks
    | BlockNode
    | UnblockNode
)
