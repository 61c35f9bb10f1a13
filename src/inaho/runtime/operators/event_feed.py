"""Sends the events of one node to another process as plain data, since their classes may be unknown there.

A feed is a subscription with a bounded buffer, as any other: a slow reader loses the oldest events, and is told how
many. It ends when the node leaves, so that no reader waits for a node that is gone.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import reprlib
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import msgspec

from inaho import events
from inaho.errors import InvalidArguments
from inaho.events import Event
from inaho.types import ClusterIdentity, Struct

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node

__all__ = ["LOST", "EventRecord", "describe_event", "event_types", "feed"]

FEED_CAPACITY: Final = 4096
"""Number of events that may wait for one remote reader."""

TEXT_MAX: Final = 2000
"""Characters of one text within an event that are sent."""

DEPTH_MAX: Final = 8
"""Values nested deeper than this are sent as text."""

ITEMS_MAX: Final = 1000
"""Elements of one list or dict that are sent."""

RECORD_BYTES_MAX: Final = 256 << 10
"""If an event is larger than this, a quarter of a frame, its fields are sent as short texts."""

_BRIEF: Final = reprlib.Repr()
_BRIEF.maxother = _BRIEF.maxstring = TEXT_MAX

LOST: Final = "EventsLost"
"""Name of the record with the number of events that a slow reader has lost."""


class EventRecord(Struct, frozen=True):
    """One event as plain data.

    Attributes:
        name: of its class in `inaho.events`; or `EventsLost`, with `count` in its fields.
        at: Unix seconds of the node that published it.
        fields: the others; identities as `Kind/key`.
    """

    name: str
    at: float
    fields: dict[str, Any]


def event_types(names: Sequence[str]) -> tuple[type[Event], ...]:
    """Classes of `inaho.events` by name, `Event` if none is named. A base class includes all its subclasses.

    Raises:
        InvalidArguments: there is no class of that name; the reason suggests a similar one.
    """
    classes = {name: found for name, found in inspect.getmembers(events, inspect.isclass) if issubclass(found, Event)}
    for name in names:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InvalidArguments(f"there is no event {name[:TEXT_MAX]!r}{hint}")
    return tuple(classes[name] for name in names) or (Event,)


def describe_event(event: Event) -> EventRecord:
    """The event as plain data that JSON can express, of bounded size."""
    fields = {
        field: _plain(getattr(event, field), 0)
        for field in event.__struct_fields__
        if field != "at" and not (field == "cause" and not event.cause)
    }
    if len(msgspec.json.encode(fields)) > RECORD_BYTES_MAX:
        fields = {name: _text(value) for name, value in fields.items()}
    return EventRecord(type(event).__name__, event.at, fields)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, ClusterIdentity):
        return str(value)[:TEXT_MAX]
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else hex(value)
    if depth < DEPTH_MAX:
        if isinstance(value, msgspec.Struct):
            return {name: _plain(getattr(value, name), depth + 1) for name in value.__struct_fields__}
        if _is_sequence(value):
            return [_plain(item, depth + 1) for item in value[:ITEMS_MAX]]
        if _is_mapping(value):
            return {_text(name): _plain(item, depth + 1) for name, item in islice(value.items(), ITEMS_MAX)}
    return _text(value)


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _is_mapping(value: object) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)


def _text(value: object) -> str:
    """A short text of any value; a value that raises when it is converted is given by its class."""
    return (value if isinstance(value, str) else _BRIEF.repr(value))[:TEXT_MAX]


async def feed(node: Node, names: Sequence[str]) -> AsyncGenerator[EventRecord]:
    """Events of that node from now on, until it leaves.

    Raises:
        InvalidArguments: as `event_types`.
        Overloaded: the event stream has too many subscribers.
    """
    lost, parting = 0, node.shutdown.parting
    with node.local.events.subscribe(*event_types(names), capacity=FEED_CAPACITY) as subscription:

        def leaving(_: object) -> None:
            subscription.close()

        parting.add_done_callback(leaving)
        try:
            async for event in subscription:
                if subscription.dropped > lost:
                    yield EventRecord(LOST, node.local.unix_time(), {"count": subscription.dropped - lost})
                    lost = subscription.dropped
                yield describe_event(event)
        finally:
            parting.remove_done_callback(leaving)
