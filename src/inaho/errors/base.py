"""`InahoError`, the base class of every error.

A retry policy, an alert and a person all ask the same three questions: what happened, may the call have run, and what
to do about it. This class answers them; a builtin exception does not.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["InahoError"]


class InahoError(Exception):
    """Base of everything that inaho raises.

    Args:
        reason: what happened, in one sentence, so that a person knows what to do.
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


def _rebuild(kind: type[InahoError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> InahoError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error
