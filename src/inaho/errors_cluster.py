"""Errors of connections and membership, and the base of all; those of what runs on them are in `errors`."""

from __future__ import annotations

from typing import Any, ClassVar, Final, TypeGuard, TypeVar

__all__ = [
    "AuthenticationFailed",
    "AuthorityInUse",
    "IllegalTransition",
    "InahoError",
    "InvalidPid",
    "JoinRefused",
    "ProtocolViolation",
    "Quarantined",
    "SettingsMismatch",
    "TopologyUnavailable",
    "Unreachable",
    "VersionMismatch",
    "WrongCluster",
    "WrongIncarnation",
    "add_note",
    "describe",
    "fields_of",
    "is_a",
    "text_of",
]

Error = TypeVar("Error", bound=BaseException)

TEXT_CHARS_MAX: Final = 4_096
"""Characters of the text of an exception that are kept."""


class InahoError(Exception):
    """Base of everything that inaho raises.

    Args:
        reason: what happened, one sentence that a person can act on.
        identity: the grain or actor concerned, as `Kind/key` or a path; empty when none is.
        authority: the node concerned, as `host:port`; empty when none is.
        maybe_executed: whether the work may have run. `None` takes the default of the class.
    """

    code: ClassVar[str] = "error"
    advice: str = ""
    maybe_executed_default: ClassVar[bool] = False
    reason: str = ""  # for a subclass of the user's whose constructor does not call this one
    identity: str = ""
    authority: str = ""
    maybe_executed: bool = False

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.identity = identity
        self.authority = authority
        self.maybe_executed = self.maybe_executed_default if maybe_executed is None else maybe_executed

    def __str__(self) -> str:
        where = " at ".join(part for part in (self.identity, self.authority) if part)
        reason = self.reason or type(self).__name__
        text = f"{where}: {reason}" if where else reason
        if self.maybe_executed:
            text += " (the call may have run)"
        return f"{text}; {self.advice}" if self.advice else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def is_a(error: BaseException, kind: type[Error] | tuple[type[Error], ...]) -> TypeGuard[Error]:
    """As `isinstance`, which asks the class of the user's for `__class__` and raises what that raises."""
    return issubclass(type(error), kind)


_FIELDS: Final = vars(BaseException)["__dict__"]


def fields_of(error: BaseException) -> dict[str, Any]:
    """Its `__dict__`, to read and to change, whatever its class does with attributes: one may refuse to set any."""
    fields: dict[str, Any] = _FIELDS.__get__(error)
    return fields


def add_note(error: BaseException, note: str) -> None:
    """As `BaseException.add_note`, which asks the class to set an attribute."""
    fields = fields_of(error)
    notes: Any = fields.get("__notes__")
    fields["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


def text_of(error: BaseException) -> str:
    """The text of an exception, cut to a bound, whatever its `__str__` does."""
    try:
        return str.__str__(str(error))[:TEXT_CHARS_MAX]
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a user's __str__ may do anything; the call still gets its answer
        return f"<the text of this exception could not be had: {type(broken).__name__}>"


def describe(error: BaseException) -> str:
    """What an exception says, for logs and reasons: its class and its text, which may be empty.

    Some of Python's own say nothing: the `TimeoutError` of `asyncio.timeout`, `CancelledError`, `ConnectionResetError`.
    """
    name, text = type(error).__name__, text_of(error).strip()
    if text:
        return f"{name}: {text}"
    if is_a(error, TimeoutError):
        return f"{name}: no answer in time"
    return name


def _rebuild(kind: type[InahoError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> InahoError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


# Connections and membership (SPEC CL-1, CL-4, CL-6.1).


class ProtocolViolation(InahoError):
    """The peer sent bytes that no correct node sends."""

    code = "protocol_violation"
    advice = "check that the peer is an inaho node of a compatible release"


class AuthenticationFailed(InahoError):
    """The peer could not prove that it knows the cluster's secret, or TLS failed."""

    code = "authentication_failed"
    advice = "use the same secret or certificate authority on every node"


class WrongCluster(InahoError):
    """The peer belongs to a cluster of another name."""

    code = "wrong_cluster"
    advice = "use the same cluster name on every node"


class WrongIncarnation(InahoError):
    """The process that was looked for is gone: another one lives at its authority (SPEC CL-4.1).

    Attributes:
        node_id: of the process that answered, proven by its handshake; empty when nothing proved it.
    """

    code = "wrong_incarnation"
    advice = "forget the old node; dial again without expecting it"
    node_id: str = ""

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
        node_id: str = "",
    ) -> None:
        super().__init__(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
        self.node_id = node_id


class VersionMismatch(InahoError):
    """No protocol or schema version in common with the peer."""

    code = "version_mismatch"
    advice = (
        "run releases with a version in common on all nodes and clients of a cluster; coming from 0.1, end all nodes "
        "before the first one of the new release starts"
    )


class JoinRefused(InahoError):
    """The cluster did not admit this node."""

    code = "join_refused"
    advice = "see the reason"


class SettingsMismatch(JoinRefused):
    """A setting that must be equal on all members differs from the peer's; `reason` has both values."""

    code = "settings_mismatch"
    advice = "give all members the same value; to change it, end all members first"


class AuthorityInUse(InahoError):
    """The address to bind is taken."""

    code = "authority_in_use"
    advice = "choose another port, or end the process that holds it"


class TopologyUnavailable(InahoError):
    """No topology (no seed answered, or every provider is gone), or nobody in it may take the identity now.

    A call that meets it did not run, and is tried again until its deadline: a host of the kind may come back.
    """

    code = "topology_unavailable"
    advice = "check the seeds and the network, and that a member with the role hosts the kind"


class IllegalTransition(InahoError):
    """A state machine was asked for a transition that its table does not allow. Nothing changed."""

    code = "illegal_transition"


class InvalidPid(InahoError):
    """A Pid or path does not parse; `reason` names the part."""

    code = "invalid_pid"


class Unreachable(InahoError):
    """No connection to the node, or it broke. `maybe_executed` tells whether the call had been sent."""

    code = "unreachable"
    advice = "retry when the membership has settled"


class Quarantined(InahoError):
    """The authority is quarantined; nothing is sent to it until it is released."""

    code = "quarantined"
    advice = "wait for the release, or release it by hand"
