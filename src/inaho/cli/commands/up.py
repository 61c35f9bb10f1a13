"""`inaho up`: its options. What it does is in `inaho.cli.up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inaho.cli.command_runner import run_command, start_logging
from inaho.cli.options import (
    ConfigOption,
    JsonOption,
    NameOption,
    ProviderOption,
    SecretFileOption,
    SecretOption,
    SeedsOption,
)
from inaho.cli.output import Output
from inaho.cli.settings import load_settings, split_list, split_providers
from inaho.config import ClusterConfig

__all__ = ["up"]

TargetsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODULE:GRAIN...",
        help="What to host: module:Grain, module:list_of_grains, or module for all in it.",
    ),
]
AuthorityOption = Annotated[
    str | None,
    typer.Option(
        "--authority",
        help="host:port at which others reach it, and to bind; port 0 takes a free one (INAHO_AUTHORITY). Else "
        "127.0.0.1:7700, or a free port of 127.0.0.1 where all seeds and providers are on this machine.",
        show_default=False,
    ),
]
BindOption = Annotated[
    str | None,
    typer.Option(
        "--bind",
        help="host:port to bind where it is not the authority, such as 0.0.0.0:7700 in a container (INAHO_BIND).",
        show_default=False,
    ),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of this node's files.", show_default=False)
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="INAHO_STORAGE",
        help="memory, sqlite:path, redis://... or postgresql://...; else state.sqlite in --data-dir. "
        "Put one with a password into the variable: arguments are shown to every user of the machine.",
        show_default=False,
    ),
]
ReadyFileOption = Annotated[
    Path | None,
    typer.Option("--ready-file", help="Written as JSON when the node is up, removed at the end.", show_default=False),
]
StopOnEofOption = Annotated[
    bool, typer.Option("--stop-on-eof", help="Leave when standard input ends: when the parent process does.")
]
LogLevelOption = Annotated[str, typer.Option("--log-level", help="debug, info, warning, error or critical.")]


def up(
    targets: TargetsArgument,
    authority: AuthorityOption = None,
    bind: BindOption = None,
    seeds: SeedsOption = None,
    provider: ProviderOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    data_dir: DataDirOption = None,
    storage: StorageOption = None,
    config: ConfigOption = None,
    ready_file: ReadyFileOption = None,
    stop_on_eof: StopOnEofOption = False,
    log_level: LogLevelOption = "warning",
    as_json: JsonOption = False,
) -> None:
    """Run a member until SIGTERM or Ctrl-C, then leave gracefully."""
    output = Output(as_json=as_json)

    def given() -> ClusterConfig:
        return load_settings(
            config=config,
            secret=secret,
            secret_file=secret_file,
            authority=authority,
            bind=bind,
            seeds=split_list(seeds),
            providers=split_providers(provider),
            name=name,
            data_dir=None if data_dir is None else str(data_dir),
        )

    async def command() -> int:
        from inaho.cli.up.checks import prepare
        from inaho.cli.up.serving import serve

        settings, grains = prepare(targets, given, storage, lambda: start_logging(log_level))
        return await serve(output, settings, grains, storage=storage, ready_file=ready_file, stop_on_eof=stop_on_eof)

    run_command(output, command)
