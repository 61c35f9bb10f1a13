"""Checks that a storage works in virtual time: its answers must not come from a thread or a server."""

from __future__ import annotations

from typing import Final

from inaho.errors import InvalidConfig
from inaho.storage import Storage
from inaho.testing.storage.faults import FaultyStorage

__all__ = ["check_storage"]

REAL_STORAGES: Final = ("SqliteStorage", "PostgresStorage", "RedisStorage")
"""Back ends that answer from a thread or a server. By name: two of them need extras to be imported."""


def check_storage(storage: Storage | None) -> None:
    """Refuses a storage of inaho, or a `FaultyStorage` around one, that does not work in virtual time."""
    while isinstance(storage, FaultyStorage):
        storage = storage.inner
    for base in type(storage).__mro__:
        if base.__name__ in REAL_STORAGES and base.__module__.startswith("inaho.storage."):
            raise InvalidConfig(
                f"{base.__name__} answers from a thread or a server, which a simulation does not have: "
                "give storage= a MemoryStorage, or a FaultyStorage around one"
            )
