"""Faults that a test turns on: answers with an error, slow answers, no answers, watches that wake for nothing."""

from __future__ import annotations

import asyncio
import re

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What happens to requests.

    Attributes:
        path: a regular expression that is searched in the method and the path, such as `PUT /v1/session`.
        status: the answer is this error.
        delay_s: it comes so much later.
        silent: it never comes.
        held: it is made at once, and held back until the faults are cleared.
        times: how many requests have this fault; 0 for all.
    """

    path: str = ""
    status: int = 0
    delay_s: float = 0.0
    silent: bool = False
    held: bool = False
    times: int = 0


class Faults:
    """The faults that are on, the oldest first; the first that fits a request is used.

    Attributes:
        early_wakes: blocking queries answer at once.
        index_zero: answers say that the index is 0.
        requests: how often each request was made, without what is after the prefix of its kind.
    """

    def __init__(self) -> None:
        self.early_wakes = False
        self.index_zero = False
        self.requests: dict[str, int] = {}
        self._on: list[tuple[Fault, int]] = []
        self._cleared = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Turns a fault on."""
        self._on.append((fault, fault.times or -1))

    def clear(self) -> None:
        """Turns all faults off."""
        self._on.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()
        self.early_wakes = self.index_zero = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts requests, and does to them what the faults say."""
        if request.path.startswith("/control"):
            return await handler(request)
        kind = f"{request.method} {'/'.join(request.path.split('/')[:4])}"
        self.requests[kind] = self.requests.get(kind, 0) + 1
        fault = self._take(f"{request.method} {request.path}")
        if fault is None:
            return await handler(request)
        if fault.silent:
            await asyncio.Event().wait()
        await asyncio.sleep(fault.delay_s)
        if fault.status:
            text = {429: "Your IP is issuing too many concurrent connections", 500: "No cluster leader"}
            return web.Response(status=fault.status, text=text.get(fault.status, "fault"))
        cleared = self._cleared
        answer = await handler(request)
        if fault.held:
            await cleared.wait()
        return answer

    def _take(self, asked: str) -> Fault | None:
        for number, (fault, left) in enumerate(self._on):
            if re.search(fault.path, asked):
                if left == 1:
                    del self._on[number]
                else:
                    self._on[number] = (fault, left - 1)
                return fault
        return None
