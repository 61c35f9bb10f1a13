"""The commands `inaho quarantine list` and `inaho quarantine release` and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from inaho.cli.output import Output
from inaho.cli.running import run_command
from inaho.cli.settings import (
    ConfigOption,
    JsonOption,
    NameOption,
    SecretFileOption,
    SecretOption,
    SeedsOption,
    load_settings,
    require,
    split_list,
)

__all__ = ["quarantine_app"]

CONNECT_TIMEOUT_S = 5.0

quarantine_app = typer.Typer(
    help="Authorities that members send nothing to and accept nothing from.", no_args_is_help=True
)

ConnectTimeoutOption = Annotated[
    float, typer.Option("--connect-timeout", min=0.01, help="Seconds to look for a member that answers.")
]


@quarantine_app.command("list")
def list_quarantined(
    seeds: SeedsOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
    connect_timeout: ConnectTimeoutOption = CONNECT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Show what each member has quarantined, and why. Fails when a member does not answer."""
    output = Output(as_json=as_json)

    async def command() -> int:
        from inaho.cli.quarantine import show_quarantined

        settings = load_settings(
            config=config,
            secret=secret,
            secret_file=secret_file,
            seeds=split_list(seeds),
            name=name,
            membership={"join_timeout_s": connect_timeout},
        )
        require(settings, "seeds")
        return await show_quarantined(output, settings)

    run_command(output, command)


@quarantine_app.command()
def release(
    authority: Annotated[str, typer.Argument(help="host:port, as the list has it.")],
    seeds: SeedsOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
    connect_timeout: ConnectTimeoutOption = CONNECT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """End a quarantine at once, at every member that has it. Fails when none has, or a member does not answer."""
    output = Output(as_json=as_json)

    async def command() -> int:
        from inaho.cli.quarantine import release_quarantined

        settings = load_settings(
            config=config,
            secret=secret,
            secret_file=secret_file,
            seeds=split_list(seeds),
            name=name,
            membership={"join_timeout_s": connect_timeout},
        )
        require(settings, "seeds")
        return await release_quarantined(output, settings, authority)

    run_command(output, command)
