"""Logs on servers that die, stop and answer late: what was acknowledged is there, and an outdated keeper is refused."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from inaho.config import StorageConfig
from inaho.errors import LogConflict, StorageFailed
from inaho.storage import Storage
from inaho.storage.log import LogStorage
from inaho.storage.urls import storage_from_url
from support.gate import Gate, Mode
from support.service_servers import RedisServer, Server
from support.storages import LIMIT_S, SHORT, answered

pytestmark = pytest.mark.integration

_numbers = count(1)


def new_log() -> str:
    """A name that no other test has used."""
    return f"failing-{next(_numbers)}/0"


def logs_of(storage: Storage) -> LogStorage:
    assert storage.log is not None
    return storage.log


async def all_records(logs: LogStorage, log: str) -> list[bytes]:
    found: list[bytes] = []
    while True:
        offset = len(found)
        part = await answered(lambda offset=offset: logs.read(log, offset, records_max=100))  # type: ignore[misc]
        if not part:
            return found
        found += [record.data for record in part]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def storage(server: Server) -> AsyncIterator[Storage]:
    async with storage_from_url(server.url, SHORT) as storage:
        yield storage


class Keeper:
    """Appends to one log as a keeper does: after an unknown outcome it opens the log again.

    Attributes:
        acknowledged: records by their offsets.
        unknown: records of appends with an unknown outcome.
        failures: appends that failed.
        conflicts: how often another keeper had taken the log over.
    """

    def __init__(self, storage: Storage, log: str, name: int, epochs: Callable[[], int]) -> None:
        self.acknowledged: dict[int, bytes] = {}
        self.unknown: set[bytes] = set()
        self.failures = 0
        self.conflicts = 0
        self.running = True
        self._logs = logs_of(storage)
        self._log = log
        self._name = name
        self._epochs = epochs

    async def run(self) -> None:
        number = 0
        while self.running:
            epoch = self._epochs()
            try:
                end = (await answered(lambda epoch=epoch: self._logs.open_log(self._log, epoch=epoch))).end
                while self.running:
                    records = [struct.pack("!II", self._name, number + each) for each in range(3)]
                    number += 3
                    try:
                        await self._logs.append(self._log, records, offset=end, epoch=epoch)
                    except StorageFailed as failure:
                        self.failures += 1
                        if failure.maybe_executed:
                            self.unknown.update(records)
                        break
                    self.acknowledged.update(enumerate(records, end))
                    end += len(records)
            except LogConflict:
                self.conflicts += 1


def check(records: list[bytes], keepers: list[Keeper]) -> None:
    """The log has what was acknowledged at its offsets, and beyond that only what may be there, once."""
    assert len(set(records)) == len(records)
    known: dict[int, bytes] = {}
    for keeper in keepers:
        assert not known.keys() & keeper.acknowledged.keys()
        known |= keeper.acknowledged
    for offset, data in known.items():
        assert records[offset] == data
    rest = {data for offset, data in enumerate(records) if offset not in known}
    assert rest <= set().union(*(keeper.unknown for keeper in keepers))


@pytest.mark.parametrize("server", ["redis", "redis_cluster", "postgres"], indirect=True)
async def test_kill_9_loses_no_acknowledged_append(server: Server) -> None:
    async with storage_from_url(server.url, StorageConfig()) as storage:
        logs = [new_log() for _ in range(8)]
        keepers = [Keeper(storage, log, 1, lambda: 1) for log in logs]
        async with asyncio.TaskGroup() as group:
            for keeper in keepers:
                group.create_task(keeper.run())
            await until(lambda: all(len(keeper.acknowledged) > 15 for keeper in keepers))
            await asyncio.to_thread(server.kill)
            await until(lambda: any(keeper.failures for keeper in keepers))
            server.start()
            before = [len(keeper.acknowledged) for keeper in keepers]
            await until(
                lambda: all(len(each.acknowledged) > known for each, known in zip(keepers, before, strict=True))
            )
            for keeper in keepers:
                keeper.running = False
        assert not any(keeper.conflicts for keeper in keepers)
        for log, keeper in zip(logs, keepers, strict=True):
            check(await all_records(logs_of(storage), log), [keeper])


async def test_two_keepers_at_once_never_both_append(server: Server, storage: Storage) -> None:
    log = new_log()
    epochs = count(1)
    async with storage_from_url(server.url, SHORT) as other:
        keepers = [Keeper(each, log, number, lambda: next(epochs)) for number, each in enumerate((storage, other))]
        async with asyncio.TaskGroup() as group:
            for keeper in keepers:
                group.create_task(keeper.run())
            await until(lambda: all(keeper.conflicts > 5 for keeper in keepers))
            await until(lambda: sum(len(keeper.acknowledged) for keeper in keepers) > 60)
            for keeper in keepers:
                keeper.running = False
    check(await all_records(logs_of(storage), log), keepers)


async def test_opening_waits_for_a_cancelled_append(server: Server) -> None:
    async with storage_from_url(server.url, StorageConfig(operation_timeout_s=20.0)) as storage:
        logs, log = logs_of(storage), new_log()
        await logs.open_log(log, epoch=1)
        server.pause()
        try:
            append = asyncio.ensure_future(logs.append(log, [b"x"], offset=0, epoch=1))
            for _ in range(10):
                await asyncio.sleep(0)
            append.cancel()
            await asyncio.wait([append])
            opening = asyncio.ensure_future(logs.open_log(log, epoch=2))
            await asyncio.sleep(0)
        finally:
            server.resume()
        assert (await opening).end == 1
        assert await all_records(logs, log) == [b"x"]


@contextlib.asynccontextmanager
async def gate_to(server: Server, folder: Path) -> AsyncIterator[tuple[Gate, str]]:
    """A gate in front of the server, and the URL that goes through it."""
    if isinstance(server, RedisServer):
        async with Gate.to_port(server.port) as gate:
            yield gate, server.url.replace(str(server.port), str(gate.port))
        return
    name = ".s.PGSQL.5432"
    async with Gate.to_socket(server.folder / name, folder / name) as gate:
        yield gate, server.url.replace(str(server.folder), str(folder))


@pytest.mark.parametrize("epoch", [1, 2], ids=["itself", "another"])
async def test_append_that_arrives_after_its_log_was_opened_again_is_refused(
    server: Server, tmp_path: Path, epoch: int
) -> None:
    """Its bytes are held on the way until its keeper has given up, and the same or another one has opened the log."""
    log = new_log()
    impatient = StorageConfig(operation_timeout_s=0.6, connections_max=1)
    async with (
        gate_to(server, tmp_path) as (gate, url),
        storage_from_url(url, impatient) as old,
        storage_from_url(server.url, SHORT) as new,
    ):
        await logs_of(old).open_log(log, epoch=1)
        await logs_of(old).append(log, [b"early"], offset=0, epoch=1)  # the server knows the statement then
        gate.set(Mode.SILENT)
        with pytest.raises(StorageFailed, match="operation_timeout_s") as caught:
            await logs_of(old).append(log, [b"late"], offset=1, epoch=1)
        assert caught.value.maybe_executed
        assert caught.value.identity == log
        with pytest.raises(StorageFailed) as caught:
            await logs_of(old).read(log, 0, records_max=1)
        assert not caught.value.maybe_executed, "a read changes nothing"
        if epoch == 1:  # the keeper goes on through another connection
            logs_of(new)._openings = logs_of(old)._openings  # type: ignore[attr-defined]
        assert (await logs_of(new).open_log(log, epoch=epoch)).end == 1
        async with carried_out(server, log):
            gate.set(Mode.PASS)
        assert (await logs_of(new).bounds(log)).end == 1
        await logs_of(new).append(log, [b"ours"], offset=1, epoch=epoch)
        assert await all_records(logs_of(new), log) == [b"early", b"ours"]
        with pytest.raises(LogConflict):
            await answered(lambda: logs_of(old).append(log, [b"late"], offset=1, epoch=1))


@contextlib.asynccontextmanager
async def carried_out(server: Server, log: str) -> AsyncIterator[None]:
    """Returns when the server has carried out one more write to the log, whatever came of it."""
    if isinstance(server, RedisServer):

        def calls() -> int:
            lines = server.ask("INFO", "commandstats").splitlines()
            return next(
                int(line.partition("calls=")[2].partition(",")[0])
                for line in lines
                if ":calls=" in line and "_evalsha:" in line
            )

        before = await asyncio.to_thread(calls)
        yield
        async with asyncio.timeout(LIMIT_S):
            while await asyncio.to_thread(calls) == before:
                await asyncio.sleep(0.005)
        return
    outsider, observer = [await asyncpg.connect(server.url) for _ in range(2)]
    async with outsider.transaction():
        await outsider.execute("SELECT FROM inaho_grain_states_log WHERE name = $1 FOR UPDATE", log)
        yield
        async with asyncio.timeout(LIMIT_S):
            while not await observer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await asyncio.sleep(0.005)
    async with observer.transaction():  # behind it in the queue for the row
        await observer.execute("SELECT FROM inaho_grain_states_log WHERE name = $1 FOR UPDATE", log)
    await outsider.close()
    await observer.close()


async def test_dead_server_executed_nothing(server: Server, storage: Storage) -> None:
    logs, log = logs_of(storage), new_log()
    await logs.open_log(log, epoch=1)
    await asyncio.to_thread(server.kill)
    try:
        await asyncio.gather(*(logs.bounds(log) for _ in range(4)), return_exceptions=True)  # the connections are gone
        with pytest.raises(StorageFailed) as caught:
            await logs.append(log, [b"x"], offset=0, epoch=1)
        assert not caught.value.maybe_executed
    finally:
        server.start()
    assert (await answered(lambda: logs.open_log(log, epoch=1))).end == 0


async def test_refused_appends_fail_alone(storage: Storage) -> None:
    logs = logs_of(storage)
    names = [new_log() for _ in range(40)]
    await asyncio.gather(*(logs.open_log(name, epoch=2) for name in names[1:]))
    appends: list[Any] = [
        logs.append(name, [b"x"] * 2, offset=number % 2, epoch=2 if number % 3 else 1)
        for number, name in enumerate(names)
    ]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    for number, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
        if number % 2 == 0 and number % 3:
            assert outcome is None
        else:
            assert isinstance(outcome, LogConflict)
            assert (outcome.end, outcome.epoch) == (0, 2 if number else 0)
        assert (await logs.bounds(name)).end == (2 if outcome is None else 0)


async def test_appends_to_one_log_at_once_are_in_order(storage: Storage) -> None:
    """One batch takes them all: those after the first begin at the end that the one before makes."""
    logs, log = logs_of(storage), new_log()
    await logs.open_log(log, epoch=1)
    config = storage.config
    assert config.batch_requests_max > 20
    await asyncio.gather(*(logs.append(log, [b"%d" % number], offset=number, epoch=1) for number in range(20)))
    assert await all_records(logs, log) == [b"%d" % number for number in range(20)]
