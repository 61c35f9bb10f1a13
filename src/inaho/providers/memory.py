"""A back end inside one process, for tests and simulations: several providers share one `MemoryTopology`.

It has all that a server has: entries that expire, versions, a watch, a record, and faults that a test turns on. Time
is that of the event loop, so it works in virtual time. Entries are kept as text, as a server would keep them, so a test
can write one that is damaged.

A URL `memory://shop` means the topology `shop` of this process. It lives as long as somebody holds it: a provider, or a
test that asked `MemoryTopology.named` for it. All its users run on one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import Final
from weakref import WeakValueDictionary

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.entries import decode_member, decode_record, encode
from inaho.providers.setup import ProviderSetup

__all__ = ["MemoryProvider", "MemoryTopology"]

_REQUEST_TIMEOUT_S: Final = 5.0


class _Entry:
    """A registration: its text, and when it expires by the clock of the loop (None: never)."""

    __slots__ = ("expires_at", "text")

    def __init__(self, text: str, expires_at: float | None) -> None:
        self.text = text
        self.expires_at = expires_at


class _Watcher:
    """An open watch. `error` ends it; one that is `lost` stays open and receives nothing any more."""

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self.lost = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        if not self.lost:
            self._woken.set()

    async def wait(self, until: float | None) -> None:
        """Until it is woken, at most until that time of the loop."""
        try:
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()


class MemoryTopology:
    """What a server would hold, and the faults that it can have.

    Attributes:
        record: text of the record; empty if there is none.
        record_version: changes of the record so far.
    """

    def __init__(self) -> None:
        self.record = ""
        self.record_version = 0
        self._members: dict[str, _Entry] = {}
        self._blocked: dict[str, None] = {}
        self._history = 1  # a position of another history is unknown
        self._revision = 0
        self._watchers: dict[_Watcher, None] = {}
        self._error: ProviderError | None = None
        self._clock: Callable[[], float] | None = None
        self._running = asyncio.Event()
        self._running.set()

    @staticmethod
    def named(name: str) -> MemoryTopology:
        """The topology of that name in this process, made if nobody holds one."""
        found = _topologies.get(name)
        if found is None:
            found = _topologies[name] = MemoryTopology()
        return found

    # Entries.

    @property
    def position(self) -> str:
        """Where a watch that has seen everything goes on."""
        return f"{self._history}.{self._revision}"

    def knows(self, position: str) -> bool:
        """Whether a watch can go on from there."""
        return position.partition(".")[0] == str(self._history)

    def members(self) -> tuple[tuple[str, str], ...]:
        """Authority and text of each registration that has not expired, in order of the authorities."""
        self.drop_expired()
        return tuple((authority, self._members[authority].text) for authority in sorted(self._members))

    def blocked(self) -> tuple[str, ...]:
        """The blocked authorities, sorted."""
        return tuple(sorted(self._blocked))

    def write_member(self, authority: str, text: str, ttl_s: float | None = None) -> None:
        """Writes the registration of an authority, whatever the text is; it never expires if `ttl_s` is None."""
        self.drop_expired()
        before = self._members.get(authority)
        self._members[authority] = _Entry(text, None if ttl_s is None else self._now() + ttl_s)
        if before is None or before.text != text:
            self._changed()
        else:  # a watcher may wait for a later expiry
            self._wake()

    def prolong(self, authority: str, node_id: str, ttl_s: float) -> bool:
        """Makes the registration of that process last from now; False if there is none."""
        if not self.belongs(authority, node_id):
            return False
        self._members[authority].expires_at = self._now() + ttl_s
        self._wake()  # a watcher may wait for a later expiry
        return True

    def belongs(self, authority: str, node_id: str) -> bool:
        """Whether that process has written the registration of the authority."""
        self.drop_expired()
        entry = self._members.get(authority)
        try:
            return entry is not None and decode_member(entry.text, authority).node_id == node_id
        except InvalidSnapshot:  # somebody else has written there
            return False

    def expire(self, authority: str) -> None:
        """Removes a registration as if it had run out; nothing happens if there is none."""
        if self._members.pop(authority, None) is not None:
            self._changed()

    def block(self, authority: str) -> None:
        """Blocks an authority, as an operator does."""
        if authority not in self._blocked:
            self._blocked[authority] = None
            self._changed()

    def unblock(self, authority: str) -> None:
        """Ends a block."""
        if authority in self._blocked:
            del self._blocked[authority]
            self._changed()

    def drop_expired(self) -> None:
        """Removes what has expired by now."""
        now = self._now()
        for authority, entry in list(self._members.items()):
            if entry.expires_at is not None and entry.expires_at <= now:
                del self._members[authority]
                self._changed()

    def next_expiry(self) -> float | None:
        """When the next registration expires, by the clock of the loop; None if none does."""
        return min((each.expires_at for each in self._members.values() if each.expires_at is not None), default=None)

    # Faults.

    def fail(self, error: ProviderError | None) -> None:
        """All requests raise this error and open watches end with it, until `fail(None)`."""
        self._error = error
        if error is not None:
            self._end_watches(error)

    def pause(self) -> None:
        """Requests and watches wait until `resume`, as those of a server that is stopped."""
        self._running.clear()

    def resume(self) -> None:
        """Ends a pause."""
        self._running.set()
        self._wake()

    @property
    def paused(self) -> bool:
        """Whether requests wait."""
        return not self._running.is_set()

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watchers)

    def drop_watches(self) -> None:
        """Open watches end with `ProviderStreamFailed`."""
        self._end_watches(ProviderStreamFailed("the connection of the watch was closed"))

    def lose_watches(self) -> None:
        """Open watches stay open and yield nothing any more, as those of a connection that was cut without a sign."""
        for watcher in self._watchers:
            watcher.lost = True

    def rewind(self) -> None:
        """Forgets the history: open watches end, and no position that was handed out is known any more."""
        self._history += 1
        self._wake()

    def _now(self) -> float:
        """The time of the event loop that used this topology first; a test may ask when no loop runs."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop().time
        return self._clock()

    # For providers.

    async def admit(self) -> None:
        """Returns when a request is carried out. Raises the error that a test has set."""
        await asyncio.sleep(0)  # as with a server, others run meanwhile
        await self._running.wait()
        if self._error is not None:
            raise self._error.with_traceback(None)

    @contextmanager
    def watcher(self) -> Generator[_Watcher]:
        """A watch for as long as the context is open."""
        watcher = _Watcher()
        self._watchers[watcher] = None
        try:
            yield watcher
        finally:
            del self._watchers[watcher]

    def _changed(self) -> None:
        self._revision += 1
        self._wake()

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.wake()

    def _end_watches(self, error: ProviderError) -> None:
        for watcher in self._watchers:
            watcher.error = error
        self._wake()


_topologies: Final[WeakValueDictionary[str, MemoryTopology]] = WeakValueDictionary()


class MemoryProvider:
    """A provider of a `MemoryTopology`, see the module.

    Args:
        setup: the name of the provider, or what the URL says: `memory://name`, without options or secrets; without a
            name, the topology is named after the cluster.
        topology: in place of the one that the URL names.

    Raises:
        ProviderInvalid: the URL has a path, options or several names, or there are secrets.
    """

    capabilities: Capabilities = Capabilities(watch=True, register=True, record=True, details=True)

    def __init__(self, setup: ProviderSetup | str, topology: MemoryTopology | None = None) -> None:
        self._timeout_s = _REQUEST_TIMEOUT_S
        if isinstance(setup, str):
            self.name = setup
            self.topology = topology or MemoryTopology()
        else:
            self.name = setup.name
            self.topology = topology or MemoryTopology.named(_topology_name(setup))
            self._timeout_s = setup.request_timeout_s
        self._own: tuple[str, str] | None = None  # authority and node id
        self._closed = False
        self._watching: dict[_Watcher, None] = {}

    async def check(self) -> None:
        """See `TopologyProvider`."""
        await self._request()

    async def read(self) -> ProviderRead:
        """See `TopologyProvider`."""
        await self._request()
        return self._read()

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None]:
        """See `TopologyProvider`. Each change, also several together, yields one whole read."""
        await self._request()
        topology = self.topology
        with topology.watcher() as watcher:
            self._watching[watcher] = None
            try:
                while True:
                    if watcher.error is not None:
                        raise watcher.error.with_traceback(None)
                    if not topology.knows(position):
                        raise ProviderStreamFailed(f"provider {self.name}: the history since {position!r} is lost")
                    topology.drop_expired()
                    idle = topology.paused or watcher.lost
                    if not idle and topology.position != position:
                        found = self._read()
                        position = found.position
                        yield found
                    else:
                        await watcher.wait(None if idle else topology.next_expiry())
            finally:
                self._watching.pop(watcher, None)

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """See `TopologyProvider`."""
        await self._request()
        self.topology.write_member(member.authority, encode(member), ttl_s)
        self._own = (member.authority, member.node_id)

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """See `TopologyProvider`."""
        await self._request()
        return self.topology.prolong(member.authority, member.node_id, ttl_s)

    async def deregister(self) -> None:
        """See `TopologyProvider`."""
        await self._request()
        if self._own is not None and self.topology.belongs(*self._own):
            self.topology.expire(self._own[0])
        self._own = None

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """See `TopologyProvider`."""
        await self._request()
        if not self.topology.record:
            return None, ""
        return decode_record(self.topology.record, f"record of {self.name}"), str(self.topology.record_version)

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """See `TopologyProvider`."""
        await self._request()
        topology = self.topology
        if token != (str(topology.record_version) if topology.record else ""):
            return False
        topology.record = encode(record)
        topology.record_version += 1
        return True

    async def close(self) -> None:
        """See `TopologyProvider`."""
        self._closed = True
        for watcher in self._watching:
            watcher.error = ProviderUnreachable(f"provider {self.name} is closed")
            watcher.lost = False
            watcher.wake()

    async def _request(self) -> None:
        if self._closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.topology.admit()
        except TimeoutError as error:
            raise ProviderUnreachable(
                f"provider {self.name}: the memory topology has not answered within {self._timeout_s} s"
            ) from error
        if self._closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")

    def _read(self) -> ProviderRead:
        topology = self.topology
        members = tuple(decode_member(text, f"members/{authority}") for authority, text in topology.members())
        return ProviderRead(members, topology.blocked(), topology.position)


def _topology_name(setup: ProviderSetup) -> str:
    url = setup.url
    if len(url.servers) > 1 or url.path:
        raise ProviderInvalid(f"provider {setup.name}: write memory:// and one name, as in memory://shop")
    if url.options:
        raise ProviderInvalid(f"provider {setup.name}: unknown option {', '.join(sorted(url.options))}; known are none")
    if setup.secrets.names:
        raise ProviderInvalid(
            f"provider {setup.name}: memory:// needs no secret; remove {', '.join(setup.secrets.names)}"
        )
    return url.servers[0] if url.servers else setup.prefix
