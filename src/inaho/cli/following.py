"""`inaho events`: what happens on one member, as it happens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import msgspec

from inaho import events
from inaho.authority import parse_authority
from inaho.cli.operating import find_member
from inaho.cli.output import EXIT_OK, Output
from inaho.config import ClusterConfig
from inaho.errors import TopologyUnavailable
from inaho.events import Event
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.cluster.join import connect
from inaho.runtime.operators.event_feed import EventRecord, event_types
from inaho.runtime.operators.explain import clock
from inaho.types import Member

__all__ = ["describe_record", "follow_events", "show_types"]


def show_types(output: Output) -> int:
    """Writes the names of all events, and what each says."""
    classes = [found for _, found in inspect.getmembers(events, inspect.isclass) if issubclass(found, Event)]
    told = [(found.__name__, (inspect.getdoc(found) or "").partition("\n")[0]) for found in classes]
    if output.as_json:
        output.document({"events": dict(told)})
    output.table("events are not kept: follow them as they happen, with --follow", ("type", "says"), told)
    return EXIT_OK


async def follow_events(
    output: Output, settings: ClusterConfig, types: Sequence[str], *, at: str | None, count: int | None = None
) -> int:
    """Writes events until the member leaves, the command is interrupted, or `count` have come.

    Args:
        output: one line, or one JSON document, per event.
        settings: of the client.
        types: classes of `inaho.events`; all when none is given.
        at: authority of the member; a seed, if it is a member, unless given.
        count: events to write at most.

    Raises:
        InvalidArguments: there is no such type.
        InahoError: as `connect`; `Unreachable` when the member is lost.
    """
    event_types(types)  # a typing mistake is told before anything is dialled
    async with connect(config=settings) as cluster:
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


def _member_to_follow(cluster: Cluster, settings: ClusterConfig) -> Member:
    members = {member.authority: member for member in cluster.members()}
    seeds = [str(parse_authority(seed, allow_port_zero=False)) for seed in settings.seeds]
    for authority in (*seeds, *members):
        if authority in members:
            return members[authority]
    raise TopologyUnavailable("the cluster has no members")


def describe_record(record: EventRecord) -> str:
    """An event on one line: time, name, and its fields as JSON."""
    fields = " ".join(f"{name}={_short(value)}" for name, value in record.fields.items())
    return f"{clock(record.at)} {record.name} {fields}".rstrip()


def _short(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else msgspec.json.encode(value).decode()
