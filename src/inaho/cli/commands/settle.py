"""`inaho settle`: chooses which of two conflicting views of the cluster holds."""

from __future__ import annotations

from typing import Annotated

import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_lookup import find_member, known_authority
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig

__all__ = ["settle", "settle_conflict"]


@client_command
async def settle(
    output: Output,
    settings: ClusterConfig,
    *,
    at: Annotated[str, typer.Argument(help="host:port of the member that has told of a ViewConflict.")],
    authority: Annotated[str, typer.Argument(help="host:port of whom it is in conflict with.")],
    keep: Annotated[
        bool, typer.Option("--keep/--give-way", help="Whether the member's view holds, or it joins the other side.")
    ],
) -> int:
    """Decide between two conflicting views of the cluster when no rule can: one side joins the other."""
    return await settle_conflict(output, settings, at, authority, keep=keep)


async def settle_conflict(output: Output, settings: ClusterConfig, at: str, authority: str, *, keep: bool) -> int:
    """Makes a member keep its view against another member's, or give it up.

    Returns:
        The exit code: failed if there is no conflict between the two.

    Raises:
        InahoError: as `connect`, `find_member` and `Cluster.resolve_conflict_at`.
    """
    wanted = known_authority(authority)
    async with inaho.connect(config=settings) as cluster:
        member = find_member(cluster, at)
        settled = await cluster.resolve_conflict_at(member, wanted, keep=keep)
    if output.as_json:
        output.document({"member": member.authority, "authority": wanted, "keep": keep, "settled": settled})
    if settled:
        output.text(f"{member.authority} {'keeps its view against' if keep else 'gives way to'} {wanted}")
    else:
        why = "it is a member, or was never heard of"
        if not keep:
            why += ", or has not said lately that it has another view: it cannot be joined while a split lasts"
        output.note(f"{member.authority} has no conflict with {wanted}: {why}")
    return EXIT_OK if settled else EXIT_FAILED
