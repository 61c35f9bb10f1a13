"""State in one SQLite file: `SqliteStorage`.

`storage` is the face, `session` runs statements on the threads of the storage, `file` makes, recognises and opens the
file. Other packages import `SqliteStorage` from here, and nothing else.
"""

from __future__ import annotations

from inaho.storage.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
