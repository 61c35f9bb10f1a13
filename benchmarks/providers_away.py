"""What the benchmark of providers measures while servers fail: calls, fail-overs, the order of snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from measuring import Figures, percentile
from providers_back_ends import Place, serving
from providers_fleet import Fleet, Process, until
from providers_founding import WITHIN_S, members

from inaho.config import ProvisioningConfig
from support.gate import Gate, Mode

MEMBERS: Final = 4
STEADY_S: Final = 3.0
"""From a complete cluster to the fault, at least, so that it finds members at rest."""

SHORT_S: Final = 20.0
"""Longest time of faults that are not held for minutes."""

STOPPED_S: Final = 60.0
PIPE_S: Final = 1.5
"""Members say how many calls they have made at least this often."""

COOL_DOWN_S: Final = 5.0
NIMBLE: Final = ProvisioningConfig(
    timeout_s=1.5, read_period_s=0.4, request_timeout_s=1.0, back_off_min_s=0.2, back_off_max_s=0.5,
    cool_down_s=COOL_DOWN_S,
)  # fmt: skip
"""With default settings a provider comes and goes too slowly to flap."""


# Another provider takes over.


async def fail_over(repeat: int, log: Path) -> Figures:
    """Stops etcd and measures until all members take their snapshots from Redis; then continues it."""
    taken: list[float] = []
    with serving("etcd") as etcd, serving("redis") as redis:
        fallback = Place("redis", redis)
        async with members("etcd", etcd, log, fallback) as (fleet, place, there):
            everybody = list(there)
            for number in range(repeat):
                await until(lambda: all(_in_use(one) == "etcd" for one in there), "etcd is in use")
                await asyncio.sleep(
                    STEADY_S + random.random() * place.config(there[0].authority).provisioning.read_period_s
                )
                etcd.pause()
                try:
                    stopped_at = time.monotonic()
                    await until(lambda: all(_in_use(one) == "redis" for one in there), "redis is in use", 60.0)
                    taken.append((max(_changed_at(one) for one in there) - stopped_at) * 1e3)
                    if number == 0:  # snapshots go on
                        [authority] = place.authorities(1)
                        everybody += await fleet.start([place.config(authority, fallback)])
                        await fleet.agree(everybody)
                finally:
                    etcd.resume()
            await until(lambda: all(_in_use(one) == "etcd" for one in everybody), "etcd is in use again")
            order = order_of(everybody)
            timeout_s = place.config(there[0].authority).provisioning.timeout_s
    taken.sort()
    figures = {"fail_overs": float(repeat), "p50_ms": percentile(taken, 0.5), "max_ms": taken[-1]}
    return {**figures, "target_max_ms": (timeout_s + 1.0) * 1e3, **order}


async def flapping(seconds: float, log: Path) -> Figures:
    """Stops and continues etcd at random; each member may change its provider once per cool-down."""
    with serving("etcd") as etcd, serving("redis") as redis:
        async with Fleet.running(log) as fleet:
            place, fallback = Place("etcd", etcd), Place("redis", redis)
            configs = [place.config(each, fallback, provisioning=NIMBLE) for each in place.authorities(MEMBERS)]
            there = await fleet.start(configs, WITHIN_S)
            await fleet.agree(there)
            pauses = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                etcd.pause()
                try:
                    await asyncio.sleep(random.uniform(0.2, 4.0))
                finally:
                    etcd.resume()
                pauses += 1
                await asyncio.sleep(random.uniform(0.2, 4.0))
            changes = [[line["at"] for line in one.told("ProviderChanged") if line["previous"]] for one in there]
            gaps = [after - before for each in changes for before, after in pairwise(each)]
            order = order_of(there)
    return {
        "pauses": float(pauses),
        "changes_each_max": float(max(map(len, changes))),
        "least_gap_s": min(gaps, default=seconds),
        "cool_down_s": COOL_DOWN_S,
        "changes_too_early": float(sum(gap < COOL_DOWN_S - 0.05 for gap in gaps)),
        **order,
    }


def _in_use(process: Process) -> str:
    """The provider of the newest snapshot."""
    found = process.told("snapshot")
    return str(found[-1]["provider"]) if found else ""


def _changed_at(process: Process) -> float:
    """When the first snapshot of the provider that is in use now was applied."""
    found = process.told("snapshot")
    at: float = found[-1]["at"]
    for line in reversed(found):
        if line["provider"] != found[-1]["provider"]:
            break
        at = line["at"]
    return at


def order_of(processes: Sequence[Process]) -> Figures:
    """How many snapshots these processes applied, and how often one did not follow the one before by its number."""
    seen = [[0, *(line["seq_no"] for line in one.told("snapshot"))] for one in processes]
    broken = sum(after != before + 1 for each in seen for before, after in pairwise(each))
    return {"snapshots": float(sum(len(each) - 1 for each in seen)), "snapshots_out_of_order": float(broken)}


# The server is away.

Faults = dict[str, Callable[[], contextlib.AbstractAsyncContextManager[None]]]


def faults_of(place: Place, gate: Gate, there: Sequence[Process], seconds: float) -> Faults:
    """The faults of a back end by name; each lasts as long as its context takes."""
    server, short_s = place.server, min(seconds, SHORT_S)

    @contextlib.asynccontextmanager
    async def during(begin: Callable[[], object], end: Callable[[], object], hold_s: float) -> AsyncIterator[None]:
        await asyncio.to_thread(begin)
        try:
            await asyncio.sleep(hold_s)
        finally:
            end()
        yield

    @contextlib.asynccontextmanager
    async def expired() -> AsyncIterator[None]:
        end = time.monotonic() + short_s
        while time.monotonic() < end:
            for one in there:
                with contextlib.suppress(OSError):  # it has expired before and is not written again yet
                    await place.expire(one.authority)
            await asyncio.sleep(2.0)
        yield

    @contextlib.asynccontextmanager
    async def rotated() -> AsyncIterator[None]:
        give = place.rotate()
        await asyncio.sleep(short_s)
        give()
        yield

    @contextlib.asynccontextmanager
    async def lost_history() -> AsyncIterator[None]:
        for _ in range(5):
            await place.back_end.lose_history()
            await asyncio.sleep(short_s / 5)
        yield

    def nothing() -> None:
        pass

    found: Faults = {
        "killed": lambda: during(server.kill, server.start, seconds),
        "stopped": lambda: during(server.pause, server.resume, min(seconds, STOPPED_S)),
    }
    if place.name == "dns":
        listed = [one.authority for one in there]
        found["no_answers"] = lambda: during(
            lambda: place.list_addresses([]), lambda: place.list_addresses(listed), short_s
        )
        return found
    found["cut_off"] = lambda: during(
        lambda: gate.set(Mode.SILENT), lambda: gate.set(Mode.PASS), min(seconds, STOPPED_S)
    )
    found["expired"] = expired
    if place.name in ("etcd", "consul", "kubernetes"):
        found["history_lost"] = lost_history
    if place.name in ("consul", "kubernetes", "postgresql"):
        found["rotated"] = rotated
    if place.name == "etcd":
        found["full"] = lambda: during(server.fill, server.make_room, max(short_s, min(seconds, STOPPED_S)))
    if place.name in ("redis", "postgresql"):
        emptied = server.clear if place.name == "redis" else lambda: server.execute("DELETE FROM inaho_topology")
        found["emptied"] = lambda: during(emptied, nothing, short_s)
    return found


async def away(name: str, seconds: float, log: Path) -> Figures:
    """Members call each other through all faults of a back end; a new member is found after each of them.

    Args:
        name: of the back end.
        seconds: how long the server is killed; other faults take less.
        log: of the members.
    """
    figures: Figures = {}
    with serving(name) as server:
        async with (
            Gate.to_port(server.port) as gate,
            members(name, server, log, count=MEMBERS, port=gate.port if name != "dns" else 0, calling=True) as made,
        ):
            fleet, place, there = made
            await until(lambda: all(one.told("calls") for one in there), "members call")
            for fault, begin in faults_of(place, gate, there, seconds).items():
                await asyncio.sleep(STEADY_S)
                failed = _failed(there)
                noticed = sum(len(one.told("ProvisioningUnavailable")) for one in there)
                async with begin():
                    pass
                ended_at = time.monotonic()
                [authority] = place.authorities(1)
                place.list_addresses([*(one.authority for one in there), authority])
                [new] = await fleet.start([place.config(authority)])
                await fleet.agree([*there, new])
                figures[f"{fault}_joined_after_s"] = time.monotonic() - ended_at
                place.list_addresses([one.authority for one in there])
                await fleet.leave([new])
                await fleet.agree(there)
                await until(lambda: not any(_is_unavailable(one) for one in there), "all members use the provider")
                restored = [line["at"] for one in there for line in one.told("ProvisioningRestored")]
                figures[f"{fault}_restored_after_s"] = max(0.0, max(restored, default=0.0) - ended_at)
                now = sum(len(one.told("ProvisioningUnavailable")) for one in there)
                figures[f"{fault}_unavailable"] = float(now - noticed)
                figures[f"{fault}_calls_failed"] = float(_failed(there) - failed)
            for one in there:
                one.send(signal.SIGUSR2)
            await asyncio.sleep(PIPE_S)
            figures["calls"] = float(sum(one.told("calls")[-1]["done"] for one in there))
            figures["calls_failed"] = float(_failed(there))
            figures |= order_of(there)
            for line in [line for one in there for line in one.told("call failed")][:20]:
                with log.open("a") as file:
                    file.write(f"call failed: {line}\n")
    return figures


def _is_unavailable(process: Process) -> bool:
    said = process.told("ProvisioningUnavailable", "ProvisioningRestored")
    return bool(said) and said[-1]["event"] == "ProvisioningUnavailable"


def _failed(processes: Sequence[Process]) -> int:
    return sum(len(one.told("call failed")) for one in processes)
