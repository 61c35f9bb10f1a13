"""`@method`: the options of one method, kept on the function until the class is defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from inaho.config import CALL_TIMEOUT_MAX_S
from inaho.errors import InvalidGrain

__all__ = ["OPTIONS", "MethodOptions", "method"]

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: Final = "__inaho_method__"
"""Attribute of a function in which `@method` stores its options."""


class MethodOptions:
    """The options of `@method`; stored on the function."""

    __slots__ = ("attempt_timeout_s", "idempotent", "read_only", "timeout_s")

    def __init__(
        self, *, read_only: bool, idempotent: bool, timeout_s: float | None, attempt_timeout_s: float | None = None
    ) -> None:
        self.read_only = read_only
        self.idempotent = idempotent
        self.timeout_s = timeout_s
        self.attempt_timeout_s = attempt_timeout_s


@overload
def method(function: Function, /) -> Function: ...


@overload
def method(
    *,
    read_only: bool = False,
    idempotent: bool = False,
    timeout: float | None = None,
    attempt_timeout: float | None = None,
) -> Callable[[Function], Function]: ...


def method(
    function: Any = None,
    /,
    *,
    read_only: bool = False,
    idempotent: bool = False,
    timeout: float | None = None,
    attempt_timeout: float | None = None,
) -> Any:
    """Sets options of a grain's method.

    Args:
        read_only: the method changes nothing, so its turns may interleave with other read-only turns, and it is
            idempotent.
        idempotent: running it twice is the same as once, so a call whose outcome is unknown is retried.
        timeout: seconds until a call fails with `Timeout`, above 0, at most 1,000,000; None takes `rpc.timeout_s`.
        attempt_timeout: seconds after which an attempt is given up and, within the rest of `timeout`, another one is
            made, up to `rpc.retry_attempts` (SPEC VA-3.2); above 0, and longer than the method takes. Only for methods
            that are idempotent and no streams. None gives one attempt all the time.

    Raises:
        InvalidGrain: a time-out is out of range, or `attempt_timeout` is given for a method that is not idempotent.
    """
    for name, seconds in (("timeout", timeout), ("attempt_timeout", attempt_timeout)):
        if seconds is not None and not 0 < seconds <= CALL_TIMEOUT_MAX_S:
            raise InvalidGrain(
                f"a method's {name} must be above 0 and at most {CALL_TIMEOUT_MAX_S:.0f} seconds, not {seconds}"
            )
    if attempt_timeout is not None and not (idempotent or read_only):
        raise InvalidGrain("attempt_timeout repeats a call that may have run: the method must be idempotent")
    options = MethodOptions(
        read_only=read_only, idempotent=idempotent, timeout_s=timeout, attempt_timeout_s=attempt_timeout
    )

    def decorate(target: Any) -> Any:
        setattr(target, OPTIONS, options)
        return target

    return decorate if function is None else decorate(function)
