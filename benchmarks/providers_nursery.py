"""Forks members of a cluster, so that twenty processes can start within milliseconds.

    python benchmarks/providers_nursery.py

It imports inaho once and then reads lines from standard input: one JSON list of `Start` each. Every start forks a
process that joins a cluster and says what happens there on the standard output that all share, one line of JSON each. A
new interpreter for each process would need seconds for twenty of them, and their starts would be as far apart.

SIGTERM makes a member leave, SIGUSR1 makes it call grains, SIGUSR2 ends these calls. All of them end with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

import inaho
from inaho.actor import ActorSystem
from inaho.config import ClusterConfig, ProviderDescriptor
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.events import (
    ClusterFounded,
    ProviderChanged,
    ProvisioningRestored,
    ProvisioningUnavailable,
    SnapshotApplied,
    TopologyChanged,
)
from inaho.providers.backends import SCHEMES, make_provider
from inaho.providers.base import TopologyProvider
from inaho.runtime.cluster.extension import ClusterExtension
from inaho.runtime.cluster.provisioning import NodeProvisioning
from inaho.types import MemberStatus

CALL_PAUSE_S: Final = 0.03
OLD_KEYS: Final = 40
NEW_EVERY: Final = 10
"""One call in so many activates a new grain."""

TELL_EVERY_S: Final = 0.5
TEXT_MAX: Final = 500
LISTED_MAX: Final = 50


class Start(msgspec.Struct):
    """One process.

    Attributes:
        after_s: seconds from the line to its fork.
        config: of its member.
        tells_registration: says when its registration was written.
    """

    after_s: float
    config: ClusterConfig
    tells_registration: bool = False


class Echo(inaho.Grain):
    """What members call."""

    async def say(self, number: int) -> int:
        """The number."""
        return number


def tell(event: str, **details: Any) -> None:
    """One line for the parent; processes share the pipe, and one short write is not mixed with another."""
    line = msgspec.json.encode({"event": event, "pid": os.getpid(), "at": time.monotonic(), **details})
    os.write(1, line + b"\n")


class Registering:
    """A provider that says when a registration was written."""

    def __init__(self, provider: TopologyProvider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        await self._provider.register(member, ttl_s)
        tell("registered")


def _providers(start: Start, config: ClusterConfig) -> Sequence[Any]:
    if not start.tells_registration:
        return config.providers
    return [
        Registering(make_provider(each, config.name, config.provisioning))
        for each in (ProviderDescriptor(name=one.name, url=one.url, secrets=one.secrets) for one in config.providers)
    ]


class Member:
    """The only member of a process, which says what it sees."""

    def __init__(self, start: Start) -> None:
        self._config = start.config
        self._extension = ClusterExtension(
            self._config, grains=[Echo], storage="memory", providers=_providers(start, self._config)
        )
        self._system = ActorSystem("inaho", extensions=[self._extension])
        self._view: list[str] = []
        self._calls: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Joins, and leaves at SIGTERM."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._begin_calls)
        loop.add_signal_handler(signal.SIGUSR2, self._end_calls)
        for kind in (ClusterFounded, ProviderChanged, ProvisioningRestored, ProvisioningUnavailable):
            self._system.events.subscribe_callback(kind, self._told)
        self._system.events.subscribe_callback(SnapshotApplied, self._applied)
        self._system.events.subscribe_callback(TopologyChanged, lambda event: self._look(event.snapshot.members))
        try:
            await self._system.start()
        except Exception as error:
            tell("failed", reason=str(error))
            return
        cluster = self._extension.cluster
        tell("ready", node_id=cluster.self.node_id)
        self._look(cluster.members())
        await self._stop.wait()
        self._end_calls()
        await cluster.close()
        tell("left")

    def _told(self, event: Any) -> None:
        told = {name: getattr(event, name, "") for name in ("provider", "previous", "reason")}
        tell(type(event).__name__, **{name: value[:TEXT_MAX] for name, value in told.items()})

    def _applied(self, event: SnapshotApplied) -> None:
        provisioning = self._extension.cluster.runtime.lifecycle.provisioning
        assert isinstance(provisioning, NodeProvisioning)
        snapshot = provisioning.service.feed.last
        assert snapshot is not None
        listed = [member.authority for member in snapshot.members[:LISTED_MAX]]
        tell("snapshot", provider=event.provider, seq_no=event.seq_no, members=event.members, listed=listed)

    def _look(self, members: Any) -> None:
        view = sorted(member.node_id for member in members if member.status is MemberStatus.UP)
        if view != self._view:
            self._view = view
            tell("view", up=view)

    def _begin_calls(self) -> None:
        if self._calls is None:
            self._calls = asyncio.ensure_future(self._call())

    def _end_calls(self) -> None:
        if self._calls is not None:
            self._calls.cancel()
            self._calls = None

    async def _call(self) -> None:
        """Calls old and new grains one after another, and says how many calls it has made and which failed."""
        done, told_at = 0, time.monotonic()
        try:
            while True:
                key = f"{os.getpid()}-{done}" if done % NEW_EVERY == 0 else f"old-{done % OLD_KEYS}"
                try:
                    answer = await self._extension.cluster.grain(Echo, key).say(done)
                    if answer != done:
                        tell("call failed", key=key, reason=f"{answer} instead of {done}")
                except Exception as error:
                    tell("call failed", key=key, reason=f"{type(error).__name__}: {error}"[:TEXT_MAX])
                done += 1
                if time.monotonic() - told_at >= TELL_EVERY_S:
                    tell("calls", done=done)
                    told_at = time.monotonic()
                await asyncio.sleep(CALL_PAUSE_S)
        finally:
            tell("calls", done=done)


def child(start: Start, parent: int) -> None:
    """What a forked process does."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    name = start.config.authority
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(levelname)s %(name)s %(message)s", force=True)
    asyncio.run(Member(start).run())


def main() -> None:
    for module, _ in SCHEMES.values():
        with contextlib.suppress(inaho.errors.ProviderInvalid):  # its package is not installed
            __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system collects those that have ended
    parent = os.getpid()
    tell("nursery")
    for line in sys.stdin.buffer:
        began = time.monotonic()
        for start in msgspec.json.decode(line, type=list[Start]):
            time.sleep(max(0.0, began + start.after_s - time.monotonic()))
            pid = os.fork()
            if pid == 0:
                try:
                    child(start, parent)
                finally:
                    sys.stderr.flush()
                    os._exit(0)
            tell("forked", child=pid, authority=start.config.authority)


if __name__ == "__main__":
    main()
