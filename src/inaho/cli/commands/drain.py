"""`inaho drain`: makes a member leave gracefully."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_lookup import find_member
from inaho.cli.options import AuthorityArgument
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig

__all__ = ["drain", "drain_member"]

GONE_S: Final = 10.0
"""How long the command waits, once everything is handed over, until the other members know that the member has left."""


@client_command
async def drain(
    output: Output,
    settings: ClusterConfig,
    *,
    authority: AuthorityArgument,
    timeout: Annotated[  # noqa: ASYNC109  an option's name
        float | None,
        typer.Option(
            "--timeout",
            min=0.001,
            max=86_400,
            help="Seconds that running turns get; the member's activation.drain_s unless given.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Make a member leave gracefully, as at SIGTERM; its `inaho up` ends. Fails when something did not end in time."""
    return await drain_member(output, settings, authority, timeout)


async def drain_member(output: Output, settings: ClusterConfig, authority: str, drain_s: float | None) -> int:
    """Makes a member leave, and writes what happened to its activations.

    Returns:
        The exit code: failed if leases timed out, new owners did not acknowledge, or it is still a member.

    Raises:
        InahoError: as `connect`, `find_member` and `Cluster.drain_at`.
    """
    async with inaho.connect(config=settings) as cluster:
        member = find_member(cluster, authority)
        output.note(f"{member.authority} is asked to leave")
        report = await cluster.drain_at(member, drain_s=drain_s)
        gone = await cluster.wait_gone(member, GONE_S)
    if output.as_json:
        output.document({**msgspec.structs.asdict(report), "left": gone})
    output.text(
        f"{report.authority} handed over {report.handed_over} of {report.activations} activations "
        f"in {report.took_s:.1f} s"
    )
    if report.timed_out_count:
        named = ", ".join(report.timed_out)
        more = report.timed_out_count - len(report.timed_out)
        output.note(
            f"{report.timed_out_count} leases timed out: {named}{f' and {more} more' if more else ''}; "
            "what these had not saved is lost"
        )
    if not report.acknowledged:
        output.note("not all new owners have acknowledged what they got; they find out by themselves")
    if gone:
        output.text(f"{report.authority} has left")
    else:
        output.note(f"{report.authority} is still a member after {GONE_S:g} s")
    return EXIT_OK if gone and report.acknowledged and not report.timed_out_count else EXIT_FAILED
