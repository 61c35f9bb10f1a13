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
        cause: id of the input that led to it, for following a log back; empty when none is.
        by_name_only: of the class: only subscribers that name this class get it, not those that name a base of it. For
            what happens so often that it would drive all other events out of a buffer.
    """

    by_name_only: ClassVar[bool] = False

    at: float = 0.0
    cause: str = ""


class MemberEvent(Event, frozen=True, kw_only=True):
    """Base of what happens to one member: `member` as it is after the change, and why."""

    member: Member
    reason: str = ""

    @property
    def authority(self) -> str:
        return self.member.authority


class IdentityEvent(Event, frozen=True, kw_only=True):
    """Base of what happens to one identity."""

    identity: ClusterIdentity
