"""`inaho bench`: measures in a few seconds what calls cost with this installation on this machine.

One node in a process of its own, with authentication as in production, and this process as its client. It measures the
latency of calls one after another, then calls per second with many in flight, to one grain and to a thousand. It checks
an installation ("is uvloop there, is the machine busy"). It is not the project's benchmark, which compares with other
libraries and with the limit of the interpreter, and is in the repository.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import inaho
from inaho.cli.command_runner import run_command
from inaho.cli.options import JsonOption
from inaho.cli.output import EXIT_OK, Output

if TYPE_CHECKING:
    from inaho.cli.sample import Echo

__all__ = ["bench", "run_bench"]

START_TIMEOUT_S: Final = 20.0
WARM_UP_CALLS: Final = 2000
GRAINS: Final = 1000


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
        return await run_bench(output, seconds=seconds, in_flight=in_flight)

    run_command(output, command)


async def run_bench(output: Output, *, seconds: float, in_flight: int) -> int:
    """Measures, writes the results, and leaves nothing behind.

    Args:
        output: takes a table, or one JSON document.
        seconds: for each of the measurements, above 0.
        in_flight: concurrent calls in the measurements with concurrency, 1 or more.

    Returns:
        The exit code.

    Raises:
        InahoError: the node did not start, or a call failed.
    """
    from inaho.cli.quickstart.plan import make_plan
    from inaho.cli.quickstart.processes import NodeProcess

    with TemporaryDirectory(prefix="inaho-bench-") as folder, make_plan(nodes=1, directory=Path(folder)) as plan:
        command = [*plan.node_command(0, "inaho.cli.sample:Echo"), "--storage", "memory"]
        node = await NodeProcess.start("node", plan.authorities[0], command, plan.directory, plan.environ)
        try:
            await node.wait_ready(START_TIMEOUT_S)
            async with inaho.connect(config=plan.settings.replace(seeds=(plan.authorities[0],))) as cluster:
                figures = await _measure(cluster, seconds, in_flight)
        finally:
            await node.stop(plan.settings.activation.drain_s + 2.0)
    figures["machine"] = {
        "python": platform.python_version(),
        "loop": type(asyncio.get_running_loop()).__module__,
        "processors": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
    }
    if output.as_json:
        output.document(figures)
    _show(output, figures)
    return EXIT_OK


async def _measure(cluster: inaho.Cluster, seconds: float, in_flight: int) -> dict[str, Any]:
    from inaho.cli.sample import Echo

    one = cluster.grain(Echo, "one")
    many = [cluster.grain(Echo, f"grain-{index}") for index in range(GRAINS)]
    for index in range(WARM_UP_CALLS):
        await many[index % GRAINS].echo(index)
    return {
        "seconds_each": seconds,
        "sequential": await _sequential(one, seconds),
        "one_grain": await _concurrent(lambda _: one, seconds, in_flight),
        "many_grains": {"grains": GRAINS, **await _concurrent(lambda call: many[call % GRAINS], seconds, in_flight)},
    }


async def _sequential(grain: Echo, seconds: float) -> dict[str, float]:
    from statistics import quantiles

    taken: list[float] = []
    now = perf_counter()
    until = now + seconds
    while now < until or len(taken) < 2:
        await grain.echo(1)
        before, now = now, perf_counter()
        taken.append(now - before)
    cuts = quantiles(taken, n=100)
    return {
        "calls_per_s": round(len(taken) / sum(taken)),
        "p50_us": round(cuts[49] * 1e6, 1),
        "p99_us": round(cuts[98] * 1e6, 1),
    }


async def _concurrent(grain_of: Callable[[int], Echo], seconds: float, in_flight: int) -> dict[str, float]:
    """`in_flight` callers, each with one call at any time."""
    started = perf_counter()
    until = started + seconds
    done = 0

    async def caller(first: int) -> None:
        nonlocal done
        call = first
        while True:
            await grain_of(call).echo(call)
            call += in_flight
            done += 1
            if perf_counter() >= until:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for first in range(in_flight):
                group.create_task(caller(first))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return {"in_flight": in_flight, "calls_per_s": round(done / (perf_counter() - started))}


def _show(output: Output, figures: dict[str, Any]) -> None:
    sequential, one, many = figures["sequential"], figures["one_grain"], figures["many_grains"]
    machine = figures["machine"]
    rows = [
        ("one after another", f"{sequential['calls_per_s']:,}", f"{sequential['p50_us']}", f"{sequential['p99_us']}"),
        (f"{one['in_flight']} in flight, one grain", f"{one['calls_per_s']:,}", "", ""),
        (f"{many['in_flight']} in flight, {many['grains']:,} grains", f"{many['calls_per_s']:,}", "", ""),
    ]
    output.table("calls to another process", ("calls", "per second", "p50 us", "p99 us"), rows)
    output.text(
        f"Python {machine['python']}, {machine['loop']}, {machine['processors']} processors, "
        f"load {machine['load_1min']}; {figures['seconds_each']:g} s each"
    )
