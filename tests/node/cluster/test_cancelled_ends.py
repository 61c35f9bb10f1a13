"""A start, leave or close that is cancelled leaves nothing half done: the address is free again, or soon is."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import inaho
from inaho import ActorSystem, ClusterExtension, Grain
from inaho.errors import InahoError

BEGUN: list[float] = []


@pytest.fixture(autouse=True)
def none_begun() -> None:
    BEGUN.clear()


class Slow(Grain):
    """Its turns outlast the patience of whoever closes."""

    async def nap(self, seconds: float) -> float:
        BEGUN.append(seconds)
        await asyncio.sleep(seconds)
        return seconds

    async def hello(self) -> str:
        return "hello"


def is_free(authority: str) -> bool:
    host, _, port = authority.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError:
            return False
    return True


async def busy_pair(fleet: Any, eventually: Any) -> tuple[Any, asyncio.Task[Any]]:
    """The second of two members over TCP, and a call that runs there for a second."""
    fleet.over = "tcp"
    first, second = await fleet.members(2, Slow)
    call = asyncio.ensure_future(first.grain(Slow, fleet.key_at(second, Slow)).nap(1.0))
    await eventually(lambda: BEGUN)
    return second, call


async def test_a_cancelled_close_goes_on(fleet: Any, eventually: Any) -> None:
    second, call = await busy_pair(fleet, eventually)
    closing = asyncio.ensure_future(second.close())
    await eventually(lambda: second._node.local.shutting_down)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not is_free(second.authority)
    assert await call == 1.0  # the leave waits for it, as if nobody had been cancelled
    await eventually(lambda: is_free(second.authority))
    await second.close()  # harmless


async def test_close_again_waits_for_the_one_that_was_cancelled(fleet: Any, eventually: Any) -> None:
    second, call = await busy_pair(fleet, eventually)
    closing = asyncio.ensure_future(second.close())
    await eventually(lambda: second._node.local.shutting_down)
    closing.cancel()
    await second.close()
    assert is_free(second.authority)
    assert await call == 1.0


async def test_a_cancelled_leave_goes_on(fleet: Any, eventually: Any) -> None:
    second, call = await busy_pair(fleet, eventually)
    leaving = asyncio.ensure_future(second.leave())
    await eventually(lambda: second._node.local.shutting_down)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await second.leave()
    assert call.done() and await call == 1.0
    await second.close()
    assert is_free(second.authority)


async def test_the_time_limit_of_an_actor_system_closes_the_extension_nevertheless(fleet: Any, eventually: Any) -> None:
    """Its leave waits for a turn for longer than the actor system gives an extension."""
    fleet.over = "tcp"
    first = await fleet.member(Slow)
    config = fleet.config().replace(authority="127.0.0.1:0", seeds=(first.authority,))
    extension = ClusterExtension(config, grains=[Slow], storage=fleet.storage)
    system = ActorSystem("app", extensions=[extension], stop_timeout_s=0.3)
    await system.start()
    cluster = extension.cluster
    key = next(f"k{n}" for n in range(1000) if cluster.runtime.leases.owns("Slow", f"k{n}"))
    call = asyncio.ensure_future(cluster.grain(Slow, key).nap(5.0))
    await eventually(lambda: BEGUN)
    with pytest.raises(ExceptionGroup, match="failed to stop"):
        await system.stop()
    assert is_free(cluster.authority)
    call.cancel()
    await asyncio.wait((call,))


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_a_cancelled_join_frees_its_address(
    fleet: Any, eventually: Any, kept_port: int, cancellations: int
) -> None:
    fleet.over = "tcp"
    first = await fleet.member(Slow)
    mine = f"127.0.0.1:{kept_port}"

    async def joined() -> Any:
        return await inaho.join(mine, seeds=[first.authority], grains=[Slow], config=fleet.config(), storage="memory")

    for turns in range(0, 60, 4):
        joining = asyncio.ensure_future(joined())
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(cancellations):
            joining.cancel()
            await asyncio.sleep(0)
        try:
            cluster = await joining
        except asyncio.CancelledError:
            pass
        except InahoError as error:
            pytest.fail(f"cancelled after {turns} rounds: {error}")
        else:
            await cluster.close()
        await eventually(lambda: is_free(mine))


async def test_a_cancelled_connect_leaves_no_connection(fleet: Any, eventually: Any) -> None:
    fleet.over = "tcp"
    first = await fleet.member(Slow)

    async def connected() -> Any:
        return await inaho.connect([first.authority], config=fleet.config())

    for turns in range(0, 40, 4):
        connecting = asyncio.ensure_future(connected())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        try:
            cluster = await connecting
        except asyncio.CancelledError:
            pass
        else:
            await cluster.close()
        await eventually(lambda: not first.runtime.acceptor.connections)
