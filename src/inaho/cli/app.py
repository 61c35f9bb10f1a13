"""Puts all commands under one name, in the order in which `inaho --help` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from inaho.cli.commands.bench import bench
from inaho.cli.commands.block import block, unblock
from inaho.cli.commands.call import call
from inaho.cli.commands.drain import drain
from inaho.cli.commands.events import events
from inaho.cli.commands.grains import grains
from inaho.cli.commands.members import members
from inaho.cli.commands.providers import providers_app
from inaho.cli.commands.quarantine import quarantine_app
from inaho.cli.commands.quickstart import quickstart
from inaho.cli.commands.sends import sends_app
from inaho.cli.commands.settle import settle
from inaho.cli.commands.storage import storage_app
from inaho.cli.commands.topics import topics_app
from inaho.cli.commands.up import up
from inaho.cli.commands.where import where

__all__ = ["app"]

app = typer.Typer(
    name="inaho",
    help="Clustered virtual actors on asyncio. Settings: defaults < --config file < INAHO_* environment < options.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


for command in (up, quickstart, bench, members, call, where, grains, drain, block, unblock, settle, events):
    app.command()(command)
app.add_typer(providers_app, name="providers")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(sends_app, name="sends")
app.add_typer(storage_app, name="storage")
app.add_typer(topics_app, name="topics")


def _version(wanted: bool) -> None:
    if wanted:
        from inaho import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _inaho(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass
