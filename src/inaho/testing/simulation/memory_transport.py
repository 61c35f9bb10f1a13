"""A network in memory: the transport interface without sockets, with faults on demand.

A `MemoryNetwork` is the network of all hosts; each node has a `MemoryTransport` on it. Nothing here is random and only
the loop's clock is read, so one loop with one seed gives one history. Faults are those of TCP: bytes are never lost,
reordered or damaged within a connection. A cut link holds them back until it heals, as retransmission does. Only a
reset, or a crash, removes them.

Why not real sockets on loopback for the simulator: virtual time cannot pass while the kernel has not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from inaho.authority import Authority, parse_authority
from inaho.errors import AuthorityInUse, ShuttingDown
from inaho.runtime.transport.transport import DialFailed, Listener, ProtocolFactory, Transport
from inaho.testing.simulation.memory_pipe import MemoryPipe

__all__ = ["MemoryNetwork", "MemoryTransport"]

_FIRST_FREE_PORT: Final = 49152
_LAST_PORT: Final = 65535

Latency = float | Callable[[str, str], float]
"""Seconds from one authority to another, one way: for all, or asked for every chunk."""


class MemoryNetwork:
    """The network: which authorities listen, which connections exist, which links are cut.

    Args:
        latency_s: one way, 0 or more. A function is called with (from, to) for each chunk; chunks keep their order.
        dial_timeout_s: how long a dial waits on a link that is cut.
        window_bytes: bytes under way that do not yet count as unsent; what the socket buffers of a host would hold.
    """

    def __init__(self, *, latency_s: Latency = 0.0, dial_timeout_s: float = 2.0, window_bytes: int = 256 << 10) -> None:
        self.latency_s = latency_s
        self.dial_timeout_s = dial_timeout_s
        self.window_bytes = window_bytes
        self._listeners: dict[str, _MemoryListener] = {}
        self._pipes: dict[MemoryPipe, None] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._silent: dict[str, None] = {}
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._next_port = _FIRST_FREE_PORT
        self._clients = 0

    def cut(self, source: str, target: str) -> None:
        """Holds back everything from `source` to `target`; the other direction stays open."""
        self._cuts[(source, target)] = None

    def heal(self, source: str, target: str) -> None:
        """Ends a `cut`. What was held back arrives now, in order."""
        self._cuts.pop((source, target), None)
        self._links_changed()

    def heal_all(self) -> None:
        """Ends every `cut`."""
        self._cuts.clear()
        self._links_changed()

    def reset(self, one: str, other: str) -> int:
        """Breaks all connections between two authorities, both ends with `ConnectionResetError`.

        Returns:
            How many connections broke.
        """
        broken = [pipe for pipe in self._pipes if (pipe.local, pipe.remote) in ((one, other), (other, one))]
        for pipe in broken:
            pipe.break_off(ConnectionResetError("reset by the network"))
        return len(broken) // 2

    def crash(self, authority: str, *, silent: bool = False) -> None:
        """Ends the process at `authority` without clean-up: its protocols are called no more, its listener is gone.

        Args:
            authority: of the process.
            silent: the host is gone too. Peers see no reset, only silence, and dials to it time out, until something
                listens there again.
        """
        self._listeners.pop(authority, None)
        if silent:
            self._silent[authority] = None
        for pipe in [pipe for pipe in self._pipes if pipe.local == authority]:
            pipe.vanish(tell_peer=not silent)

    def is_cut(self, source: str, target: str) -> bool:
        """Whether bytes from `source` reach `target` now."""
        return (source, target) in self._cuts or source in self._silent or target in self._silent

    def latency(self, source: str, target: str) -> float:
        """Seconds for the next chunk."""
        return self.latency_s(source, target) if callable(self.latency_s) else self.latency_s

    def loop_for(self, authority: str) -> asyncio.AbstractEventLoop:
        """The loop on which the end at `authority` calls back: here the one of all."""
        return asyncio.get_running_loop()

    def make_pipes(self, source: str, target: str) -> tuple[MemoryPipe, MemoryPipe]:
        """Both ends of a new connection from `source` to `target`."""
        return MemoryPipe.pair(self, source, target)

    @property
    def connections(self) -> tuple[tuple[str, str], ...]:
        """(local, remote) of each open end, in the order in which they were made."""
        return tuple((pipe.local, pipe.remote) for pipe in self._pipes)

    def forget(self, pipe: MemoryPipe) -> None:
        """Called by an end that is closed."""
        self._pipes.pop(pipe, None)

    def listen(self, asked: Authority, protocol_factory: ProtocolFactory) -> Listener:
        """Takes an authority; see `Transport.listen`."""
        authority = str(asked if asked.port else self._free(asked))
        if authority in self._listeners:
            raise AuthorityInUse("the address is taken", authority=authority)
        if authority in self._silent:
            del self._silent[authority]
            # The host is back and knows nothing of its old connections.
            for pipe in [pipe for pipe in self._pipes if pipe.remote == authority]:
                pipe.break_off(ConnectionResetError("the peer has restarted"))
            self._links_changed()
        listener = self._listeners[authority] = _MemoryListener(self, authority, protocol_factory)
        return listener

    def unlisten(self, listener: _MemoryListener) -> None:
        """Gives an authority back."""
        if self._listeners.get(listener.authority) is listener:
            del self._listeners[listener.authority]

    async def connect(self, source: str, target: str, protocol_factory: ProtocolFactory) -> MemoryPipe:
        """Opens a connection; see `Transport.dial`."""
        near: MemoryPipe | None = None
        try:
            async with asyncio.timeout(self.dial_timeout_s):
                await self._travel(source, target)
                listener = self._listeners.get(target)
                if listener is not None:
                    near, far = self.make_pipes(source, target)
                    self._pipes[near] = self._pipes[far] = None
                    far.open(listener.protocol_factory())
                await self._travel(target, source)
        except BaseException as error:
            if near is not None:
                near.abort()
            if isinstance(error, TimeoutError):
                reason = f"no answer within {self.dial_timeout_s} s"
                raise DialFailed(reason, authority=target, cause_kind="timeout") from error
            raise
        if near is None:
            raise DialFailed("nobody listens there", authority=target, cause_kind="refused")
        if near.is_closing():
            raise DialFailed("the connection was reset while it opened", authority=target, cause_kind="other")
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        near.open(protocol_factory(), opened)
        await opened
        return near

    def client_name(self) -> str:
        """The name of a node that only dials."""
        self._clients += 1
        return f"client-{self._clients}:0"

    async def _travel(self, source: str, target: str) -> None:
        """Waits until one packet has arrived, with the repetitions of its sender."""
        await asyncio.sleep(self.latency(source, target))
        while self.is_cut(source, target):
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[changed] = None
            try:
                await changed
            finally:
                self._waiting.pop(changed, None)

    def _links_changed(self) -> None:
        for changed in list(self._waiting):
            if not changed.done():
                changed.set_result(None)
        for pipe in list(self._pipes):
            pipe.link_changed()

    def _free(self, asked: Authority) -> Authority:
        for _ in range(_LAST_PORT - _FIRST_FREE_PORT + 1):
            candidate = asked._replace(port=self._next_port)
            self._next_port = self._next_port + 1 if self._next_port < _LAST_PORT else _FIRST_FREE_PORT
            if str(candidate) not in self._listeners:
                return candidate
        raise AuthorityInUse("no port is free", authority=str(asked))


class MemoryTransport(Transport):
    """One node's access to a `MemoryNetwork`.

    Args:
        network: shared by all nodes.
        authority: by which faults know this node when it dials; empty: the one that it listens at, or for a client
            a name of its own.
    """

    def __init__(self, network: MemoryNetwork, authority: str = "") -> None:
        self.authority = authority or network.client_name()
        self._named = bool(authority)
        self._network = network
        self._listeners: list[Listener] = []
        self._closed = False

    async def listen(self, authority: str, protocol_factory: ProtocolFactory, bind: str = "") -> Listener:
        self._check_open()
        listener = self._network.listen(parse_authority(authority), protocol_factory)
        self._listeners.append(listener)
        if not self._named:
            self.authority, self._named = listener.authority, True
        return listener

    async def dial(self, authority: str, protocol_factory: ProtocolFactory) -> asyncio.BaseTransport:
        self._check_open()
        target = str(parse_authority(authority, allow_port_zero=False))
        return await self._network.connect(self.authority, target, protocol_factory)

    def close(self) -> None:
        self._closed = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown("the transport is closed")


class _MemoryListener(Listener):
    def __init__(self, network: MemoryNetwork, authority: str, protocol_factory: ProtocolFactory) -> None:
        self.authority = authority
        self.protocol_factory = protocol_factory
        self._network = network

    def close(self) -> None:
        self._network.unlisten(self)

    async def wait_closed(self) -> None:
        return
