"""The commands `inaho quarantine list` and `inaho quarantine release` and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from inaho.cli.connecting import connecting
from inaho.cli.output import Output
from inaho.config import ClusterConfig

__all__ = ["quarantine_app"]

quarantine_app = typer.Typer(
    help="Authorities that members send nothing to and accept nothing from.", no_args_is_help=True
)


@quarantine_app.command("list")
@connecting
async def list_quarantined(output: Output, settings: ClusterConfig) -> int:
    """Show what each member has quarantined, and why. Fails when a member does not answer."""
    from inaho.cli.quarantine import show_quarantined

    return await show_quarantined(output, settings)


@quarantine_app.command()
@connecting
async def release(
    output: Output,
    settings: ClusterConfig,
    *,
    authority: Annotated[str, typer.Argument(help="host:port, as the list has it.")],
) -> int:
    """End a quarantine at once, at every member that has it. Fails when none has, or a member does not answer."""
    from inaho.cli.quarantine import release_quarantined

    return await release_quarantined(output, settings, authority)
