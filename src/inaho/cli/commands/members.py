"""`inaho members`: lists the members of the cluster."""

from __future__ import annotations

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_output import MEMBER_COLUMNS, describe_member, member_rows
from inaho.cli.output import EXIT_OK, Output
from inaho.config import ClusterConfig

__all__ = ["members", "show_members"]


@client_command
async def members(output: Output, settings: ClusterConfig) -> int:
    """Show the members of a running cluster."""
    return await show_members(output, settings)


async def show_members(output: Output, settings: ClusterConfig) -> int:
    """Writes the members in the view of the seed that answers first.

    Raises:
        InahoError: as `connect`.
    """
    async with inaho.connect(config=settings) as cluster:
        members, blocked = cluster.members(), cluster.blocked()
    if output.as_json:
        described = [describe_member(member, blocked) for member in members]
        output.document({"cluster": settings.name, "members": described, "blocked": list(blocked)})
    output.table(f"{len(members)} members of {settings.name!r}", MEMBER_COLUMNS, member_rows(members, blocked))
    absent = sorted(set(blocked) - {member.authority for member in members})
    if absent:
        output.note(f"blocked, and no members now: {', '.join(absent)}")
    return EXIT_OK
