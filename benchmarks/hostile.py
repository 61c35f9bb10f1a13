"""What hostile peers cost a member and its other callers: each figure with the bound that it must keep.

    python benchmarks/hostile.py slow|flood|frames|handshakes|secrets|all [--quick] [--patient] [--json]

`slow`: an authenticated peer asks for answers without end and reads 1 KB/s. `flood`: a million calls of one grain that
can answer a thousand a second, as fast as they go and, beside it, at a fixed rate. `frames`: mutated frames, in this
process. `handshakes`: a thousand connections that stay half open. `secrets`: a thousand dials a second with a wrong
secret in the name of another member.

Members, the flood and the measured callers are processes of their own; with fewer cores than those the latencies of
the measured callers include the scheduler's. Quick runs are shorter, and say by their numbers what they are. Patient
members forgive each other most of a minute of silence, so that a busy machine disturbs nobody. Exit code 1 when a bound
is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from hostile_peers import SlowReader, half_open, wrong_secrets
from inaho_server import Echo
from measuring import Figures, keys, percentile, served

import inaho
from inaho import Cluster
from inaho.config import TransportConfig
from inaho.types import MemberStatus

HERE = Path(__file__).parent
SERVER = str(HERE / "hostile_server.py")
TRANSPORT = TransportConfig()
READ_BYTES_PER_S = 1024


class Bound(NamedTuple):
    """The most that a figure may be."""

    limit: float
    unit: str = ""


BOUNDS: dict[str, Bound] = {
    "slow_small_growth": Bound(1.1, "x write cap"),
    "slow_large_growth": Bound(1.1, "x write cap"),
    "slow_p99_ratio": Bound(1.2, "x undisturbed"),
    "flood_refusal_p99_ms": Bound(50.0, "ms"),
    "flood_refusal_max_ms": Bound(50.0, "ms"),
    "flood_failed": Bound(0, "calls"),
    "flood_growth_mb": Bound(32.0, "MB"),  # a full turn queue, and what one read of the flood is decoded into
    "flood_p50_ratio": Bound(2.0, "x undisturbed"),
    "flood_p99_ratio": Bound(2.0, "x undisturbed"),
    "flood_paced_refusal_max_ms": Bound(50.0, "ms"),
    "flood_paced_p50_ratio": Bound(2.0, "x undisturbed"),
    "flood_paced_p99_ratio": Bound(2.0, "x undisturbed"),
    "frame_processor_max_ms": Bound(20.0, "ms"),
    "frames_resident_growth_mb": Bound(20.0, "MB"),
    "frames_unhandled": Bound(0, "errors"),
    "handshakes_pending_max": Bound(TRANSPORT.handshakes_pending_max, "connections"),
    "handshakes_closed_after_max_s": Bound(TRANSPORT.handshake_timeout_s * 1.05, "s"),
    "handshakes_failed_calls": Bound(0, "calls"),
    "handshakes_members_disturbed": Bound(0, "events"),
    "secrets_admitted": Bound(0, "connections"),
    "secrets_failed_calls": Bound(0, "calls"),
    "secrets_members_disturbed": Bound(0, "events"),
}


class Options(argparse.Namespace):
    """What the command line says."""

    attack: str
    quick: bool
    patient: bool
    json: bool
    frames: int
    calls: int
    window: int
    rate: float
    seconds: float


class Site:
    """Members in processes of their own, and a client of each kind of question."""

    def __init__(self, cluster: Cluster, authorities: list[str], secret: str) -> None:
        self.cluster = cluster
        self.authorities = authorities
        self.secret = secret

    async def gauge(self, index: int = 0) -> dict[str, Any]:
        """What a member says of itself since it was last asked."""
        actor = self.cluster.actor(f"inaho://inaho@{self.authorities[index]}/user/gauge")
        said: dict[str, Any] = await actor.ask("figures", timeout_s=30.0)
        return said

    async def latencies(self, seconds: float) -> tuple[float, float]:
        """Median and p99 of echo calls one after another, seconds; they go to grains that nobody else calls."""
        names = keys(64)
        grains = [self.cluster.grain(Echo, name) for name in names]
        taken: list[float] = []
        clock = time.perf_counter
        until = clock() + seconds
        number = 0
        while clock() < until:
            start = clock()
            await grains[number & 63].echo(names[number & 63], number)
            taken.append(clock() - start)
            number += 1
        taken.sort()
        return percentile(taken, 0.5), percentile(taken, 0.99)

    async def members_disturbed(self) -> int:
        """Removals, silences and quarantines that the members have seen, and members that are missing."""
        found = 0
        for index in range(len(self.authorities)):
            said = await self.gauge(index)
            events = {name: count for name, count in said["events"].items() if name != "ConnectionRefused"}
            found += sum(events.values()) + abs(said["members"] - len(self.authorities)) + said["quarantined"]
        return found


async def attack_slow(site: Site, options: Options) -> Figures:
    """Growth with small and with large answers, and what others notice: pairs of rounds, with and without."""
    figures: Figures = {}
    cap = TRANSPORT.write_high_bytes
    for name, size in (("small", 1024), ("large", 64 << 10)):
        for _ in range(200):
            await site.cluster.call("Bulk", "warm", "blob", size)
        await site.latencies(options.seconds / 4)
        await site.gauge()
        before = await site.gauge()
        reader = SlowReader(site.authorities[0], site.secret, size)
        await reader.start(READ_BYTES_PER_S)
        await asyncio.sleep(options.seconds)
        after = await site.gauge()
        await reader.stop()
        figures[f"slow_{name}_growth"] = max(0, after["resident_max"] - before["resident"]) / cap
        figures[f"slow_{name}_received_kb_per_s"] = reader.received / options.seconds / 1024
    ratios: list[float] = []
    for _ in range(3 if options.quick else 9):
        _, calm = await site.latencies(options.seconds / 2)
        reader = SlowReader(site.authorities[0], site.secret, 1024)
        await reader.start(READ_BYTES_PER_S)
        await asyncio.sleep(0.3)  # until it is stuck
        _, disturbed = await site.latencies(options.seconds / 2)
        await reader.stop()
        ratios.append(disturbed / calm)
    figures["slow_p99_ratio"] = statistics.median(ratios)
    return figures


async def attack_flood(site: Site, options: Options) -> Figures:
    """As fast as they go, for memory and refusals; at a fixed rate, for what callers of other grains notice."""
    figures = await _flood(site, options.calls, options.window, 0.0, options, "flood")
    paced = int(options.rate * options.seconds * 2)
    figures |= await _flood(site, paced, options.window, options.rate, options, "flood_paced")
    return figures


async def _flood(site: Site, calls: int, window: int, rate: float, options: Options, name: str) -> Figures:
    calm = [await site.latencies(options.seconds)]
    await site.gauge()
    before = await site.gauge()
    arguments = [site.authorities[0], site.secret, str(calls), str(window), str(rate)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "hostile_flood.py"), *arguments, stdout=asyncio.subprocess.PIPE
    )
    telling = asyncio.ensure_future(process.communicate())
    await asyncio.sleep(0.5)  # it starts
    rounds: list[tuple[float, float]] = []
    while not telling.done():
        rounds.append(await site.latencies(0.5))
    out, _ = await telling
    if process.returncode:
        raise RuntimeError(f"the flood ended with {process.returncode}")
    said: Figures = json.loads(out)
    after = await site.gauge()
    full = rounds[:-1] or rounds  # the last one reaches beyond the end of the flood
    figures = {f"{name}_{key}": value for key, value in said.items()}
    figures[f"{name}_growth_mb"] = max(0, after["resident_max"] - before["resident"]) / 1e6
    calm.append(await site.latencies(options.seconds))
    for index, share in enumerate(("p50", "p99")):
        undisturbed = statistics.mean(pair[index] for pair in calm)
        figures[f"{name}_{share}_ratio"] = statistics.median(pair[index] for pair in full) / undisturbed
    return figures


async def attack_handshakes(site: Site, options: Options) -> Figures:
    """Half open connections to the first member, while another caller goes on."""
    await site.members_disturbed()
    count = 1000
    attack = asyncio.ensure_future(half_open(site.authorities[0], count, TRANSPORT.handshake_timeout_s * 2))
    failed, calls = await _call_until(site, attack)
    closed_after = sorted(await attack)
    said = await site.gauge()
    refused = said["events"].get("ConnectionRefused", 0)
    held = [seconds for seconds in closed_after if seconds > 1.0]
    return {
        "handshakes_opened": count,
        "handshakes_pending_max": said["pending_max"],
        "handshakes_held": len(held),
        "handshakes_turned_away_after_max_ms": max(s for s in closed_after if s <= 1.0) * 1e3,
        "handshakes_closed_after_max_s": closed_after[-1],
        "handshakes_refusals_told": refused,
        "handshakes_calls_meanwhile": calls,
        "handshakes_failed_calls": failed,
        "handshakes_members_disturbed": await site.members_disturbed() + _disturbed(said, site),
    }


async def attack_secrets(site: Site, options: Options) -> Figures:
    """Wrong secrets at the first member, each in the name of the second."""
    await site.members_disturbed()
    start = time.perf_counter()
    attack = asyncio.ensure_future(wrong_secrets(site.authorities[0], 1000, site.authorities[1]))
    failed, calls = await _call_until(site, attack)
    refused, admitted = await attack
    taken = time.perf_counter() - start
    up = [member for member in site.cluster.members() if member.status is MemberStatus.UP]
    await asyncio.sleep(2.0)  # what would come of it takes a few probes
    return {
        "secrets_dials_per_second": (refused + admitted) / taken,
        "secrets_refused": refused,
        "secrets_admitted": admitted,
        "secrets_calls_meanwhile": calls,
        "secrets_failed_calls": failed,
        "secrets_members_disturbed": await site.members_disturbed() + abs(len(up) - len(site.authorities)),
    }


def _disturbed(said: dict[str, Any], site: Site) -> int:
    events = sum(count for name, count in said["events"].items() if name != "ConnectionRefused")
    return int(events + abs(said["members"] - len(site.authorities)) + said["quarantined"])


async def _call_until(site: Site, attack: asyncio.Future[Any]) -> tuple[int, int]:
    """Calls grains of all members until the attack is over; how many failed, of how many."""
    names = keys(64)
    failed = calls = 0
    while not attack.done():
        try:
            await site.cluster.grain(Echo, names[calls & 63]).echo(names[calls & 63], calls)
        except inaho.InahoError:
            failed += 1
        calls += 1
        await asyncio.sleep(0.001)
    return failed, calls


ATTACKS: dict[str, tuple[int, Callable[[Site, Options], Awaitable[Figures]]]] = {
    "slow": (1, attack_slow),
    "flood": (1, attack_flood),
    "handshakes": (2, attack_handshakes),
    "secrets": (2, attack_secrets),
}
"""Members that it takes, and the measurement."""


def run_attack(name: str, options: Options) -> Figures:
    """Starts fresh members, attacks them, ends them."""
    if name == "frames":
        from hostile_frames import measure_frames

        return measure_frames(options.frames)
    count, attack = ATTACKS[name]
    secret = secrets.token_hex(16)
    with ExitStack() as members:
        authorities: list[str] = []
        for _ in range(count):
            seed = ("--seed", authorities[0]) if authorities else ()
            patient = ("--patient",) if options.patient else ()
            authorities.append(members.enter_context(served(SERVER, secret, *seed, *patient)))

        async def measure() -> Figures:
            async with inaho.connect(authorities, secret=secret) as cluster:
                while len(cluster.members()) < count:  # noqa: ASYNC110  there is nothing to be woken by
                    await asyncio.sleep(0.01)
                return await attack(Site(cluster, authorities, secret), options)

        return uvloop.run(measure())


def show_judged(figures: Figures, as_json: bool) -> bool:
    """Prints each figure, with its bound where it has one; whether all bounds are kept."""
    kept = {name: value <= BOUNDS[name].limit for name, value in figures.items() if name in BOUNDS}
    if as_json:
        judged = {name: {"bound": BOUNDS[name].limit, "kept": kept[name]} for name in kept}
        print(json.dumps({"figures": figures, "bounds": judged}))
    else:
        for name, value in figures.items():
            bound = BOUNDS.get(name)
            judged_as = (
                "" if bound is None else f"at most {bound.limit:,g} {bound.unit}: {'kept' if kept[name] else 'BROKEN'}"
            )
            print(f"{name:38} {value:14,.2f}  {judged_as}".rstrip(), flush=True)
    return all(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description="What hostile peers cost a member.")
    parser.add_argument("attack", choices=(*ATTACKS, "frames", "all"))
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--patient", action="store_true", help="members forgive each other most of a minute of silence")
    parser.add_argument("--frames", type=int, help="mutated frames; 10,000,000, or 50,000 when quick")
    parser.add_argument("--calls", type=int, help="calls of the one grain; 1,000,000, or 50,000 when quick")
    parser.add_argument("--window", type=int, default=1280, help="calls of the flood under way at once")
    parser.add_argument("--rate", type=float, default=2_000.0, help="calls per second of the paced flood")
    parser.add_argument("--seconds", type=float, help="length of one measurement; 10, or 2 when quick")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(namespace=Options())
    options.frames = options.frames or (50_000 if options.quick else 10_000_000)
    options.calls = options.calls or (50_000 if options.quick else 1_000_000)
    options.seconds = options.seconds or (2.0 if options.quick else 10.0)
    names = (*ATTACKS, "frames") if options.attack == "all" else (options.attack,)
    figures: Figures = {}
    for name in names:
        figures |= run_attack(name, options)
    sys.exit(not show_judged(figures, options.json))


if __name__ == "__main__":
    main()
