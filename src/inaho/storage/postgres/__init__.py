"""State in PostgreSQL: `PostgresStorage`.

`storage` is the face, `session` is one connection to the server, `statements` holds the SQL. Other packages import
`PostgresStorage` from here, and nothing else. It needs `pip install 'inaho[postgres]'`.
"""

from __future__ import annotations

from inaho.storage.postgres.storage import PostgresStorage

__all__ = ["PostgresStorage"]
