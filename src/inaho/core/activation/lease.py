"""The states of a lease, the right to keep one identity active, and the table of its transitions.

A lease is granted by the owner of the identity's partition to the node that is to host the activation, and carries the
epoch under which that activation may commit. Its states are those of SPEC VA-2. Three of them are ends: a lease is
never revived, the next activation gets a new one with a higher epoch.

    Pending ──> Active ──> Releasing ──> Released
       │           │           │
       ├───────────┴───────────┼──> Revoked      the holder was blocked or removed
       └───────────────────────┴──> TimedOut     nobody answered in time
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from inaho.errors import IllegalTransition
from inaho.types import Epoch

__all__ = ["HOLDING", "TRANSITIONS", "Lease", "LeaseState"]


class LeaseState(enum.Enum):
    """The state of a lease (SPEC VA-2)."""

    PENDING = "pending"
    ACTIVE = "active"
    RELEASING = "releasing"
    RELEASED = "released"
    TIMED_OUT = "timed_out"
    REVOKED = "revoked"

    # Enum hashes the name, in Python. Each activation looks up two states in the table of transitions.
    __hash__ = object.__hash__


TRANSITIONS: Final[Mapping[LeaseState, frozenset[LeaseState]]] = MappingProxyType(
    {
        LeaseState.PENDING: frozenset(
            {LeaseState.ACTIVE, LeaseState.RELEASED, LeaseState.TIMED_OUT, LeaseState.REVOKED}
        ),
        LeaseState.ACTIVE: frozenset({LeaseState.RELEASING, LeaseState.REVOKED}),
        LeaseState.RELEASING: frozenset({LeaseState.RELEASED, LeaseState.TIMED_OUT, LeaseState.REVOKED}),
        LeaseState.RELEASED: frozenset(),
        LeaseState.TIMED_OUT: frozenset(),
        LeaseState.REVOKED: frozenset(),
    }
)
"""Allowed transitions. `Pending` to `Released` is an activation that did not start."""

HOLDING: Final = frozenset({LeaseState.PENDING, LeaseState.ACTIVE, LeaseState.RELEASING})
"""States in which no other node gets the identity."""


class Lease(msgspec.Struct, eq=False, gc=False):
    """One lease. There is one per activation, so it is small and not tracked by the garbage collector: it has no cycle.

    Attributes:
        kind, key: the identity.
        holder: node id of the node that hosts, or is to host, the activation.
        epoch: fencing token of the activation.
        since: when it entered its state, seconds of the caller's clock.
        state: see `LeaseState`.
    """

    kind: str
    key: str
    holder: str
    epoch: Epoch
    since: float
    state: LeaseState = LeaseState.PENDING

    @property
    def holding(self) -> bool:
        """Whether it keeps others out."""
        return self.state in HOLDING

    def move(self, state: LeaseState, now: float) -> None:
        """Enters `state`.

        Raises:
            IllegalTransition: the table does not allow it. Nothing changed.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(
                f"a lease that is {self.state.value} cannot become {state.value}", identity=f"{self.kind}/{self.key}"
            )
        self.state = state
        self.since = now

    def __repr__(self) -> str:
        return f"<Lease {self.kind}/{self.key} {self.state.value} by {self.holder} epoch {self.epoch:#x}>"
