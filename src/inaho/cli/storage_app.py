"""The commands `inaho storage show` and `inaho storage accept`."""

from __future__ import annotations

import typer

from inaho.cli.connecting import connecting
from inaho.cli.output import Output
from inaho.config import ClusterConfig

__all__ = ["storage_app"]

storage_app = typer.Typer(help="Storages of members that lost what they had acknowledged.", no_args_is_help=True)


@storage_app.command()
@connecting
async def show(output: Output, settings: ClusterConfig) -> int:
    """Show what each member knows of its storage. Fails when one has found a loss, or does not answer."""
    from inaho.cli.storages import show_storages

    return await show_storages(output, settings)


@storage_app.command()
@connecting
async def accept(output: Output, settings: ClusterConfig) -> int:
    """Accept what the storage has now, at every member: what was lost stays so. Fails when a member does not answer."""
    from inaho.cli.storages import accept_storage

    return await accept_storage(output, settings)
