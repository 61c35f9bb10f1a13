"""Nodes that found by the record of a memory back end, in virtual time.

Everything that decides is real: control planes, `Founding`, `ProviderStream`, `MemoryProvider`. The network between the
control planes is that of `ControlSimulation`, and a dial has the result that this network gives it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from inaho.actor import EventStream
from inaho.config import ClusterConfig, ProvisioningConfig
from inaho.core.effects import Effect, Joined, Publish
from inaho.core.inputs import Discovered, Input
from inaho.core.node import ControlNode
from inaho.core.node.lifecycle import LEAVING, MEMBER, Stage
from inaho.core.provisioning.founding import Contact
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.providers.stream import ProviderStream
from inaho.runtime.local.clock import SeededEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.provisioning.contacts import CONTACT_S
from inaho.runtime.provisioning.founding import Founding
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.testing.simulation.simulated_process import SimulatedProcess
from inaho.testing.simulation.virtual_loop import VirtualLoop
from inaho.types import MemberStatus

__all__ = ["FoundingWorld", "TwoClusters"]

STEP_S = 0.005
LAPSED_S = 2.0
"""A member that has had no registration within this time counts as one that the back end has dropped."""


class TwoClusters(AssertionError):  # noqa: N818
    """A node founded although a registered member was alive."""


class CutProvider(MemoryProvider):
    """A provider whose requests fail while this node cannot reach the back end."""

    reached = True

    async def _request(self) -> None:
        if not self.reached:
            raise ProviderUnreachable(f"provider {self.name}: no route")
        await super()._request()


class FoundingNode:
    """One process: its provider, the stream of it, founding; and a view of its control plane."""

    def __init__(self, world: FoundingWorld, authority: str, seed: int) -> None:
        self.world = world
        self.authority = authority
        self.process = SimulatedProcess(world.loop, authority)
        self.events = EventStream()
        self.control = world.simulation.nodes[authority]
        loop = cast(asyncio.AbstractEventLoop, self.process.loop)
        entropy = SeededEntropy(seed)
        self.local = LocalNode(world.config, events=self.events, entropy=entropy, loop=loop, boot_time=loop.time)
        self.local.node_id = self.control.member.node_id
        self.provider = CutProvider("memory", world.topology)
        config = world.config.provisioning
        self.stream = ProviderStream(self.provider, config, self, entropy.random.random, self.entry)
        self.founding = Founding(self.local, self.provider, self.entry, self, self)
        for run in (self.stream.run, self.founding.run):
            self.process.loop.create_task(run(), name=f"{authority} {run.__qualname__}")

    def entry(self) -> ProviderMember | None:
        return ProviderMember(self.authority, self.control.member.node_id, cluster=self.world.config.name)

    # Of `Search`.

    @property
    def stage(self) -> Stage:
        return self.control.stage

    @property
    def up(self) -> tuple[str, ...]:
        return tuple(one.authority for one in self.control.topology.members if one.status is MemberStatus.UP)

    def feed(self, given: Input, /) -> None:
        self.world.simulation.give(self.authority, given)

    # Of `Contacts`.

    async def contact(self, authority: str) -> Contact:
        return await self.world.contact(self.authority, authority)

    # Of `StreamObserver`, as the bridge of the control plane.

    def read(self, provider: str, found: ProviderRead, took_s: float) -> None:
        self.feed(Discovered(tuple(sorted(member.authority for member in found.members))))

    def alive(self, provider: str) -> None: ...

    def failed(self, provider: str, error: ProviderError) -> None: ...

    def displaced(self, provider: str, member: ProviderMember) -> None: ...


class FoundingWorld:
    """The back end, the network and the nodes.

    Args:
        loop: of the simulation.
        seed: of everything.
        config: of every node.
    """

    def __init__(self, loop: VirtualLoop, seed: int, config: ClusterConfig | None = None) -> None:
        self.loop = loop
        self.random = random.Random(f"founding/{seed}")
        self.config = config or ClusterConfig(provisioning=ProvisioningConfig(request_timeout_s=2.0))
        self.topology = MemoryTopology()
        self.simulation = ControlSimulation(seed, self.config, observers=(self,))
        self.simulation.now = loop.time()
        self.nodes: dict[str, FoundingNode] = {}
        self.dead: list[FoundingNode] = []
        self.founded: list[str] = []
        self._failure: TwoClusters | None = None
        self._registered_at: dict[str, float] = {}
        self._lapsed_at: dict[str, float] = {}

    @classmethod
    def run(cls, story: Callable[[FoundingWorld], Any], seed: int, config: ClusterConfig | None = None) -> None:
        """Runs a story, a coroutine function, in virtual time."""
        loop = VirtualLoop(real_limit_s=120.0)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(cls._told(story, loop, seed, config))
            unexpected = [failure for failure in loop.failures if "exception" in failure]
            assert not unexpected, unexpected
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    @classmethod
    async def _told(
        cls, story: Callable[[FoundingWorld], Any], loop: VirtualLoop, seed: int, config: ClusterConfig | None
    ) -> None:
        world = cls(loop, seed, config)
        driving = loop.create_task(world._drive())
        telling = loop.create_task(story(world))
        try:
            await asyncio.wait((driving, telling), return_when=asyncio.FIRST_COMPLETED)
            for task in (driving, telling):
                if task.done():
                    task.result()
        finally:
            driving.cancel()
            telling.cancel()
            for node in (*world.nodes.values(), *world.dead):
                node.process.kill("ended")
                node.process.bury()

    async def _drive(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            self._look_at_registrations()
            self.simulation.run(self.loop.time() - self.simulation.now)
            if self._failure is not None:
                raise self._failure

    # What a story does.

    def authority(self, index: int) -> str:
        return self.simulation.authority(index)

    def start(self, *authorities: str, seeds: tuple[str, ...] = ()) -> None:
        """Starts processes at these authorities."""
        for authority in authorities:
            self.simulation.start(authority, seeds, by_record=True)
            self.nodes[authority] = FoundingNode(self, authority, self.random.getrandbits(64))

    def crash(self, *authorities: str) -> None:
        """Kills processes; their registrations stay."""
        for authority in authorities:
            self.nodes[authority].process.kill()
            self.dead.append(self.nodes.pop(authority))
            self.simulation.crash(authority)

    def pause(self, authority: str) -> None:
        """Stops a process."""
        self.nodes[authority].process.pause()
        self.simulation.pause(authority)

    def resume(self, authority: str) -> None:
        """Continues a process."""
        self.nodes[authority].process.resume()
        self.simulation.resume(authority)

    async def until(self, done: Callable[[], object], within_s: float) -> None:
        """Raises `AssertionError` if it is not so in time."""
        end = self.loop.time() + within_s
        while not done():
            stages = {name: (node.stage, len(node.control.table.live)) for name, node in self.nodes.items()}
            assert self.loop.time() < end, f"not within {within_s} s: {stages}, record {self.topology.record}"
            await asyncio.sleep(0.001)

    async def one_cluster(self, within_s: float) -> None:
        """Waits until all nodes are members of one cluster."""
        await self.until(self.simulation.converged, within_s)

    async def contact(self, source: str, target: str) -> Contact:
        """The result of a dial."""
        await asyncio.sleep(0.001 + 0.002 * self.random.random())
        links = self.simulation.links
        if links.is_cut(source, target) or links.is_cut(target, source) or target in self.simulation.paused:
            await asyncio.sleep(CONTACT_S)
            return Contact.SILENT
        node = self.simulation.nodes.get(target)
        if node is None:
            return Contact.REFUSES
        found = Contact.MEMBER if node.stage in (MEMBER, LEAVING) else Contact.STARTING
        await asyncio.sleep(0.001 + 0.002 * self.random.random())
        return found

    # Of `Observer`.

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        for effect in effects:
            if isinstance(effect, Publish) and authority in self.nodes:
                self.nodes[authority].events.publish(effect.event)
            elif isinstance(effect, Joined) and effect.founded:
                self.founded.append(authority)
                self._check_alone(authority)

    def _check_alone(self, founder: str) -> None:
        for authority, node in self.simulation.nodes.items():
            if authority == founder or node.stage not in (MEMBER, LEAVING):
                continue
            node_id = node.member.node_id
            if node_id in self._registered_at and self.loop.time() > self._lapsed_at.get(node_id, 0.0) + LAPSED_S:
                self._failure = TwoClusters(f"{founder} founded although {authority} is a registered member")

    def _look_at_registrations(self) -> None:
        now = self.loop.time()
        texts = dict(self.topology.members())
        for authority, node in self.simulation.nodes.items():
            node_id = node.member.node_id
            if node_id in texts.get(authority, ""):
                self._registered_at.setdefault(node_id, now)
            else:
                self._lapsed_at[node_id] = now
