"""`inaho quarantine`: lists what each member has quarantined, or ends a quarantine.

Each member decides about its own peers, so an answer is complete only when all members have answered. A member that
does not answer is named, and makes the command fail; the other answers are still written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_answers import ask_all, describe_failures, name_failures
from inaho.cli.member_lookup import known_authority
from inaho.cli.output import EXIT_FAILED, Output
from inaho.config import ClusterConfig
from inaho.types import Member

if TYPE_CHECKING:
    from inaho.runtime.operators.operator_actor import QuarantineRecord

__all__ = ["quarantine_app", "release_quarantined", "show_quarantined"]

QUARANTINE_COLUMNS: Final = ("authority", "node id", "quarantined by", "left s", "reason")


quarantine_app = typer.Typer(
    help="Authorities that members send nothing to and accept nothing from.", no_args_is_help=True
)


@quarantine_app.command("list")
@client_command
async def list_quarantined(output: Output, settings: ClusterConfig) -> int:
    """Show what each member has quarantined, and why. Fails when a member does not answer."""
    return await show_quarantined(output, settings)


@quarantine_app.command()
@client_command
async def release(
    output: Output,
    settings: ClusterConfig,
    *,
    authority: Annotated[str, typer.Argument(help="host:port, as the list has it.")],
) -> int:
    """End a quarantine at once, on every member that has it. Fails when none has, or a member does not answer."""
    return await release_quarantined(output, settings, authority)


async def show_quarantined(output: Output, settings: ClusterConfig) -> int:
    """Writes what each member has quarantined.

    Returns:
        The exit code: failed if a member did not answer.

    Raises:
        InahoError: as `connect`.
    """
    async with inaho.connect(config=settings) as cluster:
        answers, silent = await ask_all(cluster.members(), cluster.quarantine_at)
    found = [(member, record) for member, records in answers for record in records]
    if output.as_json:
        described = [_describe(member, record) for member, record in found]
        output.document({"cluster": settings.name, "quarantined": described, "silent": describe_failures(silent)})
    rows = [
        (record.authority, record.node_id, member.authority, f"{record.left_s:.1f}", record.reason)
        for member, record in sorted(found, key=lambda pair: (pair[1].authority, pair[0].authority))
    ]
    title = f"{len(rows)} quarantined by {len(answers)} members of {settings.name!r}"
    output.table(title, QUARANTINE_COLUMNS, rows)
    return name_failures(output, silent)


async def release_quarantined(output: Output, settings: ClusterConfig, authority: str) -> int:
    """Makes every member end its quarantine of `authority`, and writes which of them had one.

    Returns:
        The exit code: failed if no member had one or a member did not answer.

    Raises:
        InvalidConfig: it is no authority; no member is called.
        InahoError: as `connect`.
    """
    authority = known_authority(authority)
    async with inaho.connect(config=settings) as cluster:
        answers, silent = await ask_all(cluster.members(), lambda member: cluster.release_at(member, authority))
    released = [member.authority for member, had_one in answers if had_one]
    if output.as_json:
        output.document({"authority": authority, "released_by": released, "silent": describe_failures(silent)})
    if released:
        output.text(f"{authority} was released by {', '.join(released)}")
    else:
        output.note(f"{authority} is quarantined by none of the {len(answers)} members that answered")
    code = name_failures(output, silent)
    return code if released else EXIT_FAILED


def _describe(member: Member, record: QuarantineRecord) -> dict[str, Any]:
    return {"by": member.authority, **msgspec.structs.asdict(record)}
