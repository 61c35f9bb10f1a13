"""The SQL of `PostgresLog`, and what it asks and answers. One statement does one operation.

`{log}` stands for the table with the bounds of each log, `{chunk}` for the table with the chunks. The mark (see
`instances`) is that of the states, in their table.

A write locks the row of its log first. So it decides on the newest row, also if another transaction has changed it
since the statement began, and it tells in one round trip what it has found. The rows are locked in the order of their
names: two statements that write to several logs never lock each other up.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from inaho.storage.instances import Mark
from inaho.storage.log.base import LogBounds

__all__ = ["LOG_MARK", "LogFound", "LogRequest", "LogStatements"]

LOG_MARK: Final = "inaho logs, schema 1"
"""The comment of the table with the bounds, as the one of the states' table."""

_NAME_MAX: Final = 63
"""Characters of a name in PostgreSQL; it cuts off what is longer."""

_CREATE: Final = """
CREATE TABLE {log} (
    name text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    opener text NOT NULL, -- the storage object that has opened it last
    opening bigint NOT NULL, -- the number of that opening
    first_offset bigint NOT NULL, -- of the first record that is left
    end_offset bigint NOT NULL,
    appended bigint NOT NULL, -- bytes of all chunks that there ever were
    removed bigint NOT NULL -- bytes of those that were removed
);
CREATE TABLE {chunk} (
    name text COLLATE "C" NOT NULL,
    first_offset bigint NOT NULL,
    end_offset bigint NOT NULL,
    before bigint NOT NULL, -- bytes of all chunks before it
    records bytea NOT NULL,
    PRIMARY KEY (name, first_offset)
);
ALTER TABLE {chunk} ALTER records SET STORAGE EXTERNAL; -- compressing would cost more time than the disk
"""

_MARK: Final = """WITH mark AS MATERIALIZED (
    SELECT max(convert_from(data, 'UTF8') || '.' || xmin) AS instance FROM {table} WHERE name = '\\x00'
)"""

_SAME: Final = "($1 = '' OR (SELECT instance = $1 AND txid_current() > $2 FROM mark))"
"""$1 and $2 of all writes are the mark that was seen, empty and 0 for none: nothing else is written to."""

_BOUNDS: Final = "epoch, first_offset, end_offset, appended, removed"

_OPEN: Final = """
{mark}, opened AS (
    INSERT INTO {log} AS log (name, epoch, opener, opening, first_offset, end_offset, appended, removed)
    SELECT $3::text, $4::bigint, $5::text, $6::bigint, 0, 0, 0, 0 WHERE {same}
    ON CONFLICT (name) DO UPDATE SET epoch = greatest(log.epoch, excluded.epoch),
        opener = CASE WHEN log.epoch <= excluded.epoch THEN excluded.opener ELSE log.opener END,
        opening = CASE WHEN log.epoch <= excluded.epoch THEN excluded.opening ELSE log.opening END
    WHERE log.opener <> excluded.opener OR log.opening < excluded.opening
    RETURNING *
)
SELECT mark.instance, txid_current(), $3, epoch = $4, {bounds}
FROM mark LEFT JOIN opened ON true
"""

_APPEND: Final = """
{mark}, held AS MATERIALIZED (
    SELECT * FROM {log} WHERE name = ANY($3::text[]) ORDER BY name FOR NO KEY UPDATE
), fits AS MATERIALIZED (
    SELECT new.*, held.appended AS before
    FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bigint[])
        AS new (name, epoch, first_offset, end_offset, records, opening)
    JOIN held USING (name)
    WHERE held.epoch = new.epoch AND held.end_offset = new.first_offset AND {same}
    AND (new.opening IN (0, held.opening) OR held.opener <> $9::text)
), moved AS (
    UPDATE {log} AS log SET end_offset = fits.end_offset, appended = fits.before + octet_length(fits.records)
    FROM fits WHERE log.name = fits.name RETURNING log.name
), kept AS (
    INSERT INTO {chunk} (name, first_offset, end_offset, before, records)
    SELECT name, first_offset, end_offset, before, records FROM fits
)
SELECT mark.instance, txid_current(), held.name, moved.name IS NOT NULL, {bounds}
FROM mark LEFT JOIN held ON true LEFT JOIN moved USING (name)
"""

_TRIM: Final = """
{mark}, held AS MATERIALIZED (
    SELECT * FROM {log} WHERE name = $3::text FOR NO KEY UPDATE
), fits AS MATERIALIZED (
    SELECT name, least(greatest(first_offset, $5::bigint), end_offset) AS upto FROM held
    WHERE epoch = $4::bigint AND {same}
), gone AS (
    DELETE FROM {chunk}
    WHERE name = $3 AND first_offset < (SELECT upto FROM fits) AND end_offset <= (SELECT upto FROM fits)
    RETURNING before + octet_length(records) AS removed
), moved AS (
    UPDATE {log} AS log SET first_offset = fits.upto, removed = greatest(log.removed, (SELECT max(removed) FROM gone))
    FROM fits WHERE log.name = fits.name RETURNING log.name
)
SELECT mark.instance, txid_current(), held.name, moved.name IS NOT NULL, {bounds}
FROM mark LEFT JOIN held ON true LEFT JOIN moved USING (name)
"""

_READ: Final = """
{mark}, held AS MATERIALIZED (
    SELECT * FROM {log} WHERE name = $1::text
), start AS MATERIALIZED (
    SELECT first_offset, before + octet_length(records) AS after FROM {chunk}
    WHERE name = $1 AND first_offset <= $2::bigint
    AND EXISTS (SELECT FROM held WHERE first_offset <= $2 AND $2 < end_offset)
    ORDER BY first_offset DESC LIMIT 1
), part AS (
    SELECT first_offset AS chunk_first, records FROM {chunk}
    WHERE name = $1 AND first_offset >= (SELECT first_offset FROM start) AND first_offset < $2 + $3::bigint
    AND before < (SELECT after FROM start) + $4::bigint
)
SELECT mark.instance, txid_snapshot_xmax(txid_current_snapshot()) - 1, $1, true, {bounds}, chunk_first, records
FROM mark LEFT JOIN held ON true LEFT JOIN part ON true ORDER BY chunk_first
"""
"""How much of the first chunk is wanted is not known here, so its bytes do not count.

The bounds of the offsets are single values, and not joined: so every plan takes both from the index, also one that was
made while the table was empty.
"""


class LogRequest(msgspec.Struct, frozen=True):
    """One operation on a log.

    Attributes:
        about: the name of the log.
        operation: what is asked.
        epoch: of the keeper.
        offset: of an append, a read (-1: only the bounds are wanted) or a trim.
        count: records of an append; at most so many of a read.
        bytes_max: of a read.
        chunk: of an append.
        opener: the storage object, see `Openings`.
        opening: of an opening: its number; of an append: that of the last one.
        seen: the mark of the storage must not be behind this one.
    """

    about: str
    operation: Literal["open", "append", "read", "trim"]
    epoch: int = 0
    offset: int = -1
    count: int = 0
    bytes_max: int = 0
    chunk: bytes = b""
    opener: str = ""
    opening: int = 0
    seen: Mark | None = None

    @property
    def name(self) -> bytes:
        """It distinguishes the requests that share a statement."""
        return self.about.encode()


class LogFound(msgspec.Struct, frozen=True):
    """The answer to a `LogRequest`.

    Attributes:
        done: whether it was allowed.
        bounds: of the log after it.
        mark: of the storage.
        chunks: of a read: the chunks, each with the offset of its first record.
    """

    done: bool
    bounds: LogBounds
    mark: Mark
    chunks: Sequence[tuple[int, bytes]] = ()


class LogStatements:
    """The statements for the logs beside one table of states.

    Args:
        table: of the states.

    Attributes:
        table: with the bounds of the logs.
        create: makes the tables.
    """

    def __init__(self, table: str) -> None:
        schema, dot, name = table.rpartition(".")
        if len(name) > _NAME_MAX - len("_log_chunk"):
            name = f"{name[:40]}_{sha256(name.encode()).hexdigest()[:12]}"
        self.table = f"{schema}{dot}{name}_log"
        mark = _MARK.format(table=table)
        self.create, self._open, self._append, self._read, self._trim = (
            statement.format(log=self.table, chunk=f"{self.table}_chunk", mark=mark, same=_SAME, bounds=_BOUNDS)
            for statement in (_CREATE, _OPEN, _APPEND, _READ, _TRIM)
        )

    async def run(self, connection: Any, requests: Sequence[LogRequest]) -> dict[bytes, LogFound]:
        """The answers, by name: to appends to different logs, or to one other request."""
        first = requests[0]
        if first.operation == "read":
            return await self._run_read(connection, first)
        # All are from one storage object; the oldest mark is compared, since an answer may be on its way.
        seen = min((each.seen or Mark() for each in requests), key=lambda mark: mark.commits)
        if first.operation == "open":
            opening = (first.opener, first.opening)
            rows = await connection.fetch(self._open, seen.instance, seen.commits, first.about, first.epoch, *opening)
        elif first.operation == "trim":
            rows = await connection.fetch(
                self._trim, seen.instance, seen.commits, first.about, first.epoch, first.offset
            )
        else:
            rows = await connection.fetch(
                self._append,
                seen.instance,
                seen.commits,
                [each.about for each in requests],
                [each.epoch for each in requests],
                [each.offset for each in requests],
                [each.offset + each.count for each in requests],
                [each.chunk for each in requests],
                [each.opening for each in requests],
                first.opener,
            )
        found = {row[2]: _found(row) for row in rows}
        missing = _found((*rows[0][:4], *[None] * 5))
        return {each.name: found.get(each.about, missing) for each in requests}

    async def _run_read(self, connection: Any, request: LogRequest) -> dict[bytes, LogFound]:
        rows = await connection.fetch(self._read, request.about, request.offset, request.count, request.bytes_max)
        chunks = [(row[9], row[10]) for row in rows if row[9] is not None]
        return {request.name: msgspec.structs.replace(_found(rows[0]), chunks=chunks)}


def _found(row: Any) -> LogFound:
    """A row without bounds is about a log that does not exist, or that was not touched."""
    instance, commit, _, done, epoch, first, end, appended, removed = row[:9]
    mark = Mark(instance or "", commit)
    if epoch is None:
        return LogFound(False, LogBounds(0, 0, 0, 0), mark)
    return LogFound(done, LogBounds(first, end, epoch, appended - removed), mark)
