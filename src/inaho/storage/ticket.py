"""A request to a storage from the moment that it is queued until its caller has the result."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Ticket"]

Request = TypeVar("Request")
Result = TypeVar("Result")


class Ticket(Generic[Request, Result]):
    """A request on its way.

    Attributes:
        key: of the record; None if no caller will ask whether a request about it runs.
        request: what is asked.
        size: bytes that it takes in the queue.
        expires_at: seconds of the loop's clock after which it need not begin.
        future: for the result.
        abandoned: its caller was cancelled, so it need not begin.
    """

    __slots__ = ("abandoned", "expires_at", "future", "key", "request", "size")

    def __init__(
        self, key: Hashable, request: Request, size: int, expires_at: float, future: asyncio.Future[Result]
    ) -> None:
        self.key = key
        self.request = request
        self.size = size
        self.expires_at = expires_at
        self.future = future
        self.abandoned = False
