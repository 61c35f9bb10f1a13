"""Requests of the HTTP client: what is sent, what an answer means, which server is asked, how long it may take."""

from __future__ import annotations

import asyncio
import importlib
import sys

import pytest

from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers import http
from support.http_servers import BEGINNING, Asked, answer, chunk, client_of, serving
from support.waiting import until

SECRET = "s3cret"
NOBODY = 1
"""A port where nobody listens."""


async def test_what_is_sent_and_what_comes_back():
    async with serving(answer(b'{"index": 7}', 200, "X-Index: 7")) as server, client_of(server) as client:
        found = await client.request(
            "POST",
            "/v1/a b/[::1]:7700?%",
            query={"wait": "5s", "tag": "ä&b"},
            body={"x": [1]},
            headers={"X-Token": SECRET},
        )
        (asked,) = server.asked
        assert asked.line == "POST /v1/a%20b/%5B::1%5D:7700%3F%25?wait=5s&tag=%C3%A4%26b HTTP/1.1"
        assert (asked.body, asked.headers["content-type"]) == (b'{"x":[1]}', "application/json")
        assert asked.headers["x-token"] == SECRET
        assert (found.status, found.json(), found.headers["x-index"]) == (200, {"index": 7}, "7")
        assert found.decode(dict[str, int]) == {"index": 7}
        await client.request("PUT", "/", body=b"\0raw")
        assert server.asked[-1].body == b"\0raw"
        await client.request("GET", "/")
        assert (server.asked[-1].body, server.connections) == (b"", 1)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"<html>"])
async def test_an_answer_that_is_no_json_is_refused(body: bytes):
    async with serving(answer(body)) as server, client_of(server) as client:
        found = await client.request("GET", "/")
        with pytest.raises(ProviderStreamFailed, match=r"provider ours: http://127\.0\.0\.1"):
            found.json()


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (401, ProviderInvalid, "credentials"),
        (403, ProviderInvalid, "permission"),
        (429, ProviderUnreachable, "429"),
        (500, ProviderUnreachable, "500"),
        (503, ProviderUnreachable, "503"),
    ],
)
async def test_what_a_status_means(status: int, error: type[ProviderError], text: str):
    async with serving(answer(b"no leader\n today", status)) as server, client_of(server) as client:
        with pytest.raises(error, match=f"{text}.*no leader today") as caught:
            await client.request("GET", "/", headers={"Authorization": SECRET})
        assert SECRET not in repr(caught.value)
        found = await client.request("GET", "/", accept=(status,))
        assert (found.status, found.text) == (status, "no leader today")


@pytest.mark.parametrize("status", [204, 301, 304, 404, 409, 410])
async def test_other_statuses_are_the_caller_s(status: int):
    reply = answer(b"", status, "Location: http://127.0.0.1:1/")
    async with serving(reply) as server, client_of(server) as client:
        found = await client.request("GET", "/")
        assert found.status == status
        assert isinstance(found.unexpected("a test"), ProviderStreamFailed)


@pytest.mark.parametrize("first", [answer(b"", 503), answer(b"", 429), b"garbage", "hangs up", "silent", "away"])
async def test_the_next_server_is_asked_and_stays_the_first(first: bytes | str):
    async def reply(asked: Asked) -> bytes | None:
        if first == "hangs up":
            asked.writer.close()
        return first if isinstance(first, bytes) else None

    timeout_s = 0.6 if first == "silent" else 5.0
    async with (
        serving(reply) as bad,
        serving(answer()) as good,
        client_of(NOBODY if first == "away" else bad, good, timeout_s=timeout_s) as client,
    ):
        for _ in range(3):
            assert (await client.request("POST", "/")).status == 200
        assert len(bad.asked) == (0 if first == "away" else 1)
        assert len(good.asked) == 3


async def test_a_server_that_speaks_another_protocol_is_named():
    async with serving(b"-ERR unknown command") as server, client_of(server) as client:
        with pytest.raises(ProviderInvalid, match=f":{server.port}: this server does not speak HTTP"):
            await client.request("POST", "/")


async def test_a_refusal_is_not_asked_for_again():
    async with serving(answer(b"", 403)) as first, serving(answer()) as second, client_of(first, second) as client:
        with pytest.raises(ProviderInvalid):
            await client.request("GET", "/")
        assert second.asked == []


async def test_the_error_of_all_servers_names_each():
    async with serving(answer(b"", 503)) as server, client_of(NOBODY, server) as client:
        with pytest.raises(ProviderUnreachable, match=rf"127\.0\.0\.1:1: cannot connect.*:{server.port}: status 503"):
            await client.request("GET", "/")


async def test_a_server_may_hold_an_answer_back_on_purpose():
    release = asyncio.Event()

    async def wait(_: Asked) -> bytes:
        await release.wait()
        return answer()

    async with serving(wait) as server, client_of(server, timeout_s=0.2) as client:
        with pytest.raises(ProviderUnreachable, match=r"no answer within 0\.2 s to GET /v1"):
            await client.request("GET", "/v1")
        waiting = asyncio.ensure_future(client.request("GET", "/v1", wait_s=30.0))
        for _ in range(2):  # the deadline of others passes meanwhile
            with pytest.raises(ProviderUnreachable):
                await client.request("GET", "/v1")
        assert not waiting.done()
        release.set()
        assert (await waiting).status == 200


async def test_after_silence_connections_are_opened_anew():
    """A connection that was cut without a sign is not used again, and those beside it neither."""

    async def first_only(asked: Asked) -> bytes | None:
        return answer() if asked.number == 0 else None

    async with serving(first_only) as server, client_of(server, timeout_s=0.2) as client:
        await asyncio.gather(*(client.request("POST", "/") for _ in range(5)))
        with pytest.raises(ProviderUnreachable):
            await client.request("POST", "/")
        await client.request("POST", "/")
        await until(lambda: server.hung_up == server.connections - 1)


async def test_a_connection_that_the_server_has_closed_is_replaced():
    async with serving(answer(b"{}", 200, "Connection: close")) as server, client_of(server) as client:
        for _ in range(3):
            assert (await client.request("POST", "/")).status == 200


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 100_000)

    async def endless(asked: Asked) -> None:
        asked.writer.write(BEGINNING)
        while True:
            asked.writer.write(chunk(b"x" * 10_000))
            await asked.writer.drain()

    async with serving(endless) as server, client_of(server) as client:
        with pytest.raises(ProviderStreamFailed, match="over 100000 bytes"):
            await client.request("GET", "/")
        assert len(server.asked) == 1


async def test_an_answer_that_breaks_off_is_a_failed_connection():
    async def half(asked: Asked) -> None:
        asked.writer.write(answer(b"x" * 100)[:-50])
        asked.writer.close()

    async with serving(half) as server, client_of(server) as client:
        with pytest.raises(ProviderUnreachable, match=f":{server.port}"):
            await client.request("POST", "/")


@pytest.mark.parametrize("wanted", [False, True])
async def test_a_proxy_of_the_environment_is_used_only_if_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, wanted: bool
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with serving(answer()) as proxy, serving(answer()) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        async with client_of(server, proxy_from_environment=wanted) as client:
            await client.request("GET", "/v1")
        assert (len(proxy.asked), len(server.asked)) == ((1, 0) if wanted else (0, 1))


async def test_many_requests_share_few_connections():
    async with serving(answer()) as server, client_of(server) as client:
        found = await asyncio.gather(*(client.request("POST", "/") for _ in range(100)))
        assert [each.status for each in found] == [200] * 100
        assert server.connections <= http.CONNECTIONS_MAX


async def test_closing_ends_what_is_under_way():
    async with serving(None) as server, client_of(server) as client:
        waiting = [asyncio.ensure_future(client.request("POST", "/")) for _ in range(3)]
        await until(lambda: len(server.asked) == 3)
        for _ in range(2):
            await client.close()
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, ProviderUnreachable)
        with pytest.raises(ProviderUnreachable, match="closed"):
            await client.request("GET", "/")
        await until(lambda: server.hung_up == server.connections)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "inaho.providers.http")
    with pytest.raises(ProviderInvalid, match=r"pip install 'inaho\[providers\]'"):
        importlib.import_module("inaho.providers.http")
