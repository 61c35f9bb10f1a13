"""State in a dictionary: for tests, the simulator and grains whose state may die with the process.

No thread, no await, no clock: an operation is done when it is called, in the order of the calls, so that one seed
gives one history. The data belongs to the object and not to its being open: a simulated node that crashes and comes
back, or another node that shares the object, finds it again.

Why not SQLite's `:memory:`: it brings a thread, and with it an order that no seed decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from inaho.config import StorageConfig
from inaho.storage.base import Storage, StoredState, StoredVersion, conflict_of
from inaho.types import ClusterIdentity

__all__ = ["MemoryStorage"]


class MemoryStorage(Storage):
    """Storage that lasts as long as the object; any number of nodes of one process may share it.

    Args:
        config: bounds of one record. The number of records is the user's: every stored grain is one.
    """

    def __init__(self, config: StorageConfig | None = None) -> None:
        super().__init__(config)
        self._states: dict[ClusterIdentity, StoredState] = {}

    def __repr__(self) -> str:
        return f"MemoryStorage({len(self._states)} records)"

    async def _open(self) -> None:
        """Nothing to take."""

    async def _close(self) -> None:
        """Nothing to release: the data stays."""

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        return self._states.get(identity)

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        found = (self._states.get(identity) for identity in identities)
        return [None if stored is None else StoredVersion(stored.version, stored.epoch) for stored in found]

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        conflict = conflict_of(identity, self._states.get(identity), expected_version=expected_version, epoch=epoch)
        if conflict is not None:
            raise conflict
        version = expected_version + 1
        self._states[identity] = StoredState(data, version, epoch)
        return version
