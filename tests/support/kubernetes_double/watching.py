"""The response of one watch: events as JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping

from aiohttp import web

from support.kubernetes_double import rules
from support.kubernetes_double.faults import Faults
from support.kubernetes_double.rules import Object, Selector
from support.kubernetes_double.store import Change, Store

TIMEOUT_S = 1800.0
PROMPT_S = 0.02


class Watch:
    """One watch of a resource in a namespace, after the rules for `resourceVersion`:

    unset or `0`: an `ADDED` event for each object, then the changes; another one: the changes after it.
    """

    def __init__(
        self, store: Store, faults: Faults, resource: str, namespace: str, query: Mapping[str, str], accept: str
    ) -> None:
        self._store, self._faults = store, faults
        self._resource, self._namespace, self._accept = resource, namespace, accept
        self._selector = Selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        self._wants_bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self._timeout_s = float(query.get("timeoutSeconds", TIMEOUT_S))
        wanted = query.get("resourceVersion", "")
        if not wanted.isdecimal() and wanted:
            raise rules.bad_request(f"invalid resource version: {wanted}")
        self._begins_empty = wanted in ("", "0")
        self._version = store.version if self._begins_empty else int(wanted)
        self._first: list[Object] = store.all(resource, namespace) if self._begins_empty else []
        self._gone = self._version < store.oldest
        if self._version > store.version:
            raise rules.too_large(self._version, store.version)
        if self._gone and not faults.gone_as_event:
            raise rules.expired_watch()

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Sends events until the time-out, a fault, or the end of the connection."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        ended, bookmarks = self._faults.ended, self._faults.bookmarks
        if self._gone:
            await _send(response, "ERROR", rules.expired_watch().status())
            return response
        for found in self._first:
            if self._selector.matches(found):
                await self._send(response, "ADDED", found)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if self._faults.endless else self._timeout_s):
                while self._faults.ended == ended:
                    if not self._faults.silent:
                        await self._send_changes(response)
                        if self._faults.bookmarks != bookmarks:
                            bookmarks = self._faults.bookmarks
                            await self._bookmark(response)
                    await self._wait(ended, bookmarks)
                await self._end(request, response)
        return response

    async def _wait(self, ended: int, bookmarks: int) -> None:
        async with self._store.changed:
            silent, version = self._faults.silent, self._store.version
            await self._store.changed.wait_for(
                lambda: (
                    (self._faults.ended, self._faults.bookmarks, self._faults.silent) != (ended, bookmarks, silent)
                    or self._store.version != version
                    or (not silent and self._version < version)
                )
            )

    async def _send_changes(self, response: web.StreamResponse) -> None:
        for change in self._store.since(self._version):
            self._version = change.version
            if (change.resource, change.namespace) == (self._resource, self._namespace):
                kind, found = self._seen(change)
                if found is not None:
                    await self._send(response, kind, found)
        self._version = self._store.version

    def _seen(self, change: Change) -> tuple[str, Object | None]:
        """How a watch with this selector sees a change: what stops to match is deleted, what begins to is added."""
        before = change.old is not None and self._selector.matches(change.old)
        after = change.new is not None and self._selector.matches(change.new)
        if after:
            return ("MODIFIED" if before else "ADDED"), change.new
        if not before:
            return "", None
        last = change.new or change.old
        assert last is not None
        return "DELETED", {**last, "metadata": {**last["metadata"], "resourceVersion": str(change.version)}}

    async def _bookmark(self, response: web.StreamResponse) -> None:
        if self._wants_bookmarks:
            kind = {"pods": "Pod", "configmaps": "ConfigMap"}[self._resource]
            metadata = {"resourceVersion": str(self._version), "creationTimestamp": None}
            await self._send(response, "BOOKMARK", {"kind": kind, "apiVersion": "v1", "metadata": metadata})

    async def _end(self, request: web.Request, response: web.StreamResponse) -> None:
        if self._faults.ending == "error":
            await _send(response, "ERROR", self._faults.error)
        if self._faults.ending == "cut" and request.transport is not None:
            request.transport.abort()

    async def _send(self, response: web.StreamResponse, kind: str, found: Object) -> None:
        await _send(response, kind, rules.represented(found, self._accept))


async def _send(response: web.StreamResponse, kind: str, found: Object) -> None:
    await response.write(json.dumps({"type": kind, "object": found}).encode() + b"\n")
