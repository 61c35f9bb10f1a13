"""A member, or a client, that makes calls as it is told: `python chaos_node.py SETTINGS`.

`SETTINGS` are those of `network_node.py`; without an authority it is a client. Each line of standard input is a
`Command` in JSON, each `answer` has its number: a test cannot call into another network namespace itself. Commands run
beside each other. The end of standard input makes the process leave.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec
import uvloop

import inaho
from inaho import Grain, method
from inaho.errors import InahoError
from inaho.events import ActivationTerminated, MemberEvent, NodePaused
from support.programs.network_node import Settings, Tally, TallyState, say, say_event


class Late(Grain[TallyState]):
    """A tally that insists on its save, however late and whatever it was told meanwhile."""

    async def add(self, amount: int) -> int:
        self.state.value += amount
        await self.save()
        return self.state.value

    async def add_late(self, amount: int, seconds: float) -> int:
        """Changes the state now and saves it after `seconds`; the save outlives the turn and the activation."""
        self.state.value += amount
        say("late_begun", key=self.key)
        await asyncio.shield(asyncio.ensure_future(self._save_late(seconds)))
        return self.state.value

    async def _save_late(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self.save()
        except InahoError as error:
            say("late_save", key=self.key, code=error.code)
        else:
            say("late_save", key=self.key, code="")

    @method(read_only=True)
    async def value(self) -> int:
        return self.state.value

    @method(read_only=True)
    async def where(self) -> str:
        return self.cluster.authority


KINDS: dict[str, type[Grain[Any]]] = {"Tally": Tally, "Late": Late}


class Command(msgspec.Struct):
    """`members`, or a call: kind, key, method and arguments."""

    number: int
    kind: str = ""
    key: str = ""
    method: str = "members"
    arguments: list[Any] = []
    timeout_s: float = 5.0


async def obey(cluster: inaho.Cluster, command: Command) -> None:
    """Does it and answers, with the value or the error."""
    try:
        if command.kind:
            grain = cluster.grain(KINDS[command.kind], command.key, timeout=command.timeout_s)
            value = await getattr(grain, command.method)(*command.arguments)
        else:
            value = cluster.members()
    except InahoError as error:
        say("answer", number=command.number, code=error.code, maybe_executed=error.maybe_executed, reason=str(error))
    else:
        say("answer", number=command.number, code="", value=value)


async def tell(cluster: inaho.Cluster) -> None:
    """Writes down what happens here."""
    async for event in cluster.events(MemberEvent, NodePaused, ActivationTerminated, capacity=65_536):
        say_event(event)


async def serve(cluster: inaho.Cluster, stop: asyncio.Event) -> None:
    """Commands until the end of standard input."""
    rest = b""
    under_way: set[asyncio.Task[None]] = set()

    def read() -> None:
        nonlocal rest
        data = os.read(0, 65_536)
        if not data:
            stop.set()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            task = asyncio.ensure_future(obey(cluster, msgspec.json.decode(line, type=Command)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    loop = asyncio.get_running_loop()
    loop.add_reader(0, read)
    await stop.wait()
    loop.remove_reader(0)
    for task in under_way:
        task.cancel()


async def run(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.set_exception_handler(lambda _, context: say("Unhandled", text=repr(context)))
    try:
        if settings.config.authority:
            grains = list(KINDS.values())
            cluster = await inaho.join(config=settings.config, grains=grains, storage=settings.storage)
        else:
            cluster = await inaho.connect(config=settings.config)
    except InahoError as error:
        say("failed", code=error.code, reason=error.reason, authority=error.authority)
        return 3
    telling = loop.create_task(tell(cluster))
    await asyncio.sleep(0)
    node_id = cluster.self.node_id if settings.config.authority else ""
    say("ready", authority=cluster.authority, node_id=node_id)
    await serve(cluster, stop)
    await cluster.close()
    telling.cancel()
    say("left")
    return 0


if __name__ == "__main__":
    uvloop.install()
    sys.exit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Settings))))
