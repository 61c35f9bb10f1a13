"""The one tree of errors.

Every error says what happened (`reason`), to which identity or authority, whether the call may have run
(`maybe_executed`, what a caller must know before it tries again) and what to do about it (`advice`). `code` is
stable and is what crosses the wire, so that a caller in another process catches the same class.

Why one flat tree and not builtin exceptions: a retry policy, an alert and a person all ask the same three
questions, and can only ask them of a type that answers. Errors of connections and membership are in `errors_cluster`,
and are named here too.
"""

from __future__ import annotations

from typing import Final

from inaho.errors_cluster import (
    AuthenticationFailed,
    AuthorityInUse,
    IllegalTransition,
    InahoError,
    InvalidPid,
    JoinRefused,
    ProtocolViolation,
    Quarantined,
    SettingsMismatch,
    TopologyUnavailable,
    Unreachable,
    VersionMismatch,
    WrongCluster,
    WrongIncarnation,
)

__all__ = [
    "ActivationFailed",
    "ActorFailed",
    "ActorStopped",
    "AuthenticationFailed",
    "AuthorityInUse",
    "Blocked",
    "BridgeCreateFailed",
    "CallCycle",
    "FrameTooLarge",
    "IllegalTransition",
    "InahoError",
    "InvalidArguments",
    "InvalidConfig",
    "InvalidGrain",
    "InvalidPid",
    "JoinRefused",
    "MailboxFull",
    "MetricsOff",
    "NameInUse",
    "NoSuchKind",
    "NoSuchMethod",
    "Overloaded",
    "OwnershipChanged",
    "Pending",
    "ProtocolViolation",
    "Quarantined",
    "RemoteError",
    "SchemaMismatch",
    "SerializationFailed",
    "SettingsMismatch",
    "ShuttingDown",
    "StateConflict",
    "StateMissing",
    "StateTooLarge",
    "StatusStore",
    "StorageFailed",
    "StorageLost",
    "Timeout",
    "TopologyUnavailable",
    "Unreachable",
    "VersionMismatch",
    "WrongCluster",
    "WrongIncarnation",
    "error_from_code",
]


# Calls and placement (SPEC VA-3, CL-6).


class Timeout(InahoError, TimeoutError):  # noqa: N818  names are the specification's
    """The deadline passed before an answer came. Whether the method ran is unknown."""

    code = "timeout"
    advice = "retry only if the method is idempotent, or allow it more time"
    maybe_executed_default = True


class Blocked(InahoError):
    """The owner is on the block list and may hold no activation."""

    code = "blocked"
    advice = "retry after the next topology"


class ShuttingDown(InahoError):
    """The node is leaving and takes no new work; another node will."""

    code = "shutting_down"
    advice = "retry; another member takes over"


class OwnershipChanged(InahoError):
    """The node that was asked does not own the identity (any more)."""

    code = "ownership_changed"
    advice = "call again; the owner is looked up anew"


class NoSuchKind(InahoError):
    """No member of the cluster, or not the member that was asked, hosts the kind, and the caller knows only its name.

    Where the caller has the class, or a member hosted the kind a while ago (`membership.tombstone_s`), it is
    `TopologyUnavailable` instead: the host may be restarting.
    """

    code = "no_such_kind"
    advice = "pass the class to join(grains=[…]) on at least one member"


class NoSuchMethod(InahoError):
    """The kind has no such method on the node that was asked."""

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
    """The activation lease is being granted to someone else; ask again."""

    code = "pending"
    advice = "retry after a short wait"


class CallCycle(InahoError):
    """The call would wait for a turn that is waiting for this very call. `reason` names the cycle."""

    code = "call_cycle"
    advice = "break the cycle, make the kind reentrant, or use cluster.send, which does not wait for the answer"


class ActivationFailed(InahoError):
    """The grain could not be activated: its state did not load or `on_activate` raised.

    It counts as a failure, also where the exception that `on_activate` raised is registered.
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
        "in both processes; its arguments must be serializable and build it anew"
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


# State (SPEC CL-5, DESIGN "Leases and fencing").


class StorageFailed(InahoError):
    """The storage did not answer or refused. Whether a save was committed is unknown."""

    code = "storage_failed"
    advice = "check the storage; load again before saving"
    maybe_executed_default = True


class StateConflict(InahoError):
    """A conditional save lost: another activation has saved since, or holds a newer epoch.

    Attributes:
        stored_version: the version that the storage has for the identity, 0 for nothing; None when it is not known, as
            in an error that came from another node.
        stored_epoch: the epoch of who wrote last, 0 where nothing is stored; None when it is not known.
    """

    code = "state_conflict"
    advice = "the activation is stale; call again to reach its successor"
    stored_version: int | None = None
    stored_epoch: int | None = None

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
        stored_version: int | None = None,
        stored_epoch: int | None = None,
    ) -> None:
        super().__init__(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
        self.stored_version = stored_version
        self.stored_epoch = stored_epoch


class StateMissing(InahoError):
    """The last owner had saved state that this node does not find: the nodes do not share one storage (SPEC CL-5)."""

    code = "state_missing"
    advice = "give all members the same storage; the activation is refused rather than begun with an empty state"


class StorageLost(StateMissing):
    """The storage has lost what it had acknowledged: it came back empty, or as an old backup has it.

    Every operation on it is refused until an operator accepts what is there: `Cluster.accept_storage`.
    """

    code = "storage_lost"
    advice = "bring back the newest data, or accept what is there with `inaho storage accept`"


class StateTooLarge(StorageFailed):
    """An encoded state exceeds `storage.data_bytes_max`. Nothing was sent to the storage."""

    code = "state_too_large"
    advice = "keep less in one grain, or raise storage.data_bytes_max"
    maybe_executed_default = False


# Installation (SPEC BS-1) and definitions.


class InvalidConfig(InahoError, ValueError):
    """A setting is missing, unknown or out of range; `reason` names it and its bounds."""

    code = "invalid_config"


class InvalidGrain(InahoError, TypeError):
    """A grain class cannot be served: a signature or type in it cannot cross the wire."""

    code = "invalid_grain"


class BridgeCreateFailed(InahoError):
    """The partition bridge could not be created; nothing was enabled."""

    code = "bridge_create_failed"


class StatusStore(InahoError):
    """The bootstrap status store failed, which blocks the start."""

    code = "status_store"


# The local actor system.


class MetricsOff(InahoError):
    """Figures were asked of a node that keeps none: `metrics.enabled` is off (SPEC CL-10.4). Events still flow."""

    code = "metrics_off"
    advice = "set metrics.enabled, or subscribe to events"


class NameInUse(InahoError):
    """A sibling actor or an extension of that name exists; it stays as it was."""

    code = "name_in_use"
    advice = "choose another name, or wait for the other to terminate"


class MailboxFull(Overloaded):
    """The actor's bounded mailbox refused the message."""

    code = "mailbox_full"
    advice = "slow down, or raise the mailbox's capacity"


class ActorStopped(InahoError):
    """The actor that was asked has stopped, or stops before it comes to the message."""

    code = "actor_stopped"
    advice = "watch the actor to learn of its end, and ask its successor"


class ActorFailed(InahoError):
    """The actor raised while it worked on the message; `__cause__` has its exception."""

    code = "actor_failed"
    advice = "see the cause"
    maybe_executed_default = True


def _collect(kind: type[InahoError], table: dict[str, type[InahoError]]) -> dict[str, type[InahoError]]:
    table[kind.code] = kind
    for child in kind.__subclasses__():
        _collect(child, table)
    return table


_BY_CODE: Final = _collect(InahoError, {})


def error_from_code(
    code: str, reason: str, *, identity: str = "", authority: str = "", maybe_executed: bool = False
) -> InahoError:
    """Builds the error of `code`, as received from a peer; an unknown code becomes `RemoteError`."""
    kind = _BY_CODE.get(code)
    if kind is None:
        reason = f"unknown error code {code!r}: {reason}"
        return RemoteError(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
    return kind(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
