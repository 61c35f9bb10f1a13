"""State in Redis, a single server or Redis Cluster: `RedisStorage`.

`storage` is the face, `server` speaks to one server, `cluster` finds the server of a key. Other packages import
`RedisStorage` from here, and nothing else. It needs `pip install 'inaho[redis]'`.
"""

from __future__ import annotations

from inaho.storage.redis.storage import RedisStorage

__all__ = ["RedisStorage"]
