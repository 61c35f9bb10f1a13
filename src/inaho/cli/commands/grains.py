"""`inaho grains`: lists the activations of the members."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_output import name_silent
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output, time_of_day
from inaho.config import ClusterConfig

__all__ = ["grains", "show_grains"]

COUNT_COLUMNS: Final = ("kind", "member", "activations")
GRAIN_COLUMNS: Final = ("kind", "key", "member", "lease", "since", "idle s", "running", "queue", "version")


@client_command
async def grains(
    output: Output,
    settings: ClusterConfig,
    *,
    kind: Annotated[str, typer.Argument(help="Only this kind.", show_default=False)] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=400, help="Activations listed of each kind and member.")
    ] = 20,
) -> int:
    """Show the activations: how many of each kind on each member, and some of them.

    Kinds of inaho itself, such as the keepers of topics, are in the table only if they are named.
    """
    return await show_grains(output, settings, kind, limit)


async def show_grains(output: Output, settings: ClusterConfig, kind: str, limit: int) -> int:
    """Writes the activations.

    Returns:
        The exit code: failed if a member did not answer, since the numbers are then incomplete.

    Raises:
        InahoError: as `connect` and `Cluster.grains`.
    """
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.grains(kind, limit=limit)
    if output.as_json:
        reports = [
            {**msgspec.structs.asdict(report), "activations": [_line(each) for each in report.activations]}
            for report in found.kinds
        ]
        silent = [msgspec.structs.asdict(each) for each in found.silent]
        output.document({"cluster": settings.name, "count": found.count, "kinds": reports, "silent": silent})
    own = [report for report in found.kinds if kind or not report.kind.startswith("inaho.")]
    counts = [(report.kind, report.authority, str(report.count)) for report in own]
    count = sum(report.count for report in own)
    output.table(f"{count} activations in {settings.name!r}", COUNT_COLUMNS, counts)
    rows = [
        (
            report.kind,
            each.key,
            report.authority,
            each.lease,
            time_of_day(each.since),
            f"{each.idle_s:.1f}",
            str(each.running),
            str(each.queue_length),
            str(each.state_version),
        )
        for report in own
        for each in report.activations
    ]
    if rows:
        output.table(f"{len(rows)} of them", GRAIN_COLUMNS, rows)
    name_silent(output, found.silent)
    return EXIT_FAILED if found.silent else EXIT_OK


def _line(activation: Any) -> dict[str, Any]:
    return {**msgspec.structs.asdict(activation), "epoch": f"{activation.epoch:#x}"}
