"""The commands and their options. What they do is imported when one runs, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inaho.cli.operations_app import operations_app
from inaho.cli.output import Output
from inaho.cli.quarantine_app import quarantine_app
from inaho.cli.running import run_command, start_logging
from inaho.cli.settings import (
    ConfigOption,
    JsonOption,
    NameOption,
    SecretFileOption,
    SecretOption,
    SeedsOption,
    load_settings,
    split_list,
)
from inaho.cli.storage_app import storage_app

if TYPE_CHECKING:
    from inaho.config import ClusterConfig

__all__ = ["app"]

app = typer.Typer(
    name="inaho",
    help="Clustered virtual actors on asyncio. Settings: defaults < --config file < INAHO_* environment < options.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(operations_app)
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(storage_app, name="storage")


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


@app.command()
def up(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE:GRAIN...",
            help="What to host: module:Grain, module:list_of_grains, or module for all in it.",
        ),
    ],
    authority: Annotated[
        str | None,
        typer.Option(
            "--authority",
            help="host:port at which others reach it, and to bind; port 0 takes a free one (INAHO_AUTHORITY). Else "
            "127.0.0.1:7700, or a free port of 127.0.0.1 where the seeds are on this machine.",
            show_default=False,
        ),
    ] = None,
    bind: Annotated[
        str | None,
        typer.Option(
            "--bind",
            help="host:port to bind where it is not the authority, such as 0.0.0.0:7700 in a container (INAHO_BIND).",
            show_default=False,
        ),
    ] = None,
    seeds: SeedsOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of this node's files.", show_default=False)
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            envvar="INAHO_STORAGE",
            help="memory, sqlite:path, redis://... or postgresql://...; else state.sqlite in --data-dir. "
            "Put one with a password into the variable: arguments are shown to every user of the machine.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            "--ready-file", help="Written as JSON when the node is up, removed at the end.", show_default=False
        ),
    ] = None,
    stop_on_eof: Annotated[
        bool, typer.Option("--stop-on-eof", help="Leave when standard input ends: when the parent process does.")
    ] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning, error or critical.")] = "warning",
    as_json: JsonOption = False,
) -> None:
    """Run a member until SIGTERM or Ctrl-C, then leave gracefully."""
    output = Output(as_json=as_json)

    async def command() -> int:
        from inaho.cli.serving import serve
        from inaho.cli.starting import prepare

        def given() -> ClusterConfig:
            return load_settings(
                config=config,
                secret=secret,
                secret_file=secret_file,
                authority=authority,
                bind=bind,
                seeds=split_list(seeds),
                name=name,
                data_dir=None if data_dir is None else str(data_dir),
            )

        settings, grains = prepare(targets, given, storage, lambda: start_logging(log_level))
        return await serve(output, settings, grains, storage=storage, ready_file=ready_file, stop_on_eof=stop_on_eof)

    run_command(output, command)


@app.command()
def quickstart(
    nodes: Annotated[int, typer.Option("--nodes", min=2, max=16, help="Processes to start.")] = 2,
    authority: Annotated[
        str | None,
        typer.Option(
            "--authority",
            help="host:port of the first node; port 0, the default, takes free ones for all.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option("--port", help="Port of the first node; the others take the following ones.", show_default=False),
    ] = None,
    seeds: SeedsOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory", help="Folder in which the run makes a fresh folder of its own.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the cluster running, with all its nodes, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Form a cluster of processes here, call grains across it, kill a node, and write a report of it all."""
    output = Output(as_json=as_json)

    async def command() -> int:
        from inaho.cli.plan import make_plan
        from inaho.cli.quickstart import run_quickstart

        with make_plan(
            nodes=nodes,
            authority=authority,
            port=port,
            seeds=split_list(seeds),
            secret=secret,
            secret_file=secret_file,
            name=name,
            config=config,
            directory=directory,
        ) as plan:
            return await run_quickstart(output, plan, keep=keep)

    run_command(output, command)


@app.command()
def bench(
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.05, max=600, help="How long each of the measurements takes.")
    ] = 1.0,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, max=10_000, help="Calls under way at once.")] = 64,
    as_json: JsonOption = False,
) -> None:
    """Measure this installation: calls from this process to grains in another one."""
    output = Output(as_json=as_json)

    async def command() -> int:
        from inaho.cli.bench import run_bench

        return await run_bench(output, seconds=seconds, in_flight=in_flight)

    run_command(output, command)
