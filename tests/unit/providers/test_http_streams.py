"""Streams of the HTTP client: lines as they come, how a stream ends, and that a slow reader holds the server up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from inaho.errors import ProviderError, ProviderStreamFailed, ProviderUnreachable
from inaho.providers import http
from inaho.providers.http import HttpClient
from support.http_servers import BEGINNING, Asked, answer, chunk, client_of, serving
from support.waiting import until


async def collected(client: HttpClient) -> list[object]:
    async with client.stream("POST", "/watch", body={"from": 1}) as stream:
        return [each async for each in stream]


@pytest.mark.parametrize(
    ("chunks", "values"),
    [
        ([b'{"a":1}\n', b'{"a":2}\n'], [{"a": 1}, {"a": 2}]),
        ([b'{"a"', b":1", b"}", b"\n"], [{"a": 1}]),
        ([b'1\n2\n3\n"x', b'y"\n'], [1, 2, 3, "xy"]),
        ([b"\n\n1\r\n\r\n", b" \n2"], [1, 2]),
        ([], []),
        ([b"1\n" * 50_000], [1] * 50_000),
    ],
)
async def test_lines_are_values_however_they_are_cut(chunks: Sequence[bytes], values: list[object]):
    async with serving(BEGINNING + b"".join(map(chunk, [*chunks, b""]))) as server, client_of(server) as client:
        assert await collected(client) == values
        assert server.asked[0].body == b'{"from":1}'


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (answer(b"", 503), ProviderUnreachable, "status 503"),
        (answer(b"gone", 410), ProviderStreamFailed, "POST /watch: status 410: gone"),
        (BEGINNING + chunk(b"1\n{\n"), ProviderStreamFailed, "no JSON"),
        (BEGINNING + chunk(b"1\n" + b"2" * 3000), ProviderStreamFailed, "over 1000 bytes"),
        (BEGINNING + chunk(b"1\n") + b"no chunk\r\n", ProviderError, "ours"),
    ],
)
async def test_how_a_stream_fails(monkeypatch: pytest.MonkeyPatch, reply: bytes, error: type[ProviderError], text: str):
    monkeypatch.setattr(http, "LINE_BYTES_MAX", 1000)
    async with serving(reply) as server, client_of(server) as client:
        with pytest.raises(error, match=text):
            await collected(client)


async def test_a_connection_that_is_lost_ends_a_stream():
    async def hang_up(asked: Asked) -> None:
        asked.writer.write(BEGINNING + chunk(b"1\n"))
        await asked.writer.drain()
        asked.writer.transport.abort()

    async with serving(hang_up) as server, client_of(server) as client:
        with pytest.raises(ProviderUnreachable, match=f":{server.port}.*broke"):
            await collected(client)


async def test_the_deadline_of_a_request_holds_only_until_a_stream_begins():
    begin, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(asked: Asked) -> bytes | None:
        if "watch" not in asked.line:
            return None
        await begin.wait()
        asked.writer.write(BEGINNING + chunk(b"1\n"))
        await go_on.wait()
        return chunk(b"2\n") + chunk(b"")

    async with serving(slowly) as server, client_of(server, timeout_s=0.2) as client:
        with pytest.raises(ProviderUnreachable, match="no answer within"):
            await collected(client)
        begin.set()
        collecting = asyncio.ensure_future(collected(client))
        for _ in range(2):  # a request that is not answered does not end a stream, though its connections are replaced
            with pytest.raises(ProviderUnreachable):
                await client.request("POST", "/other")
        assert not collecting.done()
        go_on.set()
        assert await collecting == [1, 2]
        await until(lambda: server.hung_up >= 3)  # and then its old connections are closed


async def test_a_stream_that_nobody_reads_holds_the_server_up():
    written = 0

    async def flood(asked: Asked) -> bytes | None:
        nonlocal written
        if "watch" not in asked.line:
            return answer()
        asked.writer.write(BEGINNING)
        while True:
            asked.writer.write(chunk(b"1\n" * 32_768))
            await asked.writer.drain()
            written += 65_536

    async with serving(flood) as server, client_of(server) as client:
        async with client.stream("POST", "/watch") as stream:
            lines = stream.lines()
            assert await anext(lines) == b"1"
            before, same = -1, 0
            while same < 20:
                same = same + 1 if written == before else 0
                before = written
                await client.request("POST", "/other")
            assert written < 32 * 1024 * 1024
            for _ in range(200_000):
                assert await anext(lines) == b"1"
            await until(lambda: written > before)  # it goes on as soon as somebody reads
        await until(lambda: server.hung_up or server.connections == 2)


@pytest.mark.parametrize("end", ["left", "cancelled"])
async def test_leaving_a_stream_closes_its_connection(end: str):
    async def begin(asked: Asked) -> bytes:
        return BEGINNING + chunk(b"1\n")

    async with serving(begin) as server, client_of(server) as client:
        if end == "left":
            async with client.stream("POST", "/watch") as stream:
                assert await anext(stream.lines()) == b"1"
        else:
            collecting = asyncio.ensure_future(collected(client))
            await until(lambda: server.asked)
            collecting.cancel()
            await asyncio.wait([collecting])
            assert collecting.cancelled()
        await until(lambda: server.hung_up == 1)


async def test_closing_the_client_ends_a_stream():
    async with serving(BEGINNING + chunk(b"1\n")) as server, client_of(server) as client:
        async with client.stream("POST", "/watch") as stream:
            lines = stream.lines()
            assert await anext(lines) == b"1"
            waiting = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)
            await client.close()
            with pytest.raises(ProviderUnreachable, match="broke"):
                await waiting
        await until(lambda: server.hung_up == 1)
