"""Formats members for commands: as JSON data, as table rows, and as a list of those that did not answer."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.cli.output import Output
from inaho.types import Member

if TYPE_CHECKING:
    from inaho.runtime.operators.explain import Silent

__all__ = ["MEMBER_COLUMNS", "describe_member", "member_rows", "name_silent", "own_kinds"]

MEMBER_COLUMNS: Final = ("authority", "status", "node id", "incarnation", "weight", "kinds", "roles")


def describe_member(member: Member, blocked: Container[str] = ()) -> dict[str, Any]:
    """A member as plain data, for JSON documents; `blocked`: the result of `Cluster.blocked`."""
    return {
        **msgspec.structs.asdict(member),
        "status": member.status.name.lower(),
        "blocked": member.authority in blocked,
        "kinds": list(own_kinds(member)),
    }


def own_kinds(member: Member) -> tuple[str, ...]:
    """The kinds that a member hosts, without those of inaho itself, such as the keepers of reminders."""
    return tuple(kind for kind in member.kinds if not kind.startswith("inaho."))


def member_rows(members: Sequence[Member], blocked: Container[str] = ()) -> list[tuple[str, ...]]:
    """Members as rows under `MEMBER_COLUMNS`; `blocked`: the result of `Cluster.blocked`."""
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


def name_silent(output: Output, silent: Iterable[Silent]) -> None:
    """Names the members that did not answer, on standard error."""
    for each in silent:
        output.note(f"{each.authority} did not answer [{each.code}]: {each.reason}")
