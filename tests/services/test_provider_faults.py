"""One list of faults for all back ends with a server: what fails, with which error, and what works again afterwards.

Each test goes through a gate, which also makes the network silent, or has it answer what no server would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError, ProviderInvalid, ProviderUnreachable
from inaho.providers.base import TopologyProvider
from support.gate import Gate
from support.provider_back_ends.base import ServedBackEnd
from support.provider_back_ends.servers import FAULTS, SERVERS, fault
from support.waiting import until

pytestmark = pytest.mark.integration

TIMEOUT_S = 0.5
"""Of one request of the provider."""
DEADLINE_S = 10.0
"""In which a request must have failed, on a busy machine too: far below the time-outs of TCP."""
RECOVERY_S = 30.0
LIFETIME_S = 60.0

ME = ProviderMember("10.7.0.1:7700", "00000000000000a1", 1, ("Cart",), cluster="conformance")
OTHER = ProviderMember("10.7.0.2:7700", "00000000000000b2", 1, ("Cart",), cluster="conformance")
FIRST = ClusterRecord("00c0ffee00c0ffee", 1, ME.authority, ME.node_id)
SECOND = ClusterRecord("00c0ffee00c0ffee", 2, ME.authority, ME.node_id)


@pytest_asyncio.fixture
async def provider(served_back_end: ServedBackEnd, gate: Gate) -> AsyncIterator[TopologyProvider]:
    made = served_back_end.provider(0, timeout_s=TIMEOUT_S, port=gate.port)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def patient(served_back_end: ServedBackEnd) -> AsyncIterator[TopologyProvider]:
    """Past the gate, with time for a busy machine: for what must be done exactly once."""
    made = served_back_end.provider(1)
    yield made
    await made.close()


async def eventually(request: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, once the back end serves again."""
    async with asyncio.timeout(RECOVERY_S):
        while True:
            try:
                return await request()
            except ProviderInvalid:
                raise
            except ProviderError:
                await asyncio.sleep(0.05)


def requests_of(provider: TopologyProvider, token: str) -> dict[str, Awaitable[Any]]:
    return {
        "check": provider.check(),
        "read": provider.read(),
        "register": provider.register(ME, LIFETIME_S),
        "renew": provider.renew(ME, LIFETIME_S),
        "read_record": provider.read_record(),
        "write_record": provider.write_record(SECOND, token),
    }


async def outcomes(requests: dict[str, Awaitable[Any]]) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        answers = await asyncio.gather(*requests.values(), return_exceptions=True)
    return dict(zip(requests, answers, strict=True))


@pytest.mark.parametrize("name", FAULTS)
async def test_requests_fail_in_time_and_work_again(
    served_back_end: ServedBackEnd, gate: Gate, provider: TopologyProvider, patient: TopologyProvider, name: str
) -> None:
    await eventually(provider.check)
    await eventually(lambda: provider.register(ME, LIFETIME_S))
    assert await patient.write_record(FIRST, "")
    _, token = await eventually(provider.read_record)
    async with fault(name, served_back_end, gate):
        expected = ProviderError if name == "garbage" else ProviderUnreachable
        for _ in range(2):
            found = await outcomes(requests_of(provider, token))
            assert {request: type(each) for request, each in found.items() if not isinstance(each, expected)} == {}
            for error in found.values():
                assert provider.name in error.reason
        (error,) = (await outcomes({"deregister": provider.deregister()})).values()
        assert isinstance(error, expected)
    # What was not answered may have been carried out, wholly.
    await eventually(provider.check)
    async with asyncio.timeout(RECOVERY_S):
        while True:  # a server that stood still may carry the old requests out only now
            record, token = await eventually(provider.read_record)
            assert record in (FIRST, SECOND)
            if await patient.write_record(SECOND, token):
                break
    await eventually(lambda: provider.register(ME, LIFETIME_S))
    assert await eventually(lambda: provider.renew(ME, LIFETIME_S))
    assert (await eventually(provider.read)).members == (ME,)
    await eventually(provider.deregister)
    assert (await eventually(provider.read)).members == ()


@pytest.mark.parametrize("served_back_end", sorted(set(SERVERS) - {"redis"}), indirect=True)  # Redis is polled
@pytest.mark.parametrize("name", FAULTS)
async def test_a_watch_is_begun_again_after_a_fault(
    served_back_end: ServedBackEnd, gate: Gate, provider: TopologyProvider, patient: TopologyProvider, name: str
) -> None:
    found = await eventually(provider.read)

    async def drain() -> None:
        async with aclosing(provider.watch(found.position)) as watch:
            async for _ in watch:
                pass

    open_watch = asyncio.ensure_future(drain())
    for _ in range(5):
        await eventually(provider.check)
    async with fault(name, served_back_end, gate):
        if name in ("killed", "hangs up", "garbage"):  # its connection is closed
            await asyncio.wait([open_watch], timeout=DEADLINE_S)
            assert open_watch.done()
    open_watch.cancel()
    await asyncio.wait([open_watch], timeout=DEADLINE_S)
    assert open_watch.cancelled() or open_watch.exception() is None or isinstance(open_watch.exception(), ProviderError)
    found = await eventually(provider.read)
    await eventually(lambda: patient.register(OTHER, LIFETIME_S))
    async with asyncio.timeout(RECOVERY_S):
        while OTHER not in found.members:
            try:
                async with aclosing(provider.watch(found.position)) as watch:
                    async for hint in watch:
                        found = await provider.read() if hint is None else hint
                        if OTHER in found.members:
                            break
            except ProviderError:  # the stream does the same: it reads, and watches on
                found = await eventually(provider.read)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_what_was_done_when_its_answer_was_lost_is_done_once(
    gate: Gate, provider: TopologyProvider, patient: TopologyProvider, number: int
) -> None:
    """The answer may be an error. If it is none, it is true."""
    await eventually(provider.check)
    await eventually(lambda: provider.register(ME, LIFETIME_S))
    assert await patient.write_record(FIRST, "")
    _, token = await eventually(provider.read_record)
    gate.lose_answer(number)
    (written,) = (await outcomes({"write_record": provider.write_record(SECOND, token)})).values()
    record, newer = await eventually(patient.read_record)
    assert written is True or isinstance(written, ProviderError) or (written is False and record == SECOND)
    assert record == SECOND if newer != token else record == FIRST
    if written is True:
        assert record == SECOND
    gate.lose_answer(number)
    (renewed,) = (await outcomes({"renew": provider.renew(ME, LIFETIME_S)})).values()
    assert renewed is True or isinstance(renewed, ProviderError)
    gate.lose_answer(number)
    newest = ProviderMember(ME.authority, ME.node_id, 2, ME.kinds, cluster=ME.cluster)
    (error,) = (await outcomes({"register": provider.register(newest, LIFETIME_S)})).values()
    found = await eventually(patient.read)
    assert found.members == (newest,) or (error is not None and found.members in ((ME,), ()))
    gate.lose_answer(number)
    (error,) = (await outcomes({"deregister": provider.deregister()})).values()
    found = await eventually(patient.read)
    assert found.members == () or (error is not None and found.members in ((ME,), (newest,)))
    gate.lose_answer(0)
    await eventually(lambda: provider.register(ME, LIFETIME_S))
    assert (await eventually(patient.read)).members == (ME,)


@pytest.mark.parametrize("name", ["paused", "silent"])
async def test_a_provider_closes_in_time_and_leaves_no_task_behind(
    served_back_end: ServedBackEnd, gate: Gate, name: str
) -> None:
    before = asyncio.all_tasks()
    provider = served_back_end.provider(0, timeout_s=TIMEOUT_S, port=gate.port)
    position = (await eventually(provider.read)).position
    async with fault(name, served_back_end, gate):
        running = [asyncio.ensure_future(provider.read()) for _ in range(3)]
        if provider.capabilities.watch:
            running.append(asyncio.ensure_future(anext(provider.watch(position))))
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            await provider.close()
            for each in await asyncio.gather(*running, return_exceptions=True):
                assert isinstance(each, ProviderError | StopAsyncIteration)
    await until(lambda: asyncio.all_tasks() - before <= gate.tasks)


async def test_an_expired_registration_is_written_again(
    served_back_end: ServedBackEnd, provider: TopologyProvider
) -> None:
    """As the stream does: the renewal says that it is gone."""
    await eventually(lambda: provider.register(ME, 1.0))
    await served_back_end.expire(ME.authority)
    async with asyncio.timeout(RECOVERY_S):
        while (await provider.read()).members:
            await asyncio.sleep(0.05)
    assert not await eventually(lambda: provider.renew(ME, LIFETIME_S))
    await eventually(lambda: provider.register(ME, LIFETIME_S))
    assert (await eventually(provider.read)).members == (ME,)
