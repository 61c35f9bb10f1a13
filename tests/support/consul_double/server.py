"""The HTTP interface of the double.

Keys are accepted as by the strictest version, Consul 1.21.5: letters, digits and `,_./-?&=` only.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from support.consul_double.access import Access, Denied, UnknownToken
from support.consul_double.agent import Agent, UnknownCheck
from support.consul_double.blocking import Waiting
from support.consul_double.control import add_control
from support.consul_double.faults import Faults
from support.consul_double.store import Entry, Failure, Session, Store
from support.consul_double.transactions import OPERATIONS_MAX, RolledBack, transact

NODE = "double"
VALUE_BYTES_MAX = 512 * 1024
TICK_S = 0.02
FILTERED = "X-Consul-Results-Filtered-By-ACLs"
_KEY = re.compile(r"[a-zA-Z0-9,_./\-?&=]+")


class Double:
    """A server and an agent.

    Args:
        file: keeps what servers keep on disk; None keeps nothing.
        scale: factor of TTLs, lock delays and the removal of services.
    """

    def __init__(self, file: Path | None, scale: float) -> None:
        self.faults = Faults()
        self.access = Access()
        self.waiting = Waiting(self.faults)
        clock = asyncio.get_running_loop().time
        self.store = Store(file, scale, clock, self.waiting.changed)
        self.agent = Agent(self.store, scale, clock)

    def application(self) -> web.Application:
        """Serves `/v1` and `/control`."""
        application = web.Application(
            middlewares=[self.faults.middleware, self._errors], client_max_size=2 * VALUE_BYTES_MAX
        )
        put, get = application.router.add_put, application.router.add_get
        get("/v1/kv/{key:.*}", self._get_key)
        put("/v1/kv/{key:.*}", self._put_key)
        application.router.add_delete("/v1/kv/{key:.*}", self._delete_key)
        put("/v1/txn", self._transact)
        put("/v1/session/create", self._create_session)
        put("/v1/session/renew/{id}", self._renew_session)
        put("/v1/session/destroy/{id}", self._destroy_session)
        get("/v1/session/list", self._list_sessions)
        put("/v1/agent/service/register", self._register_service)
        put("/v1/agent/service/deregister/{id}", self._deregister_service)
        put("/v1/agent/check/update/{id}", self._update_check)
        put("/v1/agent/check/{status:pass|warn|fail}/{id}", self._update_check)
        get("/v1/health/service/{name}", self._health)
        get("/v1/status/leader", self._leader)
        add_control(application.router, self.store, self.agent, self.access, self.faults, self.waiting)
        application.cleanup_ctx.append(self._advance)
        return application

    async def _advance(self, _: web.Application) -> AsyncIterator[None]:
        async def advance() -> None:
            while True:
                self.store.end_due_sessions()
                self.agent.advance()
                await asyncio.sleep(TICK_S)

        task = asyncio.create_task(advance())
        yield
        task.cancel()

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (Denied, UnknownToken) as error:
            return web.Response(status=403, text=str(error))
        except UnknownCheck as error:
            return web.Response(status=404, text=str(error))
        except Failure as error:
            return web.Response(status=500, text=str(error))
        except (ValueError, msgspec.MsgspecError) as error:
            return web.Response(status=400, text=f"Request decode failed: {error}")

    # Keys.

    async def _get_key(self, request: web.Request) -> web.Response:
        token, key, recurse = _token(request), _key(request), "recurse" in request.query
        self.access.known(token)
        if not recurse:
            self.access.demand(token, "key", "read", key)
        elif self.access.list_policy:
            self.access.demand(token, "key", "list", key)

        def query() -> tuple[int, list[Entry]]:
            if recurse:
                return self.store.list(key)
            index, entry = self.store.get(key)
            return index, [entry] if entry else []

        index, found = await self.waiting.answer(request, query)
        visible = [entry for entry in found if self.access.allows(token, "key", "read", entry.key)]
        headers = {FILTERED: "true"} if len(visible) < len(found) else {}
        if not visible:
            return self._answer(None, index, 404, headers)
        if "raw" in request.query:
            return web.Response(body=base64.b64decode(visible[0].value or ""), headers=self._headers(index))
        return self._answer(visible, index, 200, headers)

    async def _put_key(self, request: web.Request) -> web.Response:
        token, key, query = _token(request), _key(request), request.query
        if len({"cas", "acquire", "release"} & set(query)) > 1:
            return web.Response(status=400, text="Conflicting flags")
        body = await request.read()
        if len(body) > VALUE_BYTES_MAX:
            return web.Response(status=413, text=f"Request body({len(body)} bytes) too large")
        self.access.demand(token, "key", "write", key)
        value = base64.b64encode(body).decode() if body else None
        flags = int(query.get("flags", "0"))
        index = self.store.next_index()
        if "cas" in query:
            done = self.store.cas(index, key, value, int(query["cas"]), flags)
        elif "acquire" in query:
            free = not self.store.lock_delayed(key)
            done = free and self.store.lock(index, key, value, query["acquire"], flags)
        elif "release" in query:
            done = self.store.unlock(index, key, value, query["release"], flags)
        else:
            done = self.store.put(index, key, value, flags)
        self.store.commit()
        return _json(done)

    async def _delete_key(self, request: web.Request) -> web.Response:
        token, key, query = _token(request), _key(request), request.query
        if "cas" in query and "recurse" in query:
            return web.Response(status=400, text="Conflicting flags")
        self.access.demand(token, "key", "write", key)
        index = self.store.next_index()
        if "recurse" in query:
            done = self.store.delete_tree(index, key)
        elif "cas" in query:
            done = self.store.delete_cas(index, key, int(query["cas"]))
        else:
            done = self.store.delete(index, key)
        self.store.commit()
        return _json(done)

    async def _transact(self, request: web.Request) -> web.Response:
        operations: list[dict[str, Any]] = [each["KV"] for each in msgspec.json.decode(await request.read())]
        if len(operations) > OPERATIONS_MAX:
            return web.Response(status=413, text="Transaction contains too many operations")
        try:
            results = transact(self.store, self.access, _token(request), operations)
        except RolledBack as error:
            return _json({"Results": None, "Errors": error.errors}, 409)
        return _json({"Results": [{"KV": entry} for entry in results], "Errors": None})

    # Sessions.

    async def _create_session(self, request: web.Request) -> web.Response:
        body = await request.read()
        fields: dict[str, object] = msgspec.json.decode(body) if body else {}
        self.access.demand(_token(request), "session", "write", str(fields.get("Node") or NODE))
        return _json({"ID": self.store.create_session(fields, NODE)})

    async def _renew_session(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        self.access.known(_token(request))
        session = self.store.state.sessions.get(identifier)
        if session is None:
            return web.Response(status=404, text=f"Session id '{identifier}' not found")
        self.access.demand(_token(request), "session", "write", session.node)
        self.store.renew_session(identifier)
        return _json([_shown(session)])

    async def _destroy_session(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        self.access.known(_token(request))
        session = self.store.state.sessions.get(identifier)
        if session is not None:
            self.access.demand(_token(request), "session", "write", session.node)
            self.store.destroy_session(identifier)
        return _json(True)

    async def _list_sessions(self, request: web.Request) -> web.Response:
        token = _token(request)
        self.access.known(token)
        sessions = self.store.state.sessions.values()
        return _json([_shown(each) for each in sessions if self.access.allows(token, "session", "read", each.node)])

    # The agent.

    async def _register_service(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = msgspec.json.decode(await request.read())
        self.access.demand(_token(request), "service", "write", str(body.get("Name", "")))
        self.agent.register(body)
        return web.Response()

    async def _deregister_service(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        service = self.agent.services.get(identifier)
        if service is None:
            return web.Response(status=404, text=f'Unknown service ID "{identifier}".')
        self.access.demand(_token(request), "service", "write", service.name)
        self.agent.deregister(identifier)
        return web.Response()

    async def _update_check(self, request: web.Request) -> web.Response:
        status = request.match_info.get("status", "")
        output = request.query.get("note", "")
        if status:
            status = {"pass": "passing", "warn": "warning", "fail": "critical"}[status]
        else:
            body: dict[str, str] = msgspec.json.decode(await request.read())
            status, output = body["Status"], body.get("Output", "")
            if status not in ("passing", "warning", "critical"):
                return web.Response(status=400, text=f"Invalid check status: {status!r}")
        self.access.known(_token(request))
        self.agent.update_check(request.match_info["id"], status, output)
        return web.Response()

    async def _health(self, request: web.Request) -> web.Response:
        name, token = request.match_info["name"], _token(request)
        self.access.known(token)
        passing = request.query.get("passing", "false") in ("", "1", "true")
        index, found = await self.waiting.answer(request, lambda: self.agent.health(name, passing))
        return self._answer(found if self.access.allows(token, "service", "read", name) else [], index, 200, {})

    async def _leader(self, _: web.Request) -> web.Response:
        return _json("127.0.0.1:8300")

    # Answers.

    def _headers(self, index: int) -> dict[str, str]:
        shown = 0 if self.faults.index_zero else max(index, 1)
        return {"X-Consul-Index": str(shown), "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}

    def _answer(self, body: object, index: int, status: int, headers: dict[str, str]) -> web.Response:
        headers = {**self._headers(index), **headers}
        if body is None:
            return web.Response(status=status, headers=headers)
        return _json(body, status, headers)


def _token(request: web.Request) -> str:
    bearer = request.headers.get("Authorization", "")
    return request.headers.get("X-Consul-Token", "") or bearer.removeprefix("Bearer ")


def _key(request: web.Request) -> str:
    key = request.match_info["key"]
    if key and not (_KEY.fullmatch(key) and ".." not in key and not key.startswith("/")):
        raise Failure(f'invalid key name, keys should respect the "{_KEY.pattern}" format')
    if not key and "recurse" not in request.query:
        raise ValueError("Missing key name")
    return key


def _shown(session: Session) -> dict[str, object]:
    return {
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "LockDelay": int(session.lock_delay_s * 1e9),
        "Behavior": session.behavior,
        "TTL": session.ttl,
        "NodeChecks": session.checks,
        "ServiceChecks": None,
        "CreateIndex": session.create_index,
        "ModifyIndex": session.create_index,
    }


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")
