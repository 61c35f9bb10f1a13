"""The part `topology` of `event_loop_stalls.py`: a node among a thousand members is given topologies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import Figures
from stalls_measuring import Stall
from stalls_peers import KINDS, face_id, kinds_of

import inaho
from inaho import ActivationConfig, ClusterConfig
from inaho.core.membership.topology import topology_hash
from inaho.runtime.placement.placement_actor import ActivationRequest
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot
from inaho.wire.codec import encode

MANY = 50
ACTIVATIONS = 10_000
CACHED = 100_000
SETTLED_S = 120.0
UP, LEAVING, UNREACHABLE, JOINING = (
    MemberStatus.UP, MemberStatus.LEAVING, MemberStatus.UNREACHABLE, MemberStatus.JOINING,
)  # fmt: skip
CHANGES = {
    "form": "1 member becomes 1,000",
    "join_one": "one joins",
    "leave_one": "one leaves",
    "die_one": "one dies",
    "join_many": f"{MANY} join",
    "leave_many": f"{MANY} leave",
    "die_many": f"{MANY} die",
    "block": "one is blocked, and again not",
}
"""What happens to the topology, by the name of its figure."""


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
        "topology_ms": max(value for name, value in figures.items() if name.removesuffix("_ms") in CHANGES)
    }
