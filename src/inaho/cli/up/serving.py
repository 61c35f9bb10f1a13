"""Runs one member for `inaho up`, from its start to its graceful leave.

The first SIGTERM or SIGINT (or, if requested, the end of standard input) makes the node leave, as `inaho drain` does:
it hands over its activations, and the command ends with 0. A second signal does not wait for that, even if a grain
blocks the event loop. The ready line has the real authority, so a script needs only port 0 and a ready file to start
nodes without choosing ports.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from inaho import Cluster, Grain, join
from inaho.cli.member_output import describe_member, own_kinds
from inaho.cli.output import EXIT_INTERRUPTED, EXIT_OK, Output
from inaho.config import ClusterConfig
from inaho.errors import InvalidConfig
from inaho.events import MemberEvent

__all__ = ["describe_ready", "serve"]


async def serve(
    output: Output,
    settings: ClusterConfig,
    grains: Sequence[type[Grain[Any]]],
    *,
    storage: str | None = None,
    ready_file: Path | None = None,
    stop_on_eof: bool = False,
) -> int:
    """Runs a member until it is told to stop.

    Args:
        output: gets a line when the node is ready, when another member changes, and when it has left.
        settings: of the node, with its authority (`inaho.cli.up.checks.with_authority`).
        grains: what it hosts.
        storage: as for `join`.
        ready_file: written, in one piece, when the node is up; removed when it has left.
        stop_on_eof: the end of standard input means stop, so that the death of the parent process ends this node too.

    Returns:
        The exit code.

    Raises:
        InahoError: as `join`.
    """
    stop = asyncio.Event()
    async with _stopped_by(stop, stop_on_eof):
        cluster = await _join_unless(stop, settings, grains, storage)
        if cluster is None:
            output.note("stopped before it had joined")
            return EXIT_OK
        try:
            ready = describe_ready(cluster)
            if ready_file is not None:
                _write_at_once(ready_file, ready)
            _announce(output, ready)
            reporter = asyncio.create_task(_report_members(output, cluster))
            await _until_told(stop, cluster)
            reporter.cancel()
            output.note("leaving")
        finally:
            await cluster.close()
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)  # noqa: ASYNC240  one call, at the end
    if output.as_json:
        output.document({"event": "left", "authority": ready["authority"]})
    output.text(f"left: {ready['authority']}")
    return EXIT_OK


def describe_ready(cluster: Cluster) -> dict[str, Any]:
    """The content of the ready line and the ready file."""
    member = cluster.self
    return {
        "event": "ready",
        "authority": cluster.authority,
        "node_id": member.node_id,
        "cluster": cluster.config.name,
        "kinds": list(own_kinds(member)),
        "pid": os.getpid(),
        "members": [describe_member(other, cluster.blocked()) for other in cluster.members()],
    }


def _announce(output: Output, ready: dict[str, Any]) -> None:
    if output.as_json:
        output.document(ready)
    others = [member["authority"] for member in ready["members"] if member["authority"] != ready["authority"]]
    output.text(
        f"ready: {ready['authority']} (node {ready['node_id']}) in cluster {ready['cluster']!r}; "
        f"hosts {', '.join(ready['kinds']) or 'nothing'}; "
        + (f"with {', '.join(others)}" if others else "alone so far")
    )


async def _join_unless(
    stop: asyncio.Event, settings: ClusterConfig, grains: Sequence[type[Grain[Any]]], storage: str | None
) -> Cluster | None:
    """Joins; None when it was told to stop first, after a clean-up."""

    async def start() -> Cluster:
        return await join(config=settings, grains=grains, storage=storage)

    joining = asyncio.create_task(start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({joining, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not joining.done():
            joining.cancel()
            await asyncio.wait({joining})
    return None if joining.cancelled() else joining.result()


async def _until_told(stop: asyncio.Event, cluster: Cluster) -> None:
    """Returns when this process is told to stop, or the node has been drained by an operator."""
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(cluster.wait_left())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _report_members(output: Output, cluster: Cluster) -> None:
    async for event in cluster.events(MemberEvent):
        name = type(event).__name__
        if output.as_json:
            output.document({"event": name, "at": event.at, "reason": event.reason, **describe_member(event.member)})
        why = f": {event.reason}" if event.reason else ""
        output.text(f"{name}: {event.member.authority} (node {event.member.node_id}){why}")


def _write_at_once(path: Path, document: dict[str, Any]) -> None:
    """Writes a file in one step: a reader of the file sees its whole content."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(msgspec.json.encode(document) + b"\n")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InvalidConfig(f"the ready file {path} cannot be written: {error.strerror or error}") from error


@asynccontextmanager
async def _stopped_by(stop: asyncio.Event, stop_on_eof: bool) -> AsyncGenerator[None]:
    """Sets `stop` at the first signal or the end of input, and cancels the command at the second signal.

    The signal handlers are Python's own and not those of the loop: if a grain blocks the loop, no handler of the loop
    runs any more, and the second signal ends the process here.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    standard_input = sys.stdin.fileno() if stop_on_eof else -1
    signals = 0

    def asked(number: int, _: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 1 and not stop.is_set():  # the loop has not handled the first signal yet
            os.write(2, b"the event loop is blocked: the process ends without leaving\n")
            os._exit(EXIT_INTERRUPTED)
        loop.call_soon_threadsafe(stop.set)
        if signals > 1 and task is not None:
            loop.call_soon_threadsafe(task.cancel)

    def read() -> None:
        if not os.read(standard_input, 4096):
            loop.remove_reader(standard_input)
            stop.set()

    remove: list[Callable[[], object]] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        remove.append(partial(signal.signal, number, signal.signal(number, asked)))
    if stop_on_eof:
        loop.add_reader(standard_input, read)
        remove.append(partial(loop.remove_reader, standard_input))
    try:
        yield
    finally:
        for undo in remove:
            undo()
