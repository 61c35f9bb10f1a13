"""`inaho quickstart`: its options. What it does is in `inaho.cli.quickstart`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inaho.cli.command_runner import run_command
from inaho.cli.options import ConfigOption, JsonOption, NameOption, SecretFileOption, SecretOption, SeedsOption
from inaho.cli.output import Output
from inaho.cli.settings import split_list

__all__ = ["quickstart"]

NodesOption = Annotated[int, typer.Option("--nodes", min=2, max=16, help="Processes to start.")]
FirstAuthorityOption = Annotated[
    str | None,
    typer.Option(
        "--authority",
        help="host:port of the first node; port 0, the default, takes free ones for all.",
        show_default=False,
    ),
]
PortOption = Annotated[
    str | None,
    typer.Option("--port", help="Port of the first node; the others take the following ones.", show_default=False),
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option("--directory", help="Folder in which the run makes a fresh folder of its own.", show_default=False),
]
KeepOption = Annotated[bool, typer.Option("--keep", help="Keep the cluster running, with all its nodes, until Ctrl-C.")]


def quickstart(
    nodes: NodesOption = 2,
    authority: FirstAuthorityOption = None,
    port: PortOption = None,
    seeds: SeedsOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    keep: KeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a cluster of processes on this machine, call grains, kill a node, and write a report of all steps."""
    output = Output(as_json=as_json)

    async def command() -> int:
        from inaho.cli.quickstart.plan import make_plan
        from inaho.cli.quickstart.quickstart import run_quickstart

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
