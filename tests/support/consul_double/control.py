"""What a test may do to the double: `/control/...`, which no fault touches.

PUT /control/fault            a `Fault`, such as {"path": "/v1/kv", "status": 500, "times": 3}
PUT /control/watches          {"early_wakes": true, "index_zero": true}
PUT /control/clear            all faults off
PUT /control/wake             all blocking queries return once, and nothing has changed
PUT /control/rewind           all indexes become lower, as after a snapshot was restored
PUT /control/reap             tombstones are removed
PUT /control/expire?key=KEY   the session that holds the key ends
PUT /control/tokens           {"tokens": {"secret": {"key_prefix": {"shop/": "write"}}}, "list_policy": false}
PUT /control/agent_restart    the agent starts without its disk
GET /control/requests         how often each request was made
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from support.consul_double.access import Access, Rules
from support.consul_double.agent import Agent
from support.consul_double.blocking import Waiting
from support.consul_double.faults import Fault, Faults
from support.consul_double.store import Store


class _Watches(msgspec.Struct, forbid_unknown_fields=True):
    early_wakes: bool = False
    index_zero: bool = False


class _Tokens(msgspec.Struct, forbid_unknown_fields=True):
    tokens: dict[str, Rules]
    list_policy: bool = False


def add_control(
    router: web.UrlDispatcher, store: Store, agent: Agent, access: Access, faults: Faults, waiting: Waiting
) -> None:
    """Adds the routes."""

    async def fault(request: web.Request) -> web.Response:
        faults.add(msgspec.json.decode(await request.read(), type=Fault))
        return web.Response()

    async def watches(request: web.Request) -> web.Response:
        found = msgspec.json.decode(await request.read(), type=_Watches)
        faults.early_wakes, faults.index_zero = found.early_wakes, found.index_zero
        waiting.changed()
        return web.Response()

    async def clear(_: web.Request) -> web.Response:
        faults.clear()
        access.on = False
        return web.Response()

    async def wake(_: web.Request) -> web.Response:
        waiting.wake_all()
        return web.Response()

    async def rewind(_: web.Request) -> web.Response:
        store.rewind()
        waiting.wake_all()
        return web.Response()

    async def reap(_: web.Request) -> web.Response:
        store.reap_tombstones()
        return web.Response()

    async def expire(request: web.Request) -> web.Response:
        entry = store.get(request.query["key"])[1]
        if entry is None or not entry.session:
            return web.Response(status=404, text="no session holds that key")
        store.destroy_session(entry.session)
        return web.Response()

    async def tokens(request: web.Request) -> web.Response:
        found = msgspec.json.decode(await request.read(), type=_Tokens)
        access.on, access.tokens, access.list_policy = True, found.tokens, found.list_policy
        return web.Response()

    async def agent_restart(_: web.Request) -> web.Response:
        agent.lose_services()
        return web.Response()

    async def requests(_: web.Request) -> web.Response:
        return web.json_response(faults.requests)

    for handler in (fault, watches, clear, wake, rewind, reap, expire, tokens, agent_restart):
        router.add_put(f"/control/{handler.__name__}", handler)
    router.add_get("/control/requests", requests)
