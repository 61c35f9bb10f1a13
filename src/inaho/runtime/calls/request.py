"""One call or stream that took more than one step, with all that it needs until it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.activation import Scope, Turn
    from inaho.runtime.grains.method import GrainMethod

__all__ = ["Callee", "Request"]


class Callee(Protocol):
    """The attributes of a reference that its calls need."""

    _inaho_host: KindHost
    _inaho_key: str
    _inaho_timeout_s: float | None
    _inaho_retry: bool


class Request:
    """One call with its arguments and its deadline.

    It is made only if the short path is not possible (`reference`): most calls never need it.

    Args:
        callee: the reference.
        method: of its kind.
        arguments: in the order of the method's parameters; not copied.
        scope: the scope of the call; None outside of any.
        deadline: seconds of the loop's clock.

    Attributes:
        host: the kind, as this node knows it.
        key: of the identity.
        retry: whether it is retried if that is safe.
    """

    __slots__ = ("arguments", "deadline", "host", "key", "method", "retry", "scope")

    def __init__(
        self,
        callee: Callee,
        method: GrainMethod,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        deadline: float,
    ) -> None:
        self.host = callee._inaho_host
        self.key = callee._inaho_key
        self.retry = callee._inaho_retry
        self.method = method
        self.arguments = arguments
        self.scope = scope
        self.deadline = deadline

    @property
    def identity(self) -> str:
        """`kind/key`."""
        return f"{self.host.name}/{self.key}"
