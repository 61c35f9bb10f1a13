"""Errors of calls and of placement (SPEC VA-3, CL-6)."""

from __future__ import annotations

from typing import Final

from inaho.errors.base import InahoError

__all__ = [
    "ActivationFailed",
    "Blocked",
    "CallCycle",
    "FrameTooLarge",
    "InvalidArguments",
    "NoSuchKind",
    "NoSuchMethod",
    "Overloaded",
    "OwnershipChanged",
    "Pending",
    "RemoteError",
    "SchemaMismatch",
    "SerializationFailed",
    "ShuttingDown",
    "Timeout",
]


class Timeout(InahoError, TimeoutError):  # noqa: N818  names are the specification's
    """The deadline passed before an answer came. Whether the method ran is unknown."""

    code = "timeout"
    advice = "retry only if the method is idempotent, or allow it more time"
    maybe_executed_default = True


class Blocked(InahoError):
    """The owner is blocked and must not hold activations."""

    code = "blocked"
    advice = "retry after the next topology"


class ShuttingDown(InahoError):
    """The node is leaving and takes no new work; another node takes it."""

    code = "shutting_down"
    advice = "retry; another member takes over"


class OwnershipChanged(InahoError):
    """The node does not own the identity (any more)."""

    code = "ownership_changed"
    advice = "call again; the owner is looked up again"


class NoSuchKind(InahoError):
    """No member of the cluster, or not the member that was called, hosts the kind, and the caller knows only its name.

    If the caller has the class, or a member hosted the kind within `membership.tombstone_s`, the error is
    `TopologyUnavailable` instead: the host may be restarting.
    """

    code = "no_such_kind"
    advice = "pass the class to join(grains=[…]) on at least one member"


class NoSuchMethod(InahoError):
    """The kind has no such method on the node that was called."""

    code = "no_such_method"
    advice = "check the name, and that all nodes run the same release of the class"


class Overloaded(InahoError):
    """A bounded queue is full. The call was refused before it ran."""

    code = "overloaded"
    advice = "slow down, or raise the named bound"


class SchemaMismatch(InahoError):
    """Caller and callee disagree about the method's signature or the schema version."""

    code = "schema_mismatch"
    advice = "deploy the same version of the class on both sides"


class InvalidArguments(InahoError, TypeError):
    """Arguments do not fit the method's signature. The method did not run."""

    code = "invalid_arguments"
    advice = "correct the arguments"


class SerializationFailed(InahoError):
    """A value cannot be encoded or decoded; only this call fails."""

    code = "serialization_failed"
    advice = "use types that msgspec knows, dataclasses or pydantic models"


class FrameTooLarge(SerializationFailed):
    """An encoded message exceeds `transport.frame_bytes_max`."""

    code = "frame_too_large"
    advice = "stream it in parts, or raise transport.frame_bytes_max on every node"


class Pending(InahoError):
    """Another activation of the identity has the lease; try again."""

    code = "pending"
    advice = "retry after a short wait"


class CallCycle(InahoError):
    """The call would wait for a turn that is waiting for this very call. `reason` names the cycle."""

    code = "call_cycle"
    advice = "break the cycle, make the kind reentrant, or use cluster.send, which does not wait for the answer"


class ActivationFailed(InahoError):
    """The grain could not be activated: its state did not load or `on_activate` raised.

    It counts as a failure, also if the exception that `on_activate` raised is registered.
    """

    code = "activation_failed"
    advice = "see the cause; the next call tries again"


class RemoteError(InahoError):
    """An exception of a type that is not registered here was raised by a grain.

    To get the exception itself, register its class in both processes: with `inaho.register_exception`, or by deriving
    it from `inaho.GrainError`.

    Attributes:
        type_name: qualified name of the exception's class where it was raised.
        message: its text.
        remote_traceback: formatted traceback of the callee; may be empty.
    """

    code = "remote_error"
    maybe_executed_default = True
    register: Final = (
        "to catch it as its own class, pass the class to inaho.register_exception, or derive it from inaho.GrainError, "
        "in both processes; its arguments must be serializable and build it again"
    )
    unregistrable: Final = (
        "its class cannot be registered, as it does not derive from Exception, or derives from StopIteration or "
        "StopAsyncIteration; raise another one where the caller is to catch it"
    )

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
        type_name: str = "",
        message: str = "",
        remote_traceback: str = "",
    ) -> None:
        text = reason or ": ".join(part for part in (type_name, message) if part)
        super().__init__(text, identity=identity, authority=authority, maybe_executed=maybe_executed)
        self.type_name = type_name
        if type_name:
            self.advice = self.register
        self.message = message
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.remote_traceback}" if self.remote_traceback else text
