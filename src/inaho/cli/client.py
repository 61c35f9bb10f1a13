"""`inaho members` and `inaho call`: clients of a running cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from typing import Any

import msgspec

from inaho.cli.output import EXIT_OK, Output
from inaho.cli.serving import describe_member, own_kinds
from inaho.config import ClusterConfig
from inaho.errors import InahoError, RemoteError, SchemaMismatch
from inaho.runtime.cluster.join import connect
from inaho.types import Member

__all__ = ["call_method", "member_rows", "parse_argument", "show_members"]

MEMBER_COLUMNS = ("authority", "status", "node id", "incarnation", "weight", "kinds", "roles")


def parse_argument(text: str) -> Any:
    """An argument of a call as it was typed: JSON where it is JSON, else the text itself.

    So `2`, `true`, `null`, `[1,2]` and `{"a":1}` are data, and `apple` needs no quotes; `'"2"'` is the text 2.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def member_rows(members: Sequence[Member], blocked: Container[str] = ()) -> list[tuple[str, ...]]:
    """Members as rows under `MEMBER_COLUMNS`; `blocked`: what `Cluster.blocked` gives."""
    return [
        (
            member.authority,
            member.status.name.lower() + (", blocked" if member.authority in blocked else ""),
            member.node_id,
            str(member.incarnation),
            f"{member.weight:g}",
            ", ".join(own_kinds(member)),
            ", ".join(member.roles),
        )
        for member in members
    ]


async def show_members(output: Output, settings: ClusterConfig) -> int:
    """Writes the members as the seed that answers first sees them.

    Raises:
        InahoError: as `connect`.
    """
    async with connect(config=settings) as cluster:
        members, blocked = cluster.members(), cluster.blocked()
    if output.as_json:
        described = [describe_member(member, blocked) for member in members]
        output.document({"cluster": settings.name, "members": described, "blocked": list(blocked)})
    output.table(f"{len(members)} members of {settings.name!r}", MEMBER_COLUMNS, member_rows(members, blocked))
    absent = sorted(set(blocked) - {member.authority for member in members})
    if absent:
        output.note(f"blocked, and no members now: {', '.join(absent)}")
    return EXIT_OK


async def call_method(
    output: Output,
    settings: ClusterConfig,
    identity: tuple[str, str],
    method: str,
    arguments: Sequence[Any],
    *,
    timeout_s: float | None = None,
    stream: bool = False,
) -> int:
    """Calls a method by names and writes what it gives: one result, or the items of a stream as they come.

    Args:
        output: gets the result.
        settings: of the client.
        identity: kind and key.
        method: its name.
        arguments: positional.
        timeout_s: for the call, above 0.
        stream: the method is known to be a stream. Otherwise it is found out: the node refuses, before anything
            runs, to answer a stream as a call.

    Raises:
        InahoError: as the call; an exception of the grain as `RemoteError`.
    """
    kind, key = identity

    async def once() -> None:
        result = await cluster.call(kind, key, method, *arguments, timeout=timeout_s)
        output.value(result, name="result")

    async def items() -> None:
        async for item in cluster.stream(kind, key, method, *arguments, timeout=timeout_s):
            output.value(item, name="item")

    async with connect(config=settings) as cluster:
        try:
            if stream:
                await items()
            else:
                try:
                    await once()
                except SchemaMismatch as refused:
                    await _as_stream(items, refused)
        except (InahoError, asyncio.CancelledError):
            raise
        except Exception as error:  # registered exceptions of the grain arrive as themselves, whatever they are
            raise _of_grain(error, f"{kind}/{key}") from error
    return EXIT_OK


async def _as_stream(items: Any, refused: SchemaMismatch) -> None:
    """Tries what was refused as a call as a stream; when that is refused too, the better reason is raised."""
    if refused.maybe_executed:
        raise refused
    try:
        await items()
    except SchemaMismatch as again:
        # One of the two says only that the method is a stream or is none, the other what is really wrong.
        raise (again if "stream" in refused.reason else refused) from None


def _of_grain(error: Exception, identity: str) -> RemoteError:
    return RemoteError(
        identity=identity,
        type_name=type(error).__qualname__,
        message=str(error),
        remote_traceback="\n".join(getattr(error, "__notes__", ())),
    )
