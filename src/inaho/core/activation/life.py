"""The states of one activation, the table of its transitions, and the reasons for which it ends.

Only an activation that is `ACTIVE` runs new calls. In all other states its calls wait, in the order in which they came;
calls that run already go on to their end. So whatever must happen between two calls has two states: one in which it
waits until no call runs (`RESET_DUE`, `ENDING`), and one in which it is done (`RESETTING`, `DEACTIVATING`).

Several things may be due at once: a call has failed, another node has saved, and the activation is to move. They are
remembered beside the state (`failure`, `unproved`, `reason`), and the table names the states that may follow in the
order in which they are to be done: a reset before the end, so that `on_deactivate` finds what was saved; the end before
a proof, since the next activation loads anyway.

Why not flags alone, one per thing that is due: each module that sets one has to know all others, and a combination that
nobody has thought of is no error. Here it is one: `step` refuses what the table does not have.

An activation that is idle, or runs calls with nothing due, has no `ActivationLife`: it is `ACTIVE`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from inaho.errors import IllegalTransition

__all__ = [
    "REASONS",
    "TRANSITIONS",
    "ActivationEvent",
    "ActivationLife",
    "ActivationState",
    "Reason",
    "ReasonRule",
    "rule_of",
]


class ActivationState(enum.Enum):
    """Where an activation is in its life."""

    ACTIVATING = "activating"
    """Its previous owner releases it, its state is loaded, and `on_activate` runs."""
    ACTIVE = "active"
    """It takes calls."""
    UNPROVED = "unproved"
    """It takes calls again when its version has been compared with the stored one."""
    RESET_DUE = "reset due"
    """A call has failed. When no call runs, the state is loaded as it was saved last."""
    RESETTING = "resetting"
    """The state is loaded again."""
    ENDING = "ending"
    """It ends when no call runs."""
    DEACTIVATING = "deactivating"
    """Its streams end, and `on_deactivate` runs."""
    GONE = "gone"
    """It is no activation any more. The next call makes another."""


class ActivationEvent(enum.Enum):
    """What moves an activation from one state to another."""

    UP = "up"
    """State is loaded and `on_activate` has returned."""
    FAILED = "failed"
    """It did not come up, or the program ends during a reset. `on_deactivate` does not run."""
    END = "end"
    """It is to end, for a reason. The first reason counts."""
    AT_REST = "at rest"
    """No call runs any more."""
    DEACTIVATED = "deactivated"
    """Streams have ended and `on_deactivate` has returned, raised, or was cancelled."""
    TURN_FAILED = "turn failed"
    """A call of a kind with `on_failure="reset"` has failed."""
    RESET_DONE = "reset done"
    RESET_FAILED = "reset failed"
    """What was saved cannot be loaded, so the activation ends, and its state is not saved."""
    PROOF_REQUIRED = "proof required"
    """Another node may have saved a newer state."""
    PROVED = "proved"
    """No other node has, or answers are given unproved because the storage does not answer."""
    GIVEN_UP = "given up"
    """What it is doing has taken longer than `activation.lease_pending_s`."""


_S = ActivationState
_E = ActivationEvent

TRANSITIONS: Final[Mapping[ActivationState, Mapping[ActivationEvent, tuple[ActivationState, ...]]]] = MappingProxyType(
    {
        _S.ACTIVATING: {
            _E.UP: (_S.ENDING, _S.UNPROVED, _S.ACTIVE),
            _E.FAILED: (_S.GONE,),
            _E.GIVEN_UP: (_S.GONE,),
            _E.END: (_S.ACTIVATING,),
            _E.PROOF_REQUIRED: (_S.ACTIVATING,),
            _E.PROVED: (_S.ACTIVATING,),
        },
        _S.ACTIVE: {
            _E.END: (_S.ENDING,),
            _E.TURN_FAILED: (_S.RESET_DUE,),
            _E.PROOF_REQUIRED: (_S.UNPROVED,),
        },
        _S.UNPROVED: {
            _E.PROVED: (_S.ACTIVE,),
            _E.END: (_S.ENDING,),
            _E.TURN_FAILED: (_S.RESET_DUE,),
            _E.PROOF_REQUIRED: (_S.UNPROVED,),
        },
        _S.RESET_DUE: {
            _E.AT_REST: (_S.RESETTING,),
            _E.END: (_S.RESET_DUE, _S.ENDING),
            _E.TURN_FAILED: (_S.RESET_DUE,),
            _E.PROOF_REQUIRED: (_S.RESET_DUE,),
            _E.PROVED: (_S.RESET_DUE,),
        },
        _S.RESETTING: {
            _E.RESET_DONE: (_S.ENDING, _S.UNPROVED, _S.ACTIVE),
            _E.RESET_FAILED: (_S.ENDING,),
            _E.GIVEN_UP: (_S.ENDING,),
            _E.FAILED: (_S.GONE,),
            _E.END: (_S.RESETTING,),
            _E.TURN_FAILED: (_S.RESETTING,),
            _E.PROOF_REQUIRED: (_S.RESETTING,),
            _E.PROVED: (_S.RESETTING,),
        },
        _S.ENDING: {
            _E.AT_REST: (_S.DEACTIVATING,),
            _E.TURN_FAILED: (_S.RESET_DUE, _S.ENDING),
            _E.END: (_S.ENDING,),
            _E.PROOF_REQUIRED: (_S.ENDING,),
            _E.PROVED: (_S.ENDING,),
        },
        _S.DEACTIVATING: {
            _E.DEACTIVATED: (_S.GONE,),
            _E.GIVEN_UP: (_S.GONE,),
            _E.END: (_S.DEACTIVATING,),
            _E.TURN_FAILED: (_S.DEACTIVATING,),
            _E.PROOF_REQUIRED: (_S.DEACTIVATING,),
            _E.PROVED: (_S.DEACTIVATING,),
        },
        _S.GONE: {},
    }
)
"""What may follow in each state. Where several states are named, the first one that is due is entered: `RESET_DUE`
after a failed call, `ENDING` once there is a reason, `UNPROVED` while a proof is required; else the last one."""

WAITING_FOR_REST: Final = frozenset(state for state, events in TRANSITIONS.items() if _E.AT_REST in events)
"""States that are left when no call runs any more."""

AT_WORK: Final = frozenset({_S.ACTIVATING, _S.RESETTING, _S.DEACTIVATING})
"""States in which no call runs, but code that brings the activation up, down, or back to its saved state."""


Reason = Literal["idle", "requested", "moved", "shutdown", "failed", "stale", "removed"]
"""Why an activation ends. `on_deactivate` gets it as text; for `removed` it gets why other nodes removed this one."""


class ReasonRule(msgspec.Struct, frozen=True):
    """What follows from the reason for which an activation ends.

    Attributes:
        save: `save()` in `on_deactivate` may succeed. Where it cannot, another activation has saved, or may; or a call
            failed half-way.
        reset: a reset that is due is done before the end, so that `on_deactivate` finds what was saved.
        calls_first: where `on_activate` asks for it, the calls that may run next run before the end. Without that, a
            successor would ask for the same, and no call would ever run.
        waiting: where the calls go that wait: to the next activation `here`, or `elsewhere` (they are refused without
            having run, and their callers look for the new owner).
    """

    save: bool
    reset: bool
    calls_first: bool
    waiting: Literal["here", "elsewhere"]


REASONS: Final[Mapping[Reason, ReasonRule]] = MappingProxyType(
    {
        # Nobody has called it for `idle_ttl_s`.
        "idle": ReasonRule(save=True, reset=True, calls_first=False, waiting="here"),
        # `Grain.deactivate`.
        "requested": ReasonRule(save=True, reset=True, calls_first=True, waiting="here"),
        # Another node owns it.
        "moved": ReasonRule(save=True, reset=True, calls_first=False, waiting="elsewhere"),
        # This node leaves.
        "shutdown": ReasonRule(save=True, reset=True, calls_first=False, waiting="elsewhere"),
        # A call failed and `on_failure` is "stop", or a reset failed: what is in memory is half changed.
        "failed": ReasonRule(save=False, reset=True, calls_first=False, waiting="here"),
        # Another activation has saved, or what was saved is not known.
        "stale": ReasonRule(save=False, reset=False, calls_first=False, waiting="here"),
        # Other nodes have removed this one, so all of its leases are revoked.
        "removed": ReasonRule(save=False, reset=True, calls_first=False, waiting="elsewhere"),
    }
)
"""What follows from each reason."""

_RULES: Final[dict[str, ReasonRule]] = {reason: rule for reason, rule in REASONS.items()}  # noqa: C416


def rule_of(reason: str) -> ReasonRule:
    """The rule of a reason as `on_deactivate` gets it. Any text that is no `Reason` says why this node was removed."""
    return _RULES.get(reason, REASONS["removed"])


class ActivationLife(msgspec.Struct, eq=False, gc=False):
    """Where one activation is in its life, and what is due.

    Attributes:
        state: see `ActivationState`.
        reason: why it ends, or is to end; empty while it does not.
        failure: of the call after which its state is to be loaded again: the method, and how it failed.
        unproved: a proof is required, in whatever state.
    """

    state: ActivationState = ActivationState.ACTIVE
    reason: str = ""
    failure: tuple[str, str] | None = None
    unproved: bool = False

    def step(
        self, event: ActivationEvent, *, reason: str = "", failure: tuple[str, str] | None = None
    ) -> ActivationState:
        """Takes an event.

        Args:
            event: what has happened.
            reason: of an `END`, as `on_deactivate` is to get it; not empty then.
            failure: of a `TURN_FAILED`: the method, and how it failed.

        Returns:
            The state that was entered; it may be the same as before.

        Raises:
            IllegalTransition: the table does not allow it. Nothing changed.
        """
        state = self.state
        targets = TRANSITIONS[state].get(event)
        if targets is None:
            raise IllegalTransition(f"an activation that is {state.value} cannot take the event {event.value!r}")
        match event:
            case ActivationEvent.END:
                self.reason = self.reason or reason
            case ActivationEvent.TURN_FAILED if state not in AT_WORK:
                self.failure = self.failure or failure
            case ActivationEvent.PROOF_REQUIRED:
                self.unproved = self.unproved or not self.reason
            case ActivationEvent.PROVED:
                self.unproved = False
            case ActivationEvent.RESET_FAILED | ActivationEvent.GIVEN_UP if state is ActivationState.RESETTING:
                self.reason = self.reason or "failed"
            case _:
                pass
        self.state = next((target for target in targets[:-1] if self._is_due(target)), targets[-1])
        if self.state is ActivationState.RESETTING:
            self.failure = None  # the load that begins now undoes what any call has left
        return self.state

    def _is_due(self, target: ActivationState) -> bool:
        if target is ActivationState.RESET_DUE:
            return self.failure is not None and (not self.reason or rule_of(self.reason).reset)
        if target is ActivationState.ENDING:
            return bool(self.reason)
        return self.unproved

    def check(self) -> None:
        """Asserts the invariants: what is due is due in this state, and nothing is due in an active one."""
        state, reason = self.state, self.reason
        if state is ActivationState.ACTIVE:
            assert not reason and self.failure is None and not self.unproved, "an active activation has something due"
        if state is ActivationState.UNPROVED:
            assert self.unproved and not reason and self.failure is None, "it waits for a proof that is not due"
        if state is ActivationState.RESET_DUE:
            assert self._is_due(state), "it waits for a reset that is not due"
        if state in (ActivationState.ENDING, ActivationState.DEACTIVATING):
            assert reason, f"it is {state.value} without a reason"
        if state is ActivationState.ENDING:
            assert not self._is_due(ActivationState.RESET_DUE), "it ends before the reset that is due"
        if state in (ActivationState.ACTIVATING, ActivationState.RESETTING):
            assert self.failure is None, f"it is {state.value} and remembers a failed call"
