"""The contract of a state storage: load, conditional save, conditional delete.

Two activations of one grain can overlap while views of the cluster disagree. The storage decides between them: a save
names the version that it replaces and the epoch of its activation. It commits only if there was no other save in
between and no save with a higher epoch at all. The activation that is behind learns it and stops (DESIGN section 3,
"Leases and fencing"; the fencing token is Kleppmann's, "How to do distributed locking", 2016).

Why both numbers: the version alone prevents lost updates, but an outdated activation could win against its successor
again and again, each time with a fresh load. The epoch alone prevents that, but two turns of one activation could
overwrite each other. Why a delete leaves a tombstone: if the record vanished, "no record" would be true again, and a
save that an outdated activation had prepared before the grain existed would bring old state back.

The checks that every back end needs are here once, in the public methods; a back end implements the hooks that begin
with an underscore.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from inaho.config import StorageConfig
from inaho.errors import InvalidArguments, StateConflict, StateTooLarge, StorageFailed, StorageLost
from inaho.storage.instances import Instances
from inaho.storage.log.base import LogStorage
from inaho.types import ClusterIdentity

__all__ = ["NUMBER_MAX", "Storage", "StoredState", "StoredVersion", "conflict_of"]

NUMBER_MAX: Final = (1 << 63) - 1
"""Greatest version and epoch: the bound of signed 64-bit integers in SQLite and PostgreSQL."""


class StoredState(msgspec.Struct, frozen=True):
    """The record of one identity in a storage.

    Attributes:
        data: the encoded state; None is a tombstone: the state was deleted and only its numbers are left.
        version: 1 for the first write, and 1 more for each write since, deletes included.
        epoch: of the activation that wrote last.
    """

    data: bytes | None
    version: int
    epoch: int


class StoredVersion(msgspec.Struct, frozen=True):
    """The record of one identity without the data. A tombstone has both numbers too.

    Attributes:
        version: see `StoredState`.
        epoch: see `StoredState`.
    """

    version: int
    epoch: int


def conflict_of(
    identity: ClusterIdentity, stored: StoredState | StoredVersion | None, *, expected_version: int, epoch: int
) -> StateConflict | None:
    """The rule of a conditional write, in one place for all back ends.

    A stale epoch is reported before a wrong version, because it is the cause of both: the writer was replaced.

    Args:
        identity: for the error.
        stored: the present record, tombstones included; None if there never was one.
        expected_version: the version that the writer expects; 0 for no record.
        epoch: of the writer.

    Returns:
        The error to raise, or None if the write may commit.
    """
    version, stored_epoch = (0, 0) if stored is None else (stored.version, stored.epoch)
    if epoch < stored_epoch:
        reason = f"stale epoch: the writer has epoch {epoch}, epoch {stored_epoch} is stored"
    elif expected_version != version:
        reason = f"wrong version: the writer expected version {expected_version}, version {version} is stored"
    else:
        return None
    return StateConflict(reason, identity=str(identity), stored_version=version, stored_epoch=stored_epoch)


class Storage(ABC):
    """Durable state by identity, with conditional writes.

    Several nodes of a process that run on one event loop may share a storage: each opens it and closes it once, and the
    last close releases what the first open took.

    What every back end guarantees, and `inaho.testing.storage_conformance` checks:

    - A write commits if and only if the stored version equals `expected_version` and `epoch` is not below the stored
      epoch. Otherwise it raises `StateConflict` and changes nothing. Of several writers that expect one version,
      one wins.
    - The version after a write is `expected_version + 1`. It never falls, and a delete does not reset it.
    - A write that returned is durable, in the sense that the back end documents, and every later load sees it.
    - A write that was cancelled, or that raised with `maybe_executed`, may or may not have committed. Load before the
      next write. A load through the same object waits for such a write, so that its answer stays true. Only a server
      that stood still beyond every time limit may carry it out later. It does so only if there was no other write
      meanwhile, so no acknowledged write is lost, and the next write is a conflict.
    - The storage repeats no write by itself. A caller that repeats a write with an unknown outcome gets the version, if
      the first one had not committed, or `StateConflict`: a write never commits twice.
    - If the back end keeps marks (`instances`; those of this package do), operations on a storage that has lost
      acknowledged data are refused with `StorageLost`, until `accept`. A storage of your own need not keep marks: then
      a loss is not noticed here, and only the versions of single records show it.
    - A load does not fence: the old activation may still write until the new one has written. The new one then gets a
      conflict and loads again; no update is lost.

    Tombstones stay until the operator removes them; one costs its key and two numbers.

    Attributes:
        config: bounds.
        loads: loads answered since the storage was made; a plain number for metrics, like the following.
        saves: writes acknowledged, deletes included.
        conflicts: writes refused with `StateConflict`.
        failures: operations that ended in `StorageFailed` or `StorageLost`.
        instances: the marks of its storage that this object has seen. A back end of your own that has one mark calls
            `instances.seen()` before a request and `instances.check()` with the mark that came with the answer.
    """

    def __init__(self, config: StorageConfig | None = None) -> None:
        self.config = StorageConfig() if config is None else config
        self.loads = 0
        self.saves = 0
        self.conflicts = 0
        self.failures = 0
        self.instances = Instances(self.__repr__)
        self._users = 0
        self._lifecycle = asyncio.Lock()

    @property
    def log(self) -> LogStorage | None:
        """The logs of topics in this storage; None if it has none, so that topics at least once are refused."""
        return None

    @property
    def is_made(self) -> bool:
        """Whether there may be data in it. One that the first `open` makes has none before."""
        return True

    async def open(self) -> None:
        """Makes the storage ready. Each open needs one close.

        The first open after the last close accepts the present content, as a new process would. A loss that was found
        before stays one.

        Raises:
            StorageFailed: it cannot be reached, or is not a storage of inaho; `reason` says what to do.
        """
        async with self._lifecycle:
            if self._users == 0:
                await self._open()
                self.instances.begin()
            self._users += 1

    async def close(self) -> None:
        """Ends one use. The last close refuses new operations, then waits for the accepted ones.

        On a storage that is not open it does nothing.

        Raises:
            StorageFailed: releasing failed. Acknowledged writes stay durable.
        """
        async with self._lifecycle:
            if self._users == 0:
                return
            self._users -= 1
            if self._users == 0:
                await self._close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def accept(self) -> None:
        """Accepts the present content of the storage: what an operator does after `StorageLost`.

        If nothing was lost it changes nothing. Holders of states from before must load them again.

        Raises:
            StorageFailed: not open, or the back end failed. Nothing changed, and it may be tried again.
        """
        self._check_open("")
        await self._accept()
        self.instances.accept()

    async def load(self, identity: ClusterIdentity) -> StoredState | None:
        """The record of `identity`.

        Returns:
            The state, or a tombstone (`data` is None) whose version the next save must name, or None if nothing
            was ever written: the next save then expects version 0.

        Raises:
            StorageFailed: not open, or the back end failed.
            StorageLost: the storage has lost acknowledged data.
            InvalidArguments: the identity cannot be stored (see `save`).
        """
        self._check_identity(identity)
        try:
            if self.instances.lost:
                self.instances.refuse(str(identity))
            stored = await self._load(identity)
        except (StorageFailed, StorageLost):
            self.failures += 1
            raise
        self.loads += 1
        return stored

    async def versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        """The versions and epochs of many records, without their data, to prove that a state is the newest.

        It sees what `load` would see: every acknowledged write, and it waits for writes of this object whose outcome is
        not known yet. It is no snapshot: concurrent writes may commit between two of its answers.

        Args:
            identities: any number, in any order; the same one may occur twice. They are read in portions of
                `config.versions_max`, each in one round trip if the back end can.

        Returns:
            For each identity, in the order asked: its version and epoch, also of a tombstone; None if nothing was ever
            written.

        Raises:
            StorageFailed: not open, or the back end failed. Nothing was changed.
            StorageLost: the storage has lost acknowledged data.
            InvalidArguments: an identity cannot be stored (see `save`).
        """
        for identity in identities:
            self._check_identity(identity)
        found: list[StoredVersion | None] = []
        try:
            if self.instances.lost:
                self.instances.refuse("")
            for start in range(0, len(identities), self.config.versions_max):
                found += await self._versions(identities[start : start + self.config.versions_max])
        except (StorageFailed, StorageLost):
            self.failures += 1
            raise
        return found

    async def save(self, identity: ClusterIdentity, data: bytes, *, expected_version: int, epoch: int) -> int:
        """Replaces the state of `identity`, if version and epoch allow it.

        Args:
            identity: kind and key are not empty, hold no NUL and together stay within `config.key_bytes_max`. Case,
                spaces and Unicode form count: nothing is normalised.
            data: the encoded state, at most `config.data_bytes_max` bytes; may be empty.
            expected_version: of the state that is replaced, from `load` or the last write; 0 for no record.
            epoch: fencing token of the activation, 0 to `NUMBER_MAX`.

        Returns:
            The new version, `expected_version + 1`.

        Raises:
            StateConflict: the stored version or epoch does not allow it; `reason` has both numbers. Nothing changed.
            StateTooLarge: too many bytes. Nothing changed.
            StorageFailed: not open, or the back end failed; `maybe_executed` tells whether it may have committed.
            StorageLost: the storage has lost acknowledged data. Nothing changed.
            InvalidArguments: identity or numbers out of range, or data that is not bytes. Nothing changed.
        """
        if type(data) is not bytes:  # a bytearray could change while it waits for its commit
            raise InvalidArguments(f"data must be bytes, not {type(data).__name__}", identity=str(identity))
        size = len(data)
        if size > self.config.data_bytes_max:
            reason = f"a state of {size} bytes exceeds storage.data_bytes_max ({self.config.data_bytes_max})"
            raise StateTooLarge(reason, identity=str(identity))
        return await self._counted_write(identity, data, expected_version, epoch)

    async def delete(self, identity: ClusterIdentity, *, expected_version: int, epoch: int) -> None:
        """Replaces the state of `identity` by a tombstone of version `expected_version + 1`.

        The conditions and errors are those of `save`. It also works if there is no record, or a tombstone.
        """
        await self._counted_write(identity, None, expected_version, epoch)

    async def _counted_write(
        self, identity: ClusterIdentity, data: bytes | None, expected_version: int, epoch: int
    ) -> int:
        self._check_identity(identity)
        if not 0 <= expected_version < NUMBER_MAX:
            raise InvalidArguments(f"expected_version {expected_version} is not in 0..2**63-2", identity=str(identity))
        if not 0 <= epoch <= NUMBER_MAX:
            raise InvalidArguments(f"epoch {epoch} is not in 0..2**63-1", identity=str(identity))
        try:
            if self.instances.lost:
                self.instances.refuse(str(identity))
            version = await self._write(identity, data, expected_version=expected_version, epoch=epoch)
        except StateConflict:
            self.conflicts += 1
            raise
        except (StorageFailed, StorageLost):
            self.failures += 1
            raise
        self.saves += 1
        return version

    def _check_open(self, identity: ClusterIdentity | str) -> None:
        if self._users == 0:
            raise StorageFailed(f"{self!r} is not open", identity=str(identity), maybe_executed=False)

    def _check_usable(self, about: str) -> None:
        """For `LogStorage`: raises the error of a storage that is closed, or that has lost data."""
        self._check_open(about)
        if self.instances.lost:
            self.instances.refuse(about)

    def _check_identity(self, identity: ClusterIdentity) -> None:
        self._check_open(identity)
        kind, key = identity.kind, identity.key
        if not kind or not key:
            raise InvalidArguments(f"kind {kind!r} and key {key!r} must not be empty")
        if "\0" in kind or "\0" in key:  # PostgreSQL has no NUL in text
            raise InvalidArguments(f"kind {kind!r} and key {key!r} must not contain NUL")
        try:
            size = len(kind.encode()) + len(key.encode())
        except UnicodeEncodeError as error:
            raise InvalidArguments(f"kind {kind!r} and key {key!r} must be valid Unicode") from error
        if size > self.config.key_bytes_max:
            raise InvalidArguments(
                f"kind and key take {size} bytes, more than storage.key_bytes_max ({self.config.key_bytes_max})"
            )

    @abstractmethod
    async def _open(self) -> None:
        """Takes connections, files and threads. Leaves nothing behind when it raises or is cancelled."""

    @abstractmethod
    async def _close(self) -> None:
        """Waits for accepted operations and releases what `_open` took."""

    @abstractmethod
    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        """`load`, arguments checked."""

    async def _accept(self) -> None:  # noqa: B027  most need not do anything
        """`accept`: puts a mark into a storage that has none any more, if writes do not do so."""

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        """`versions` of at most `config.versions_max` identities, arguments checked.

        This default is for storages that cannot do better: it loads one after the other.
        """
        found: list[StoredVersion | None] = []
        for identity in identities:
            stored = await self._load(identity)
            found.append(None if stored is None else StoredVersion(stored.version, stored.epoch))
        return found

    @abstractmethod
    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        """`save`, or `delete` when `data` is None, arguments checked. Atomic; see `conflict_of` for the rule."""
