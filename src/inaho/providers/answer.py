"""Asks a back end, with a deadline, and with errors of one kind, whatever the back end does.

The method is called here too, because one that a program has written may fail before there is anything to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from inaho.errors import ProviderError, ProviderStreamFailed, ProviderUnreachable
from inaho.errors.inspection import describe

__all__ = ["answer", "is_cancelled", "unexpected"]

P = ParamSpec("P")
T = TypeVar("T")


async def answer(
    provider: str, within_s: float, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """The answer.

    Args:
        provider: its name.
        within_s: seconds.
        ask: one of its methods.
        args, kwargs: for that method.

    Raises:
        ProviderError: the back end failed, did not answer in time, or raised what it must not.
    """
    try:
        async with asyncio.timeout(within_s):
            return await ask(*args, **kwargs)
    except TimeoutError as error:
        raise ProviderUnreachable(f"provider {provider} did not answer within {within_s:g} s") from error
    except ProviderError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        raise unexpected(provider, error) from error


def is_cancelled(error: BaseException) -> bool:
    """Whether the error means that the running Task is cancelled. A back end may raise it on its own."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


def unexpected(provider: str, error: BaseException) -> ProviderStreamFailed:
    """The error for one that the back end should not have raised."""
    return ProviderStreamFailed(f"provider {provider} failed with {describe(error)}")
