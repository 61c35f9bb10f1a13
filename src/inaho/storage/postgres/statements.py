"""The SQL statements of `PostgresStorage`; `{table}` stands for the name of its table.

`postgres` describes what they guarantee together.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CREATE", "MARK", "MARK_NAME", "SELECT", "SELECT_NUMBERS", "WRITE"]

MARK_NAME: Final = b"\0"
"""The name of the row with the mark (see `instances`): no record has it, as those are digests."""

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
WITH mark AS MATERIALIZED (
    SELECT max(convert_from(data, 'UTF8') || '.' || xmin) AS instance FROM {table} WHERE name = '\\x00'
)
INSERT INTO {table} AS stored (name, kind, key, version, epoch, data)
SELECT new.* FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bytea[])
    AS new (name, kind, key, version, epoch, data)
WHERE ($7 = '' OR (SELECT instance = $7 AND txid_current() > $8 FROM mark)) AND (
    new.version = 1 OR EXISTS (SELECT FROM {table} AS old WHERE old.name = new.name)
)
ORDER BY new.name
ON CONFLICT (name) DO UPDATE SET version = excluded.version, epoch = excluded.epoch, data = excluded.data
WHERE stored.version = excluded.version - 1 AND stored.epoch <= excluded.epoch
RETURNING name, (SELECT instance FROM mark), txid_current()
"""
"""If there is no record, only version 1 may be written: hence the second EXISTS.

$7 and $8 are the mark that was seen, empty and 0 for none: another or an older storage is not written to.
"""

MARK: Final = """
INSERT INTO {table} (name, kind, key, version, epoch, data) VALUES ('\\x00', '', '', 0, 0, $1::bytea)
ON CONFLICT DO NOTHING
"""
"""Makes the mark. Its id is the data with the number of the transaction that has written the row (`xmin`).

So a row that was restored from a dump is another one, in whatever way that was done.
"""

_STORED: Final = """
, CASE WHEN name = '\\x00' THEN convert_from(data, 'UTF8') || '.' || xmin END,
CASE WHEN name = '\\x00' THEN txid_snapshot_xmax(txid_current_snapshot()) - 1 END
FROM {table} WHERE name = ANY($1::bytea[])
"""
"""With the mark, if its row is requested: its id, and the last transaction that has ended."""

SELECT: Final = "SELECT name, version, epoch, data" + _STORED
SELECT_NUMBERS: Final = "SELECT name, version, epoch, NULL::bytea" + _STORED
