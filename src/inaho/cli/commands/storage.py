"""`inaho storage show` and `inaho storage accept`: for a storage that lost acknowledged data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig

if TYPE_CHECKING:
    from inaho.runtime.operators.operations import Storages

__all__ = ["accept_storage", "show_storages", "storage_app"]

storage_app = typer.Typer(help="Storages of members that lost what they had acknowledged.", no_args_is_help=True)


@storage_app.command()
@client_command
async def show(output: Output, settings: ClusterConfig) -> int:
    """Show what each member knows of its storage. Fails when one has found a loss, or does not answer."""
    return await show_storages(output, settings)


@storage_app.command()
@client_command
async def accept(output: Output, settings: ClusterConfig) -> int:
    """Accept the present content of the storage on every member; lost data stays lost. Fails if one does not answer."""
    return await accept_storage(output, settings)


async def show_storages(output: Output, settings: ClusterConfig) -> int:
    """Writes what each member knows of its storage.

    Returns:
        The exit code: failed if a member has found a loss or did not answer.

    Raises:
        InahoError: as `connect`.
    """
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.storages()
    _document(output, found)
    for report in found.reports:
        marks = "; ".join(report.marks) or "no instance seen yet"
        output.text(f"{report.authority}: {report.storage}: {report.lost or marks}")
    for report in found.lost:
        output.note(f"{report.authority} has found a loss and refuses grains with a state")
    _name_silent(output, found)
    return EXIT_FAILED if found.lost or found.silent else EXIT_OK


async def accept_storage(output: Output, settings: ClusterConfig) -> int:
    """Makes every member accept the present content of its storage. Repeating it is no error.

    Returns:
        The exit code: failed if a member did not answer or could not.

    Raises:
        InahoError: as `connect`.
    """
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.accept_storage()
    _document(output, found)
    for report in found.reports:
        what = f"accepted: {report.lost}" if report.lost else "accepted; it had found no loss"
        output.text(f"{report.authority}: {report.storage}: {what}")
    _name_silent(output, found)
    return EXIT_FAILED if found.silent else EXIT_OK


def _document(output: Output, found: Storages) -> None:
    if output.as_json:
        output.document(msgspec.to_builtins(found))


def _name_silent(output: Output, found: Storages) -> None:
    for silent in found.silent:
        output.note(f"{silent.authority} did not answer: {silent.reason}")
