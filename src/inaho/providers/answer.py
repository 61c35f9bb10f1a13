"""Waits for the answer of a back end: with a deadline, and with errors of one kind, whatever the back end does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from inaho.errors import ProviderError, ProviderStreamFailed, ProviderUnreachable
from inaho.errors.inspection import describe

__all__ = ["answer", "unexpected"]

T = TypeVar("T")


async def answer(provider: str, request: Awaitable[T], within_s: float) -> T:
    """The answer.

    Args:
        provider: its name.
        request: one of its methods, called.
        within_s: seconds.

    Raises:
        ProviderError: the back end failed, did not answer in time, or raised what it must not.
    """
    try:
        async with asyncio.timeout(within_s):
            return await request
    except TimeoutError as error:
        raise ProviderUnreachable(f"provider {provider} did not answer within {within_s:g} s") from error
    except (ProviderError, asyncio.CancelledError):
        raise
    except Exception as error:
        raise unexpected(provider, error) from error


def unexpected(provider: str, error: Exception) -> ProviderStreamFailed:
    """The error for one that the back end should not have raised."""
    return ProviderStreamFailed(f"provider {provider} failed with {describe(error)}")
