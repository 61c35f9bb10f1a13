"""The statements of `PostgresStorage`; `{table}` stands for the name of its table.

What they promise together is told in `postgres`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CREATE", "SELECT", "SELECT_NUMBERS", "WRITE"]

CREATE: Final = """
CREATE TABLE {table} (
    name bytea PRIMARY KEY, -- SHA-256 of kind, NUL, key
    kind text NOT NULL,
    key text NOT NULL,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    data bytea -- NULL: deleted, only the numbers are left
)
"""
WRITE: Final = """
INSERT INTO {table} AS stored (name, kind, key, version, epoch, data)
SELECT new.* FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bytea[])
    AS new (name, kind, key, version, epoch, data)
WHERE new.version = 1 OR EXISTS (SELECT FROM {table} AS old WHERE old.name = new.name)
ORDER BY new.name
ON CONFLICT (name) DO UPDATE SET version = excluded.version, epoch = excluded.epoch, data = excluded.data
WHERE stored.version = excluded.version - 1 AND stored.epoch <= excluded.epoch
RETURNING name
"""
"""Where nothing is stored, only version 1 may be written: hence the EXISTS."""

SELECT: Final = "SELECT name, data, version, epoch FROM {table} WHERE name = ANY($1::bytea[])"
SELECT_NUMBERS: Final = "SELECT name, version, epoch FROM {table} WHERE name = ANY($1::bytea[])"
