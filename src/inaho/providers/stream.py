"""Watches one provider and keeps this node's registration in it: the same rules for all back ends.

A watch is never trusted alone. Connections are cut without notice, servers lose watchers, proxies hold answers back:

- every `read_period_s` all entries are read and compared, whatever the watch says;
- what a watch reports is a hint to read now; hints that come close together cost one read;
- a watch that says nothing for `silence_s` is begun again, after a read that gives its position;
- the registration is renewed every third of `ttl_s`, and written again when a renewal or a read does not find it;
- nothing is registered under a prefix that has a member of another cluster: that cluster would refuse its own list;
- a failure is followed by a pause that doubles from `back_off_min_s` to `back_off_max_s`, with jitter.

The stream decides nothing about members or other providers: what it finds goes to its observer.

Why not let each back end do this: each would have its own mistakes, and a provider of a user would need all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, ParamSpec, Protocol, TypeVar

from inaho.config import ProvisioningConfig
from inaho.core.back_off import back_off_s
from inaho.core.provisioning.snapshot import ProviderMember, check_cluster
from inaho.errors import ProviderError, ProviderStreamFailed
from inaho.providers.answer import answer, is_cancelled, unexpected
from inaho.providers.base import ProviderRead, TopologyProvider

__all__ = ["ProviderStream", "StreamObserver"]

P = ParamSpec("P")
T = TypeVar("T")

RENEWALS: Final = 3
"""A registration is renewed so often in its life, so one lost renewal does not end it."""

REQUESTS: Final = 2
"""An answer may take as long as so many requests: a back end reads a long list in several."""

JITTER: Final = 0.2
"""Periods vary by this share, so nodes that started together do not ask together."""


class StreamObserver(Protocol):
    """Takes what one stream finds."""

    def read(self, provider: str, found: ProviderRead, took_s: float) -> None:
        """All entries as they are now; the read took so many seconds."""
        ...

    def alive(self, provider: str) -> None:
        """The back end has answered something else than a read."""
        ...

    def failed(self, provider: str, error: ProviderError) -> None:
        """A request has failed, or the watch has; the stream goes on after a pause."""
        ...

    def displaced(self, provider: str, member: ProviderMember) -> None:
        """Another process has registered at the authority of this node, which does not register meanwhile."""
        ...


class ProviderStream:
    """The stream of one provider.

    Args:
        provider: the back end.
        config: periods.
        observer: takes what is found.
        unit_random: a float in [0, 1), for jitter.
        member: the entry of this node at present; None for a node that does not register, such as a client.

    Attributes:
        provider: the back end.
        registered: set while this node's entry is there, as far as it knows.
    """

    def __init__(
        self,
        provider: TopologyProvider,
        config: ProvisioningConfig,
        observer: StreamObserver,
        unit_random: Callable[[], float],
        member: Callable[[], ProviderMember | None],
    ) -> None:
        self.provider = provider
        self.registered = asyncio.Event()
        self._config = config
        self._observer = observer
        self._unit_random = unit_random
        self._member = member
        self._read_now = asyncio.Event()
        self._register_now = asyncio.Event()
        self._read_next: asyncio.Future[ProviderRead] | None = None
        self._written: ProviderMember | None = None
        self._period_s = provider.capabilities.read_period_s or config.read_period_s

    async def run(self) -> None:
        """Watches until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_all())
            if self.provider.capabilities.watch:
                group.create_task(self._watch_all())
            if self.provider.capabilities.register:
                group.create_task(self._register_all())

    def read_soon(self) -> None:
        """Reads as soon as the pause between two reads allows."""
        self._read_now.set()

    def member_changed(self) -> None:
        """The entry of this node is to be written again."""
        self._register_now.set()

    async def deregister(self) -> None:
        """Removes the entry of this node. Raises `ProviderError`."""
        if self.provider.capabilities.register and self.registered.is_set():
            self.registered.clear()
            await self._answer(self.provider.deregister)

    # Reads.

    async def _read_all(self) -> None:
        loop, failed = asyncio.get_running_loop(), 0
        while True:
            self._read_now.clear()
            began = loop.time()
            try:
                found = await self._read()
            except ProviderError as error:
                failed += 1
                self._observer.failed(self.provider.name, error)
                await _wait(self._read_now, self._back_off_s(failed), self._config.back_off_min_s)
                continue
            failed = 0
            self._look_for_own(found)
            self._observer.read(self.provider.name, found, loop.time() - began)
            waiting, self._read_next = self._read_next, None
            if waiting is not None and not waiting.done():
                waiting.set_result(found)
            await _wait(self._read_now, self._jittered(self._period_s), self._config.read_pause_s)

    def _look_for_own(self, found: ProviderRead) -> None:
        """Writes the entry of this node again if the read lacks it."""
        written = self._written
        if written is not None and self.registered.is_set():
            if all(member.node_id != written.node_id for member in found.members):
                self.registered.clear()
                self._register_now.set()

    async def _next_read(self) -> ProviderRead:
        """The result of the next read that ends. A watch from its position misses nothing."""
        if self._read_next is None:
            self._read_next = asyncio.get_running_loop().create_future()
        self._read_now.set()
        return await asyncio.shield(self._read_next)

    # The watch.

    async def _watch_all(self) -> None:
        failed = 0
        while True:
            found = await self._next_read()
            try:
                await self._watch_once(found.position)
            except ProviderError as error:
                failed += 1
                self._observer.failed(self.provider.name, error)
                await asyncio.sleep(self._back_off_s(failed))
            else:
                failed = 0
                await asyncio.sleep(self._config.read_pause_s)

    async def _watch_once(self, position: str) -> None:
        """Watches from a position until the watch ends or is silent for too long."""
        async with aclosing(self._watched(position)) as watch:
            async for found in watch:
                if found is None:
                    self._observer.alive(self.provider.name)
                    self._read_now.set()
                else:
                    self._look_for_own(found)
                    self._observer.read(self.provider.name, found, 0.0)
                await asyncio.sleep(0)  # a watch that always has something more to say lets nothing else run

    async def _watched(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        """What the watch yields. Raises `ProviderError`, whatever the watch raises."""
        try:
            async with aclosing(self.provider.watch(position)) as watch:
                while True:
                    async with asyncio.timeout(self._config.silence_s):
                        found = await anext(watch)
                    yield None if found is None else self._examined(found)
        except (StopAsyncIteration, TimeoutError):
            return
        except ProviderError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            raise unexpected(self.provider.name, error) from error

    # The registration.

    async def _register_all(self) -> None:
        failed = 0
        while True:
            self._register_now.clear()
            member = self._member()
            if member is None:
                await self._register_now.wait()
                continue
            try:
                await self._register_once(member)
            except ProviderError as error:
                failed += 1
                self._observer.failed(self.provider.name, error)
                await _wait(self._register_now, self._back_off_s(failed), self._config.back_off_min_s)
            else:
                failed = 0
                await _wait(self._register_now, self._config.ttl_s / RENEWALS, self._config.read_pause_s)

    async def _register_once(self, member: ProviderMember) -> None:
        """Renews the entry, or writes it: the first time, when it has changed, and when it is gone."""
        ttl_s = self._config.ttl_s
        if self._written == member and self.registered.is_set():
            if await self._answer(self.provider.renew, member, ttl_s):
                self._observer.alive(self.provider.name)
                return
            self.registered.clear()
        if self._written is None:  # an entry under the prefix of another cluster would spoil the list for that one
            for there in (await self._read()).members:
                check_cluster(there, member.cluster)
        else:  # another process may have taken the authority since
            other = await self._other_process(member)
            if other is not None:
                self._observer.displaced(self.provider.name, other)
                return
        await self._answer(self.provider.register, member, ttl_s)
        self._written = member
        self.registered.set()
        self._observer.alive(self.provider.name)
        self._read_now.set()

    async def _other_process(self, member: ProviderMember) -> ProviderMember | None:
        """The process that is registered at the authority of this node and is another one."""
        found = await self._read()
        return next(
            (
                other
                for other in found.members
                if other.authority == member.authority and other.node_id not in ("", member.node_id)
            ),
            None,
        )

    # All.

    async def _read(self) -> ProviderRead:
        return self._examined(await self._answer(self.provider.read))

    def _examined(self, found: object) -> ProviderRead:
        """The result of a read, if it is one: a provider may be a program's own."""
        if isinstance(found, ProviderRead) and _all_are(ProviderMember, found.members):
            if _all_are(str, found.blocked_nodes):
                return found
        raise ProviderStreamFailed(
            f"provider {self.provider.name} gave what is no ProviderRead, or one with what is no ProviderMember"
        )

    async def _answer(self, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await answer(self.provider.name, REQUESTS * self._config.request_timeout_s, ask, *args, **kwargs)

    def _back_off_s(self, failed: int) -> float:
        return self._jittered(back_off_s(self._config.back_off_min_s, self._config.back_off_max_s, failed))

    def _jittered(self, period_s: float) -> float:
        return period_s * (1.0 - JITTER * self._unit_random())


def _all_are(kind: type, values: Iterable[object]) -> bool:
    return all(isinstance(value, kind) for value in values)


async def _wait(event: asyncio.Event, at_most_s: float, at_least_s: float) -> None:
    """Returns when the event is set or the longest time is over, but not before the shortest one."""
    at_least_s = min(at_least_s, at_most_s)
    await asyncio.sleep(at_least_s)
    try:
        async with asyncio.timeout(at_most_s - at_least_s):
            await event.wait()
    except TimeoutError:
        return
