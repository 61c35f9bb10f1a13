"""`inaho events`: prints the events of one member as they happen."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

import inaho
import inaho.events
from inaho.cli.client_command import client_command
from inaho.cli.member_lookup import find_member, known_authority
from inaho.cli.output import EXIT_OK, Output, time_of_day
from inaho.config import ClusterConfig
from inaho.errors import TopologyUnavailable
from inaho.events import Event
from inaho.types import Member

if TYPE_CHECKING:
    from inaho.runtime.operators.event_feed import EventRecord

__all__ = ["describe_record", "events", "follow_events", "show_types"]


@client_command
async def events(
    output: Output,
    settings: ClusterConfig,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Write events as they happen, until Ctrl-C.")] = False,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this class, such as MemberEvent; may be repeated."),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="host:port of the member that tells them; one of the seeds unless given.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many events.", show_default=False)
    ] = None,
) -> int:
    """Show the events of one member as they happen; without --follow, the names for --type."""
    if not follow:
        return show_types(output)
    return await follow_events(output, settings, types or [], at=at, count=count)


def show_types(output: Output) -> int:
    """Writes the names of all events, and the meaning of each."""
    classes = [found for _, found in inspect.getmembers(inaho.events, inspect.isclass) if issubclass(found, Event)]
    told = [(found.__name__, (inspect.getdoc(found) or "").partition("\n")[0]) for found in classes]
    if output.as_json:
        output.document({"events": dict(told)})
    output.table("events are not kept: follow them as they happen, with --follow", ("type", "says"), told)
    return EXIT_OK


async def follow_events(
    output: Output, settings: ClusterConfig, types: Sequence[str], *, at: str | None, count: int | None = None
) -> int:
    """Writes events until the member leaves, the command is interrupted, or `count` have arrived.

    Args:
        output: one line, or one JSON document, per event.
        settings: of the client.
        types: classes of `inaho.events`; all when none is given.
        at: authority of the member; a seed, if it is a member, unless given.
        count: bound of the events to write.

    Raises:
        InvalidArguments: there is no such type.
        InahoError: as `connect`; `Unreachable` when the connection to the member is lost.
    """
    from inaho.runtime.operators.event_feed import event_types

    event_types(types)  # a typing mistake is an error before anything is dialled
    async with inaho.connect(config=settings) as cluster:
        member = _member_to_follow(cluster, settings) if at is None else find_member(cluster, at)
        output.note(f"following {member.authority}")
        left = count
        feed = cluster.events_at(member, *types)
        async for record in feed:
            if output.as_json:
                output.document({"event": record.name, "at": record.at, **record.fields})
            output.text(describe_record(record))
            if left is not None:
                left -= 1
                if not left:
                    return EXIT_OK
        output.note(f"{member.authority} has left")
    return EXIT_OK


def _member_to_follow(cluster: inaho.Cluster, settings: ClusterConfig) -> Member:
    members = {member.authority: member for member in cluster.members()}
    seeds = [known_authority(seed) for seed in settings.seeds]
    for authority in (*seeds, *members):
        if authority in members:
            return members[authority]
    raise TopologyUnavailable("the cluster has no members")


def describe_record(record: EventRecord) -> str:
    """An event on one line: time, name, and its fields as JSON."""
    fields = " ".join(f"{name}={_short(value)}" for name, value in record.fields.items())
    return f"{time_of_day(record.at)} {record.name} {fields}".rstrip()


def _short(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else msgspec.json.encode(value).decode()
