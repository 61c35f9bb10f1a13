"""The SQL of the PostgreSQL provider. `table` and `channel` are checked names.

Rows are compared by the clock of the server: `clock_timestamp()` goes on within a statement that waits for a lock.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CHECK",
    "CREATE",
    "DEREGISTER",
    "INSERT_RECORD",
    "LOCK",
    "MARK",
    "READ",
    "READ_RECORD",
    "REGISTER",
    "RENEW",
    "UPDATE_RECORD",
]

MARK: Final = "inaho topology, schema 1"
"""The comment of the table: it identifies tables of inaho, and the version of their schema."""

LOCK: Final = 0x696E6168_6F000002
"""Advisory lock for making the table: `CREATE TABLE IF NOT EXISTS` fails when two run at once."""

CREATE: Final = """
DO $create$ BEGIN
  PERFORM pg_advisory_xact_lock({lock});
  IF to_regclass('{table}') IS NULL THEN
    CREATE TABLE IF NOT EXISTS {table} (
      prefix text NOT NULL,
      key text NOT NULL,
      value text NOT NULL,
      node_id text NOT NULL DEFAULT '',
      version text NOT NULL DEFAULT '',
      expires_at timestamptz,
      PRIMARY KEY (prefix, key)
    );
    COMMENT ON TABLE {table} IS '{mark}';
  END IF;
END $create$
"""

CHECK: Final = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
  COALESCE($2::text, current_schema()),
  has_schema_privilege(COALESCE($2::text, current_schema()), 'CREATE'),
  found.oid IS NOT NULL,
  obj_description(found.oid, 'pg_class'),
  ARRAY(
    SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE NOT has_table_privilege(found.oid, privilege)
  )
FROM (SELECT to_regclass($1::text)::oid AS oid) AS found
"""

READ: Final = """
SELECT key, value, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM {table}
WHERE prefix = $1 AND key <> 'record' AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY key COLLATE "C" LIMIT $2
"""

REGISTER: Final = """
WITH expired AS (
  DELETE FROM {table} WHERE prefix = $1 AND key IN (
    SELECT key FROM {table} WHERE prefix = $1 AND key <> $2 AND expires_at <= clock_timestamp()
    ORDER BY key LIMIT 100 FOR UPDATE SKIP LOCKED
  )
), written AS (
  INSERT INTO {table} AS stored (prefix, key, value, node_id, expires_at)
  VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
  ON CONFLICT (prefix, key) DO UPDATE
  SET value = EXCLUDED.value, node_id = EXCLUDED.node_id, expires_at = EXCLUDED.expires_at
)
SELECT pg_notify('{channel}', $1::text)
"""

RENEW: Final = """
UPDATE {table} SET expires_at = clock_timestamp() + make_interval(secs => $4)
WHERE prefix = $1 AND key = $2 AND node_id = $3 AND expires_at > clock_timestamp()
RETURNING true
"""

DEREGISTER: Final = """
WITH removed AS (DELETE FROM {table} WHERE prefix = $1 AND key = $2 AND node_id = $3)
SELECT pg_notify('{channel}', $1::text)
"""

READ_RECORD: Final = "SELECT value, version FROM {table} WHERE prefix = $1 AND key = 'record'"

INSERT_RECORD: Final = """
INSERT INTO {table} AS stored (prefix, key, value, version) VALUES ($1, 'record', $2, $3)
ON CONFLICT (prefix, key) DO UPDATE SET version = EXCLUDED.version WHERE stored.version = EXCLUDED.version
RETURNING true
"""
"""Sent again because its answer was lost, it finds its own version, and answers as it did; so does the next one."""

UPDATE_RECORD: Final = """
UPDATE {table} SET value = $2, version = $3 WHERE prefix = $1 AND key = 'record' AND version IN ($3, $4)
RETURNING true
"""
