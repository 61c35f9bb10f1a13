"""`inaho sends`: lists the durable sends that wait, cancels one, and lists dead letters and sends one again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.options import KeyArgument, KindArgument
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig

__all__ = ["sends_app"]

COLUMNS: Final = ("grain", "id", "method", "due in s", "failed", "reason")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the send, as `inaho sends list` has it.")]

sends_app = typer.Typer(help="Durable sends: calls that are stored until they have run.", no_args_is_help=True)


@sends_app.command("list")
@client_command
async def list_sends(
    output: Output,
    settings: ClusterConfig,
    *,
    kind: Annotated[str, typer.Argument(help="Only to grains of this kind.", show_default=False)] = "",
    key: Annotated[str, typer.Argument(help="Only to this grain of the kind.", show_default=False)] = "",
) -> int:
    """Show the durable sends that have not ended, dead letters too: at most 200."""
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.durable_sends(kind, key)
    _show(output, settings, found, "durable sends")
    return EXIT_OK


@sends_app.command()
@client_command
async def dead(
    output: Output,
    settings: ClusterConfig,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 100,
) -> int:
    """Show the dead letters: sends that were given up."""
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.dead_sends(limit)
    _show(output, settings, found, "dead letters of sends")
    return EXIT_OK


@sends_app.command()
@client_command
async def cancel(
    output: Output, settings: ClusterConfig, *, kind: KindArgument, key: KeyArgument, send_id: IdArgument
) -> int:
    """Cancel a send that waits, or remove a dead letter. Fails if there is none, or if its call is under way."""
    async with inaho.connect(config=settings) as cluster:
        done = await cluster.cancel_send(_send(kind, key, send_id))
    if output.as_json:
        output.document({"kind": kind, "key": key, "id": send_id, "cancelled": done})
    if not done:
        output.note(f"no send {send_id} to {kind}/{key} waits; one whose call is under way is not repeated")
        return EXIT_FAILED
    output.text(f"send {send_id} to {kind}/{key} was cancelled")
    return EXIT_OK


@sends_app.command()
@client_command
async def again(
    output: Output, settings: ClusterConfig, *, kind: KindArgument, key: KeyArgument, send_id: IdArgument
) -> int:
    """Put a dead letter behind the sends that wait for its grain, with all its attempts. Fails if there is none."""
    async with inaho.connect(config=settings) as cluster:
        done = await cluster.send_again(_send(kind, key, send_id))
    if output.as_json:
        output.document({"kind": kind, "key": key, "id": send_id, "again": done})
    if not done:
        output.note(f"there is no dead letter {send_id} of {kind}/{key}")
        return EXIT_FAILED
    output.text(f"send {send_id} to {kind}/{key} is called again")
    return EXIT_OK


def _send(kind: str, key: str, send_id: str) -> inaho.DurableSend:
    """What names a send: its id is unique among those to its grain."""
    return inaho.DurableSend(send_id, kind, key, method="", due=0.0)


def _show(output: Output, settings: ClusterConfig, found: Sequence[inaho.DurableSend], what: str) -> None:
    if output.as_json:
        output.document({"cluster": settings.name, "sends": [msgspec.structs.asdict(each) for each in found]})
    now = time.time()
    rows = [
        (
            f"{each.kind}/{each.key}",
            each.id,
            each.method,
            "dead" if each.dead else f"{max(0.0, each.due - now):.0f}",
            str(each.attempts),
            each.reason,
        )
        for each in found
    ]
    output.table(f"{len(rows)} {what} in {settings.name!r}", COLUMNS, rows)
