"""The base classes of events: of all, of those about one member, and of those about one identity."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from inaho.types import ClusterIdentity, Member

__all__ = ["Event", "IdentityEvent", "MemberEvent"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events.

    Attributes:
        at: Unix seconds on the publishing node; 0 until published.
        cause: id of the input that led to it, to trace a log back; empty if there is none.
        by_name_only: of the class: only subscribers that name this class get it, not subscribers of a base class. For
            events that are so frequent that they would push all others out of a buffer.
    """

    by_name_only: ClassVar[bool] = False

    at: float = 0.0
    cause: str = ""


class MemberEvent(Event, frozen=True, kw_only=True):
    """Base of events about one member: `member` after the change, and the reason."""

    member: Member
    reason: str = ""

    @property
    def authority(self) -> str:
        return self.member.authority


class IdentityEvent(Event, frozen=True, kw_only=True):
    """Base of events about one identity."""

    identity: ClusterIdentity
