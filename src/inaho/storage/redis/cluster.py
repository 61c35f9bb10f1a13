"""Redis Cluster: finds the server of each key and keeps lanes to each server.

Any server that answers is asked for the map of slots. The map may be wrong at any time, and a wrong server says so:
MOVED names the server that has the slot now, ASK the server that has this key while its slot moves, and TRYAGAIN asks
the client to wait. Nothing ran in these cases, so the command is sent on. If a server does not answer, the map is
requested from the others, and once they name another primary, commands go there.

Lanes belong to one server, so a server that stands still delays only its own keys.

Why not redis-py's `RedisCluster`: its tasks share the connections to a server, so an ASKING and its command may use two
of them, an error of one closes those of others, and a time-out from outside does not make it look for the new primary
(decision 13).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final, TypeAlias

import msgspec

from inaho.errors import StorageFailed
from inaho.storage.instances import Mark
from inaho.storage.redis.server import Command, MarkKey, RedisServer, reading
from inaho.storage.urls import missing_package

try:
    from redis import exceptions
    from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
except ImportError as error:
    raise missing_package("redis", "redis") from error

__all__ = ["Address", "RedisCluster", "slot_tag"]

Address: TypeAlias = tuple[str, int]

_HOPS_MAX: Final = 16
"""Bound of the redirections of one command. Two are usual; while a slot moves, two servers may name each other."""

_HOPS_AT_ONCE: Final = 3
_HOP_PAUSE_S: Final = 0.05

_MAP_TIMEOUT_S: Final = 1.0
"""Time limit for one server that is asked for the map: others know it too."""

_MAP_PAUSE_S: Final = 0.25
"""Least time between two requests for the map after failures."""


class RedisCluster:
    """The servers of a Redis Cluster. It belongs to the event loop on which it is made.

    Args:
        name: for messages, without secrets.
        seed: the server that is asked first for the map.
        make: makes a server for an address.

    Attributes:
        servers: servers with lanes, by address.
    """

    def __init__(self, name: str, seed: Address, make: Callable[[Address], RedisServer]) -> None:
        self.servers: dict[Address, RedisServer] = {}
        self._name = name
        self._seed = seed
        self._make = make
        self._slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._loop = asyncio.get_running_loop()
        self._mapping: asyncio.Task[None] | None = None
        self._mapped_at = -_MAP_PAUSE_S
        self._retiring: dict[RedisServer, asyncio.Task[None]] = {}
        self._suspects: dict[Address, None] = {}

    @property
    def queued(self) -> int:
        """Commands accepted and not yet answered."""
        return sum(server.queued for server in self.servers.values())

    async def submit(self, key: Hashable, command: Command, size: int) -> Any:
        """See `RedisServer.submit`; it finds the server.

        Raises:
            StorageFailed: no server has the slot; or as `RedisServer.submit`.
        """
        slot = key_slot(command.key)
        address = self._slots[slot]
        hops = 0
        while True:
            if address is None:
                self._map_soon()
                raise StorageFailed(
                    f"{self._name}: no server has slot {slot}", identity=command.identity, maybe_executed=False
                )
            try:
                return await self._server(address).submit(key, command, size)
            except StorageFailed as failure:
                refusal = failure.__cause__
                hops += 1
                if hops > _HOPS_MAX or not isinstance(refusal, exceptions.AskError | exceptions.TryAgainError):
                    if not isinstance(refusal, exceptions.ResponseError) or _is_down(refusal):
                        self._suspects[address] = None
                        self._map_soon()
                    raise
                if isinstance(refusal, exceptions.TryAgainError) and command.alone:
                    command = msgspec.structs.replace(command, words=command.alone, alone=())
                if isinstance(refusal, exceptions.AskError):  # MOVED is one too
                    moved = isinstance(refusal, exceptions.MovedError)
                    named: Any = refusal  # typed in part only
                    address = (named.host or address[0], named.port)
                    command = msgspec.structs.replace(command, asking=not moved)
                    if moved:
                        self._slots[slot] = address
                        self._map_soon()
            if hops >= _HOPS_AT_ONCE:
                await asyncio.sleep(_HOP_PAUSE_S)

    async def read(self, keys: Sequence[bytes], mark_key: MarkKey) -> tuple[Sequence[Any], Mapping[bytes, Mark | None]]:
        """See `RedisServer.read`: one round trip to each server that has some of the keys, all at the same time.

        If a server does not have all keys of a read any more, they are read one by one.
        """
        shares: dict[Address | None, list[int]] = {}
        for number, key in enumerate(keys):
            shares.setdefault(self._slots[key_slot(key)], []).append(number)
        asked = [
            self._read_share(address, [keys[each] for each in share], mark_key) for address, share in shares.items()
        ]
        found: dict[int, Any] = {}
        marks: dict[bytes, Mark | None] = {}
        for share, (answers, told) in zip(shares.values(), await _all_of(asked), strict=True):
            found.update(zip(share, answers, strict=True))
            marks |= told
        return [found[number] for number in range(len(keys))], marks

    async def _read_share(
        self, address: Address | None, keys: Sequence[bytes], mark_key: MarkKey
    ) -> tuple[Sequence[Any], Mapping[bytes, Mark | None]]:
        if address is not None:
            try:
                return await self._server(address).read(keys, mark_key)
            except StorageFailed as failure:
                if not isinstance(failure.__cause__, exceptions.ResponseError):
                    self._suspects[address] = None
                    self._map_soon()
                    raise
        single = [msgspec.structs.replace(reading([key], [mark_key(key)]), key=key) for key in keys]
        answers: list[Any] = []
        marks: dict[bytes, Mark | None] = {}
        for (answer,), told in await _all_of([self.submit(None, command, 0) for command in single]):
            answers.append(answer)
            marks |= told
        return answers, marks

    async def settled(self, key: Hashable) -> None:
        """See `Lanes.settled`: no server has a running request about `key`."""
        for server in (*self.servers.values(), *self._retiring):
            await server.settled(key)

    async def ask_all(self, *words: bytes | str | int) -> list[Any]:
        """The answers of all servers that have slots and can be reached, after an update of the map.

        Raises:
            StorageFailed: no server answers, or this is no cluster.
        """
        await self._ask_for_map()
        asked = [self._server(address).ask(*words) for address in self._primaries()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[-1]
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def stop(self) -> None:
        """Serves accepted commands, and ends all connections."""
        if self._mapping is not None:
            self._mapping.cancel()
            await asyncio.wait((self._mapping,))
        servers, self.servers = self.servers, {}
        await asyncio.gather(*(server.stop() for server in servers.values()), *self._retiring.values())

    def _server(self, address: Address) -> RedisServer:
        server = self.servers.get(address)
        if server is None:
            server = self.servers[address] = self._make(address)
        return server

    def _primaries(self) -> dict[Address, None]:
        return dict.fromkeys(address for address in self._slots if address is not None)

    # The map.

    def _map_soon(self) -> None:
        """Asks for the map in the background, unless that was done a moment ago or is running."""
        if self._mapping is None:
            self._mapping = self._loop.create_task(self._map_again(), name=f"{self._name}, map of slots")
            self._mapping.add_done_callback(self._mapping_ended)

    async def _map_again(self) -> None:
        await asyncio.sleep(self._mapped_at + _MAP_PAUSE_S - self._loop.time())
        with suppress(StorageFailed):  # a command that fails meanwhile asks again
            await self._ask_for_map()

    def _mapping_ended(self, task: asyncio.Task[None]) -> None:
        self._mapping = None
        if not task.cancelled():
            task.result()

    async def _ask_for_map(self) -> None:
        """Asks one server after the other; those that failed lately come last."""
        candidates = dict.fromkeys((*self._primaries(), *self.servers, self._seed))
        order = [each for each in candidates if each not in self._suspects]
        order += [each for each in candidates if each in self._suspects]
        failure: BaseException | None = None
        try:
            for address in order:
                try:
                    async with asyncio.timeout(_MAP_TIMEOUT_S):
                        self._read_map(address, await self._server(address).ask("CLUSTER", "SLOTS"))
                except (StorageFailed, TimeoutError) as error:
                    self._suspects[address] = None
                    failure = error
                else:
                    self._suspects = {}
                    self._retire()
                    return
        finally:
            self._mapped_at = self._loop.time()
        if isinstance(failure, StorageFailed):
            raise failure
        raise StorageFailed(f"{self._name}: no server returned the map of slots", maybe_executed=False) from failure

    def _read_map(self, asked: Address, answer: Any) -> None:
        """Applies an answer to CLUSTER SLOTS: ranges of slots, each with its primary first."""
        slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, primary, *_ in answer:
            host = (primary[0] or b"").decode()  # unknown if a server does not know its own address
            slots[first : last + 1] = [(host or asked[0], int(primary[1]))] * (last + 1 - first)
        if not any(slots):
            raise StorageFailed(f"{self._name}: the cluster has no slots yet", maybe_executed=False)
        self._slots = slots

    def _retire(self) -> None:
        """Ends the connections to servers that have no slots any more."""
        primaries = self._primaries()
        for address in [each for each in self.servers if each not in primaries]:
            server = self.servers.pop(address)
            task = self._loop.create_task(server.stop(), name=f"{self._name}, end of {address[0]}:{address[1]}")
            self._retiring[server] = task
            task.add_done_callback(lambda _, server=server: self._retiring.pop(server))  # type: ignore[misc]


def _is_down(refusal: exceptions.ResponseError) -> bool:
    return isinstance(refusal, exceptions.ClusterDownError | exceptions.ReadOnlyError)


async def _all_of(work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of all, which run at the same time. When some fail, the first failure, once all have ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


def slot_tag(slot: int) -> bytes:
    """A short text that `key_slot` puts into this slot."""
    if not _tags:
        for number in count():
            tag = b"%x" % number
            _tags.setdefault(key_slot(tag), tag)
            if len(_tags) == REDIS_CLUSTER_HASH_SLOTS:
                break
    return _tags[slot]


_tags: dict[int, bytes] = {}
"""By slot, made at the first use: one for each of the slots."""
