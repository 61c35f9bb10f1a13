"""The messages between control planes: the closed union `ControlMessage`.

The transport authenticates a connection and names the peer (authority and node id), so a message contains its sender
only when it is relayed. Every message that belongs to an exchange starts with the sender's `Mark`: two integers show
whether two tables are equal, so nodes with equal tables need no digest.

Sequences are bounded when a message is decoded, by the hard limits below, and again when it is received, by the
configuration (`within_bounds`). Why both: the decoder has no configuration, and a configured cluster is smaller.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from inaho.types import Member

__all__ = [
    "Accusation",
    "BlockNotice",
    "ControlMessage",
    "Digest",
    "Entry",
    "FullTable",
    "Gossip",
    "GossipAck",
    "JoinAccepted",
    "JoinRefused",
    "JoinRequest",
    "LoadNotice",
    "Mark",
    "MembershipDelta",
    "News",
    "OriginVersion",
    "Probe",
    "ProbeAck",
    "ProbeRequest",
    "ProbeResponse",
    "TableSnapshot",
    "ViewVerdict",
    "within_bounds",
]

SEQUENCE_MAX: Final = 65_536
SOURCES_MAX: Final = 8
LOADS_MAX: Final = 8
TEXT_MAX: Final = 1_024
LOAD_MAX: Final = 2**31 - 1
LAG_MAX_S: Final = 1e9
"""More than any event loop stands still. A bound on both sides refuses infinities, and NaN, which equals nothing."""
VERSION_MAX: Final = 2**40
"""No origin makes more statements than this. Versions of tables are sums of them, and must fit into 63 bits."""

Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One statement of `origin` about one member, its `version`-th.

    Attributes:
        origin: node id of the author.
        version: counts the statements of that author, from 1.
        member: the record of the subject.
        reason: why, for events: `dead`, `wedged`, `busy`, `silent`, `left`, `replaced`, …
        sources: node ids that accused the subject to its author, for people to read: nothing proves them, and they are
            not counted (`membership.claims`).
    """

    origin: Text
    version: Count
    member: Member
    reason: Text = ""
    sources: Annotated[tuple[Text, ...], msgspec.Meta(max_length=SOURCES_MAX)] = ()


class MembershipDelta(msgspec.Struct, frozen=True, array_like=True):
    """All statements of `origin` after `from_version`, up to and with `to_version`, that still hold.

    A statement that a later one replaced is left out, so `entries` may be shorter than the range, or empty.
    """

    origin: Text
    from_version: Count
    to_version: Count
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()


class OriginVersion(msgspec.Struct, frozen=True, array_like=True):
    """How many statements of `origin` are known: one line of a digest."""

    origin: Text
    version: Count


class BlockNotice(msgspec.Struct, frozen=True, array_like=True):
    """An operator's order whether an authority may hold activations; the higher `counter` wins."""

    authority: Text
    counter: Count
    blocked: bool


class Accusation(msgspec.Struct, frozen=True, array_like=True):
    """`accuser` could not reach this incarnation. No statement: it lapses unless the suspicion is confirmed."""

    authority: Text
    node_id: Text
    incarnation: Count
    accuser: Text
    reason: Text


class TableSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """A whole table: the winning statement about every subject, and the coverage of each origin."""

    version: Count
    versions: Annotated[tuple[OriginVersion, ...], msgspec.Meta(max_length=SEQUENCE_MAX)]
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=SEQUENCE_MAX)]
    blocks: Annotated[tuple[BlockNotice, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Version and hash of the sender's table, its incarnation, lag and load.

    Attributes:
        incarnation: of the sender.
        version: of its table; equal when converged.
        content_hash: of its table; equal means equal members.
        lag_s: its event-loop lag, seconds.
        load_version: how often its load was sent again.
        load: its activations, as last sent; -1 when unknown.
    """

    incarnation: Count
    version: Count
    content_hash: Annotated[int, msgspec.Meta(ge=0)]
    lag_s: Annotated[float, msgspec.Meta(ge=-LAG_MAX_S, le=LAG_MAX_S)] = 0.0
    load_version: Count = 0
    load: Annotated[int, msgspec.Meta(ge=-1, le=LOAD_MAX)] = -1


class LoadNotice(msgspec.Struct, frozen=True, array_like=True):
    """The load of a member, in activations; the higher `version` is newer. A hint: nothing waits for it."""

    node_id: Text
    version: Count
    load: Annotated[int, msgspec.Meta(ge=0, le=LOAD_MAX)]


class News(msgspec.Struct, frozen=True, array_like=True):
    """What is sent along with other messages, within `gossip.push_bytes_max`."""

    deltas: Annotated[tuple[MembershipDelta, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()
    accusations: Annotated[tuple[Accusation, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()
    blocks: Annotated[tuple[BlockNotice, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()
    loads: Annotated[tuple[LoadNotice, ...], msgspec.Meta(max_length=LOADS_MAX)] = ()


class JoinRequest(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Asks a member for admission. `member.incarnation` is the least that the joiner can accept."""

    member: Member


class JoinAccepted(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Admits: `member` is the joiner under its new incarnation, `table` the newest table (SPEC CL-1.5)."""

    member: Member
    table: TableSnapshot


class JoinRefused(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Refuses. `authority_holder` is the node id that holds the authority, if that is the reason."""

    code: Text
    reason: Text
    retriable: bool
    authority_holder: Text = ""


class Probe(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Asks whether the node `target` answers; another node at that authority does not answer for it."""

    sequence: Count
    target: Text
    mark: Mark
    news: News = News()


class ProbeAck(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Answers a probe. `target` is the node id that answers."""

    sequence: Count
    target: Text
    mark: Mark
    news: News = News()


class ProbeRequest(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Asks a helper to probe `target` at `authority`."""

    sequence: Count
    authority: Text
    target: Text
    mark: Mark


class ProbeResponse(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The result of a `ProbeRequest`. "Not reached" is an answer too: it shows that the asker can receive messages."""

    sequence: Count
    target: Text
    reached: bool


class Gossip(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Pushes statements and asks for what the sender lacks: `wants` has its coverage of those origins."""

    mark: Mark
    news: News = News()
    wants: Annotated[tuple[OriginVersion, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()


class GossipAck(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Acknowledges a push with the receiver's mark and what it lacks."""

    mark: Mark
    wants: Annotated[tuple[OriginVersion, ...], msgspec.Meta(max_length=SEQUENCE_MAX)] = ()


class Digest(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """The sender's whole digest; answered with what it lacks and what the receiver lacks."""

    mark: Mark
    versions: Annotated[tuple[OriginVersion, ...], msgspec.Meta(max_length=SEQUENCE_MAX)]


class FullTable(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """The sender's whole table, when deltas did not settle a difference. `reply` asks for the receiver's table."""

    mark: Mark
    table: TableSnapshot
    reply: bool


class ViewVerdict(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Notifies a node that it is no member in the sender's view, with what is needed to decide which view holds.

    Attributes:
        mark: of the sender.
        member: the sender's record of the recipient: removed or unreachable, or live when it must join again for
            another reason, which counts only between members of one view.
        members: authorities that are up in the sender's view, sorted.
        seeds: as the sender is configured.
        rule: `operator` when an operator has decided for the sender; else empty.
    """

    mark: Mark
    member: Member
    members: Annotated[tuple[Text, ...], msgspec.Meta(max_length=SEQUENCE_MAX)]
    seeds: Annotated[tuple[Text, ...], msgspec.Meta(max_length=SEQUENCE_MAX)]
    rule: Text = ""


ControlMessage = (
    JoinRequest
    | JoinAccepted
    | JoinRefused
    | Probe
    | ProbeAck
    | ProbeRequest
    | ProbeResponse
    | Gossip
    | GossipAck
    | Digest
    | FullTable
    | ViewVerdict
)
"""Closed: a new message is a new tag here and a new handler in `core.node`."""


def within_bounds(message: ControlMessage, sequence_max: int) -> str:
    """Why `message` cannot be valid: a sequence longer than `sequence_max`, a range or version out of bounds."""
    match message:
        case Probe() | ProbeAck():
            return _oversized_news(message.news, sequence_max)
        case Gossip():
            return _oversized_news(message.news, sequence_max) or _oversized("wants", message.wants, sequence_max)
        case GossipAck():
            return _oversized("wants", message.wants, sequence_max)
        case Digest():
            return _oversized("versions", message.versions, sequence_max)
        case FullTable() | JoinAccepted():
            return _oversized_table(message.table, sequence_max)
        case ViewVerdict():
            return _oversized("members", message.members, sequence_max) or _oversized(
                "seeds", message.seeds, sequence_max
            )
        case _:
            return ""


def _oversized(name: str, items: tuple[object, ...], sequence_max: int) -> str:
    return f"{name} has {len(items)} items, more than {sequence_max}" if len(items) > sequence_max else ""


def _oversized_news(news: News, sequence_max: int) -> str:
    entries = 0
    for delta in news.deltas:
        entries += len(delta.entries)
        if not delta.from_version <= delta.to_version <= VERSION_MAX:
            return f"a delta of {delta.origin} goes from {delta.from_version} to {delta.to_version}"
    if entries > sequence_max:
        return f"deltas have {entries} entries, more than {sequence_max}"
    return (
        _oversized("deltas", news.deltas, sequence_max)
        or _oversized("accusations", news.accusations, sequence_max)
        or _oversized("blocks", news.blocks, sequence_max)
    )


def _oversized_table(table: TableSnapshot, sequence_max: int) -> str:
    for line in table.versions:
        if line.version > VERSION_MAX:
            return f"{line.origin} cannot have made {line.version} statements"
    return (
        _oversized("versions", table.versions, sequence_max)
        or _oversized("entries", table.entries, sequence_max)
        or _oversized("blocks", table.blocks, sequence_max)
    )
