"""How long the event loop of one node stands still: as the topology changes, and as activations come up.

    python benchmarks/event_loop_stalls.py [--only topology|control|activations] [--count N] [--members N] [--json]

A stall is the time between two turns of the loop: a message that arrives just then waits so long. Each row has the
longest one, by the clock and by the processor time of the loop's thread. The second is judged, since other work on the
machine lengthens it less; the time of Python's collector has a column of its own, since a collection may fall anywhere.
Each part runs in a process of its own:

- `topology`: a node with ten kinds, 10,000 activations and a full PidCache is given topologies of 1,000 members, as
  its control plane gives them. The other members are real connections to a second process, which answers for all of
  them (`stalls_peers.py`). Judged without the collector.
- `control`: 1,000 control planes in virtual time, some minutes. A row is the longest step of any of them, with the
  decoding and encoding of its messages. The collector is off: it would walk over a thousand nodes, not one.
- `activations`: a million activations come up. Judged with the collector.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import Figures
from stalls_peers import KINDS, face_id, kinds_of

import inaho
from inaho import ActivationConfig, ClusterConfig, Grain
from inaho.core.effects import Effect, Send
from inaho.core.inputs import Input, Received
from inaho.core.membership.topology import topology_hash
from inaho.core.messages import ControlMessage
from inaho.runtime.placement.placement_actor import ActivationRequest
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot
from inaho.wire.codec import decoder, encode

MEMBERS = 1_000
MANY = 50
ACTIVATIONS = 10_000
CACHED = 100_000
COUNT = 1_000_000
IN_FLIGHT = 64
TOPOLOGY_LIMIT_MS = 10.0
ACTIVATIONS_LIMIT_MS = 30.0
PARTS = ("topology", "control", "activations")
SETTLED_S = 120.0
UP, LEAVING, UNREACHABLE, JOINING = (
    MemberStatus.UP, MemberStatus.LEAVING, MemberStatus.UNREACHABLE, MemberStatus.JOINING,
)  # fmt: skip

_decode = decoder(ControlMessage)


class Plain(Grain):
    async def touch(self) -> int:
        return 1


class Stall:
    """The longest time between two turns of the loop, while it is entered, in milliseconds.

    Attributes:
        wall_ms: by the clock, all included.
        cpu_ms: processor time of the thread, without the collector.
        all_ms: processor time, with the collector.
        collector_ms: the longest collection.
    """

    def __init__(self) -> None:
        self.wall_ms = self.cpu_ms = self.all_ms = self.collector_ms = 0.0
        self._collected_ms = self._began = 0.0
        self._watching: asyncio.Task[None] | None = None

    def _collecting(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
            return
        took_ms = (time.thread_time() - self._began) * 1e3
        self.collector_ms = max(self.collector_ms, took_ms)
        self._collected_ms += took_ms

    async def _watch(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        while True:
            self._collected_ms = 0.0
            await asyncio.sleep(0)
            wall_now, cpu_now = time.perf_counter(), time.thread_time()
            all_ms = (cpu_now - cpu) * 1e3
            self.wall_ms = max(self.wall_ms, (wall_now - wall) * 1e3)
            self.all_ms = max(self.all_ms, all_ms)
            self.cpu_ms = max(self.cpu_ms, all_ms - self._collected_ms)
            wall, cpu = wall_now, cpu_now

    async def __aenter__(self) -> Stall:
        gc.callbacks.append(self._collecting)
        self._watching = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collecting)
        assert self._watching is not None
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    def figures(self, name: str, judged_ms: float) -> Figures:
        return {
            f"{name}_ms": judged_ms,
            f"{name}_wall_ms": self.wall_ms,
            f"{name}_collector_ms": self.collector_ms,
        }


# A node among many members.


class Cluster:
    """One real node, the process that answers for all others, and the topologies between them."""

    def __init__(self, cluster: inaho.Cluster, peers: asyncio.subprocess.Process, port: int) -> None:
        self.node: Any = cluster._node
        self.cluster = cluster
        self.members: dict[str, Member] = {}
        self.blocked: tuple[str, ...] = ()
        self._peers = peers
        self._port = port
        self._version = 1_000
        own = next(member for member in self.node.topology.members if member.node_id == self.node.local.node_id)
        self.members[own.authority] = own

    def other(self, number: int, status: MemberStatus = UP) -> Member:
        address = f"127.1.{number // 250}.{number % 250 + 1}"
        return Member(f"{address}:{self._port}", face_id(address), 1, status, kinds_of(number))

    def put(self, members: Sequence[Member]) -> None:
        self.members |= {member.authority: member for member in members}

    def drop(self, members: Sequence[Member]) -> None:
        for member in members:
            del self.members[member.authority]

    async def apply(self) -> None:
        """Gives the node the present members, in a turn of the loop of its own, as the control plane does."""
        self._version += 1
        members = tuple(sorted(self.members.values(), key=lambda member: member.authority))
        snapshot = TopologySnapshot(self._version, topology_hash(members, self.blocked), members, self.blocked)
        assert self._peers.stdin is not None and self._peers.stdout is not None
        self._peers.stdin.write(base64.b64encode(encode(snapshot)) + b"\n")
        await self._peers.stdout.readline()
        done = asyncio.get_running_loop().create_future()

        def apply() -> None:
            try:
                self.node.topology_changes.apply(snapshot)
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        asyncio.get_running_loop().call_soon(apply)
        await done

    def is_settled(self) -> bool:
        node = self.node
        surveys = node.survey.kinds.values()
        bridge = node.bridge
        return (
            all(known.synced for known in surveys)
            and not bridge.previous.handoff
            and not bridge.hands_over
            and not any(host.draining.walking or host.draining.moving for host in node.hosts.values())
        )

    async def settled(self) -> None:
        deadline = time.monotonic() + SETTLED_S
        while not self.is_settled():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not settled after {SETTLED_S} s")
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)

    async def fill(self, activations: int, cached: int) -> None:
        """Activations in all partitions of this node, and identities of others in its PidCache."""
        node, each = self.node, activations // len(KINDS)
        others = [member for member in self.members.values() if member.node_id != node.local.node_id]
        for kind in KINDS:
            name, made = kind.inaho_kind.name, 0
            for number in range(10_000_000):
                if made == each:
                    break
                if not number % 100:
                    await asyncio.sleep(0)
                key = f"entity-{number}"
                owner = node.topology.lookup.owner(name, key)
                if kind.inaho_kind.placed:
                    request = ActivationRequest(name, key, 1, node.topology.lookup.hash, owner.node_id)
                    response = await node.placed_activations.activate(request)
                    if response.code:
                        raise RuntimeError(response.reason)
                elif owner.node_id == node.local.node_id:
                    await self.cluster.grain(kind, key).touch()
                else:
                    continue
                made += 1
        now = node.local.loop.time()
        for number in range(cached):
            name, key = KINDS[number % len(KINDS)].inaho_kind.name, f"far-{number}"
            owner = (
                others[number % len(others)]
                if KINDS[number % len(KINDS)].inaho_kind.placed
                else node.topology.lookup.owner(name, key)
            )
            node.pid_cache.put(Pid(owner.authority, owner.node_id, ClusterIdentity(name, key)), now)


@contextlib.asynccontextmanager
async def among_many() -> AsyncGenerator[Cluster]:
    peers = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).parent / "stalls_peers.py"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    assert peers.stdout is not None
    port = int(await peers.stdout.readline())
    config = ClusterConfig(authority="127.0.0.1:0", activation=ActivationConfig(idle_ttl_s=0.0))
    try:
        async with inaho.join(config=config, grains=KINDS, storage="memory") as cluster:
            yield Cluster(cluster, peers, port)
    finally:
        peers.kill()
        await peers.wait()


async def topology(members: int, activations: int = ACTIVATIONS, cached: int = CACHED) -> Figures:
    figures: Figures = {}
    async with among_many() as many:

        async def change(name: str, *steps: Callable[[], None]) -> None:
            async with Stall() as stall:
                for step in steps:
                    step()
                    await many.apply()
                    await asyncio.sleep(0.2)
                await many.settled()
            figures.update(stall.figures(name, stall.cpu_ms))

        everybody = [many.other(number) for number in range(members - 1)]
        await change("form", lambda: many.put(everybody))
        await many.fill(activations, cached)
        for name, count in (("one", 1), ("many", MANY)):
            new, left, lost = members + 10 * count, members // 100, members // 2
            joiners = range(new, new + count)
            await change(
                f"join_{name}",
                lambda numbers=joiners: many.put([many.other(number, JOINING) for number in numbers]),
                lambda numbers=joiners: many.put([many.other(number) for number in numbers]),
            )
            for what, status, first in (("leave", LEAVING, left), ("die", UNREACHABLE, lost)):
                going = [many.other(number, status) for number in range(first, first + count)]
                await change(
                    f"{what}_{name}", lambda going=going: many.put(going), lambda going=going: many.drop(going)
                )

        def block(*authorities: str) -> None:
            many.blocked = authorities

        await change("block", lambda: block(everybody[members // 4].authority), block)
    return figures | {
        "topology_ms": max(value for name, value in figures.items() if name.removesuffix("_ms") in LABELS)
    }


# The control plane.


class TimedSimulation(ControlSimulation):
    """Notes the longest step, the codec included, of all nodes."""

    longest_ms = 0.0

    def give(self, authority: str, happening: Input) -> list[Effect]:
        node = self.nodes[authority]
        body = encode(happening.message) if type(happening) is Received else None
        step = node.step

        def timed(now: float, given: Input) -> list[Effect]:
            began = time.thread_time()
            if body is not None:
                _decode(body)
            effects = step(now, given)
            for effect in effects:
                if type(effect) is Send:
                    encode(effect.message)
            self.longest_ms = max(self.longest_ms, (time.thread_time() - began) * 1e3)
            return effects

        node.step = timed  # type: ignore[method-assign]
        try:
            return super().give(authority, happening)
        finally:
            del node.step  # type: ignore[method-assign]


def control(members: int) -> Figures:
    gc.disable()
    simulation = TimedSimulation(1, network=Network(loss=0.01), check_every=0, keep_history=False)
    figures: Figures = {}

    def note(name: str, seconds: float) -> None:
        simulation.run(seconds)
        figures[f"control_{name}_ms"] = simulation.longest_ms
        simulation.longest_ms = 0.0

    simulation.start_many(members, seed_count=3)
    if not simulation.run_until(simulation.converged, 60.0, every_s=0.05):
        raise RuntimeError("the cluster was not formed within a minute")
    note("form", 5.0)
    simulation.start(simulation.authority(members), [simulation.authority(1)])
    note("join_one", 4.0)
    simulation.crash(simulation.authority(members // 2))
    note("die_one", 10.0)
    for number in range(MANY):
        simulation.start(simulation.authority(members + 1 + number), [simulation.authority(1)])
    note("join_many", 6.0)
    return figures


# Activations that come up.


async def activations(count: int) -> Figures:
    config = ClusterConfig(authority="127.0.0.1:0")
    async with inaho.join(config=config, grains=[Plain], storage="memory") as cluster:
        numbers = iter(range(count))

        async def caller() -> None:
            for number in numbers:
                await cluster.grain(Plain, f"customer-{number}").touch()
                await asyncio.sleep(0)

        began = time.perf_counter()
        async with Stall() as stall:
            await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        figures = stall.figures("activations", stall.all_ms)
        figures["activations_per_second"] = count / (time.perf_counter() - began)
        os._exit(_shown(figures))  # to end a million activations takes longer


def _shown(figures: Figures) -> int:
    print(json.dumps(figures), flush=True)
    return 0


LABELS = {
    "form": "1 member becomes 1,000",
    "join_one": "one joins",
    "leave_one": "one leaves",
    "die_one": "one dies",
    "join_many": f"{MANY} join",
    "leave_many": f"{MANY} leave",
    "die_many": f"{MANY} die",
    "block": "one is blocked, and again not",
    "control_form": "control plane: a cluster forms",
    "control_join_one": "control plane: one joins",
    "control_die_one": "control plane: one dies",
    "control_join_many": f"control plane: {MANY} join",
    "activations": "activations come up",
}


def table(figures: Figures) -> str:
    """For people: each row with its limit."""
    lines = [f"{'':32} {'stall':>9} {'limit':>7}  {'':7} {'by the clock':>13} {'collector':>10}", "-" * 84]
    for name, label in LABELS.items():
        stall = figures.get(f"{name}_ms")
        if stall is None:
            continue
        limit = ACTIVATIONS_LIMIT_MS if name == "activations" else TOPOLOGY_LIMIT_MS
        rest = "".join(
            f" {figures[key]:{width}.1f} ms" if (key := f"{name}_{what}_ms") in figures else ""
            for what, width in (("wall", 10), ("collector", 7))
        )
        lines.append(f"{label:32} {stall:6.1f} ms {limit:4.0f} ms  {'reached' if stall <= limit else 'MISSED':7}{rest}")
    return "\n".join(lines)


def measured(part: str, options: argparse.Namespace) -> Figures:
    """One part, in a process of its own."""
    command = [
        sys.executable, __file__, "--row", part, "--members", str(options.members),
        "--activations", str(options.activations), "--count", str(options.count),
    ]  # fmt: skip
    found: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The longest stalls of the event loop of one node.")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given again")
    parser.add_argument("--members", type=int, default=MEMBERS, help="of the cluster, 200 or more")
    parser.add_argument("--activations", type=int, default=ACTIVATIONS, help="on the node whose topology changes")
    parser.add_argument("--count", type=int, default=COUNT, help="activations that come up")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--row", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row == "control":
        _shown(control(options.members))
    elif options.row is not None:
        run = (
            topology(options.members, options.activations) if options.row == "topology" else activations(options.count)
        )
        _shown(asyncio.run(run))
    else:
        figures: Figures = {}
        for part in options.only or PARTS:
            figures |= measured(part, options)
        print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
