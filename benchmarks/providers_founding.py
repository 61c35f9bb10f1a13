"""What the benchmark of providers measures while clusters are founded, restarted and joined."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from measuring import Figures, percentile
from providers_back_ends import POLLED, Place, serving
from providers_fleet import Fleet, Process, clusters_of, until

from inaho.config import ProvisioningConfig

AT_ONCE: Final = 20
WITHIN_S: Final = 0.05
LONG_TTL_S: Final = 300.0
"""The registrations of killed members last longer than any restart is waited for."""

SHORT_TTL_S: Final = 3.0

RESTART_TARGET_MS: Final = 5000.0
FOUND_TARGET_MS: Final = 1000.0
POLLED_TARGET_MS: Final = 1200.0
"""One period of a second, and the read."""

OTHERS: Final = 5


async def founding(name: str, rounds: int, log: Path, *, disturbed: bool = False) -> Figures:
    """Twenty processes found one cluster; all are killed and started again while the back end still lists them.

    Args:
        name: of the back end.
        rounds: foundings, and as many restarts.
        log: of the members.
        disturbed: the server is away for a moment meanwhile, or some of the processes are.
    """
    config = ProvisioningConfig(ttl_s=SHORT_TTL_S if disturbed else LONG_TTL_S)
    agree_ms: list[float] = []
    again_ms: list[float] = []
    figures: Figures = {"rounds": float(rounds), "not_one_cluster": 0.0, "not_one_cluster_again": 0.0, "founders": 0.0}
    with serving(name) as server:
        for _ in range(rounds):
            async with Fleet.running(log) as fleet:
                place = Place(name, server)
                configs = [place.config(each, provisioning=config) for each in place.authorities(AT_ONCE)]
                for taken, broken in ((agree_ms, "not_one_cluster"), (again_ms, "not_one_cluster_again")):
                    random.shuffle(configs)
                    started = await fleet.start(configs, WITHIN_S)
                    if disturbed:
                        await disturb(server, started)
                    agreed_at = await fleet.agree(started)
                    taken.append((agreed_at - started[0].forked_at) * 1e3)
                    founders = sum(len(one.told("ClusterFounded")) for one in started)
                    figures[broken] += clusters_of(started) != 1 or founders != 1
                    figures["founders"] += founders
                    await fleet.kill(started)
    for label, taken in (("agree", agree_ms), ("again_agree", again_ms)):
        taken.sort()
        figures[f"{label}_p50_ms"], figures[f"{label}_max_ms"] = percentile(taken, 0.5), taken[-1]
    return figures if disturbed else {**figures, "target_again_agree_max_ms": RESTART_TARGET_MS}


async def disturb(server: Any, started: Sequence[Process]) -> None:
    """Kills or stops the server for a moment, or stops some processes for longer than their registrations live."""
    how = random.choice(("kill the server", "stop the server", "stop processes"))
    await asyncio.sleep(random.uniform(0.1, 2.0))
    if how == "stop processes":
        stopped = random.sample(started, len(started) // 3)
        for one in stopped:
            one.send(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.0, 0.2))
        await asyncio.sleep(random.uniform(1.0, 2 * SHORT_TTL_S))
        for one in stopped:
            one.send(signal.SIGCONT)
        return
    begin, end = (server.kill, server.start) if how == "kill the server" else (server.pause, server.resume)
    begin()
    try:
        await asyncio.sleep(random.uniform(0.2, 3.0))
    finally:
        end()


async def found(name: str, repeat: int, log: Path) -> Figures:
    """Time from a registration until all other members have it in a snapshot. With DNS, from the change of the zone."""
    taken: list[float] = []
    with serving(name) as server:
        async with members(name, server, log) as (fleet, place, there):
            for _ in range(repeat):
                [authority] = place.authorities(1)
                if name == "dns":
                    place.list_addresses([*(one.authority for one in there), authority])
                [new] = await fleet.start([place.config(authority)], tells_registration=name != "dns")
                if name == "dns":
                    registered_at = new.forked_at
                else:
                    registered_at = await registered(new)
                found_at = [await listed_at(one, authority) for one in there]
                taken.append(max(0.0, max(found_at) - registered_at) * 1e3)
                await fleet.agree([*there, new])
                place.list_addresses([one.authority for one in there])
                await fleet.leave([new])
                await fleet.agree(there)
    taken.sort()
    return {
        "registrations": float(repeat),
        "found_p50_ms": percentile(taken, 0.5),
        "found_p99_ms": percentile(taken, 0.99),
        "found_max_ms": taken[-1],
        "target_found_max_ms": POLLED_TARGET_MS if name in POLLED else FOUND_TARGET_MS,
    }


async def registered(process: Process) -> float:
    """When the registration of this process was first written, waited for."""
    await until(lambda: process.first("registered"), f"{process.authority} is registered")
    at: float = process.told("registered")[0]["at"]
    return at


async def listed_at(process: Process, authority: str) -> float:
    """When a snapshot of this process first listed that authority, waited for."""

    def listing() -> list[float]:
        return [line["at"] for line in process.told("snapshot") if authority in line["listed"]]

    await until(listing, f"{process.authority} has {authority} in a snapshot")
    return listing()[0]


@contextlib.asynccontextmanager
async def members(
    name: str, server: object, log: Path, *fallbacks: Place, count: int = OTHERS, port: int = 0, calling: bool = False
) -> AsyncIterator[tuple[Fleet, Place, list[Process]]]:
    """A cluster with default settings whose members agree."""
    async with Fleet.running(log) as fleet:
        place = Place(name, server, port)
        authorities = place.authorities(count)
        place.list_addresses(authorities)
        there = await fleet.start([place.config(authority, *fallbacks) for authority in authorities], WITHIN_S)
        await fleet.agree(there)
        if calling:
            for one in there:
                one.send(signal.SIGUSR1)
        yield fleet, place, there
