"""Fences previous owners that went silent without confirming release, so that they cannot save any more.

A process that was stopped, disconnected or blocked continues in the middle of a turn when it runs again. It may save
before it learns that another node has replaced it. A storage refuses such a save once the successor has saved, because
the successor has the higher epoch. To have such saves refused earlier, the successor loads the state and writes it back
under its own epoch, once per activation. From then on, every save of the previous owner names a version that is no
longer stored.

Why only for silent owners: fencing costs one more commit before the first answer, and after a hand-off the previous
owner has no activation that could save.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from inaho.errors import StateConflict
from inaho.storage.base import StoredState

if TYPE_CHECKING:
    from inaho.core.activation.ledger import ActivationLedger
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.storage.base import Storage
    from inaho.types import Member

__all__ = ["FencedHost", "Fencing"]

ANY: Final = -1
"""In place of a partition: all partitions of a placed kind, whose activations may have been at any member."""

CLAIMS_MAX: Final = 3
"""How often one activation tries to write its state back."""


class FencedHost(Protocol):
    """What fencing needs to know of a kind on one node."""

    @property
    def kind(self) -> GrainKind:
        """What was read from the class."""
        ...

    @property
    def hosted(self) -> bool:
        """Whether this node may activate the kind."""
        ...


class Fencing:
    """Partitions that this node took over from members that went silent (DESIGN, "Leases and fencing").

    A partition is remembered for `membership.tombstone_s` of the boot clock, as long as a removed member is.

    Args:
        local: the node.
        topology: of the node.
        hosts: its kinds, by name.
        ledger: of its leases.
    """

    def __init__(
        self, local: LocalNode, topology: Topology, hosts: Mapping[str, FencedHost], ledger: ActivationLedger
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._ledger = ledger
        self._until: dict[str, dict[int, float]] = {}

    def took_over(self, kind: str, partition: int) -> None:
        """This node owns the partition now; the previous owner is unreachable or removed, and has not released it."""
        until = self._local.boot_time() + self._local.config.membership.tombstone_s
        self._until.setdefault(kind, {})[partition] = until

    def fell_silent(self, member: Member) -> None:
        """A member went silent that may still run activations of any placed kind."""
        for kind in member.kinds:
            host = self._hosts.get(kind)
            if host is not None and host.hosted and host.kind.placed:
                self.took_over(kind, ANY)

    def is_doubtful(self, kind: str, key: str) -> bool:
        """Whether the previous owner of the identity may still run and save."""
        partitions = self._until.get(kind)
        if not partitions:
            return False
        now = self._local.boot_time()
        for partition in (ANY, self._topology.lookup.partition(kind, key)):
            until = partitions.get(partition)
            if until is None:
                continue
            if until >= now:
                return True
            del partitions[partition]
        return False

    async def claim(self, storage: Storage, grain: Activation, stored: StoredState | None) -> StoredState:
        """Writes the loaded state back under the activation's epoch. Returns what is stored now.

        Raises:
            StateConflict: other activations saved during each attempt, so this node is probably not the owner.
            StorageFailed: the storage did not answer.
        """
        identity, lease = grain.identity, grain._inaho_lease
        left = CLAIMS_MAX
        while True:
            data, version = (None, 0) if stored is None else (stored.data, stored.version)
            if stored is not None:
                self._ledger.raise_epoch(lease, stored.epoch)
            try:
                if data is None:
                    await storage.delete(identity, expected_version=version, epoch=lease.epoch)
                else:
                    await storage.save(identity, data, expected_version=version, epoch=lease.epoch)
            except StateConflict:  # the previous owner has saved first: its state is the newest one
                left -= 1
                if not left:
                    raise
                stored = await storage.load(identity)
            else:
                return StoredState(data, version + 1, lease.epoch)

    def check(self) -> None:
        """Asserts the bound: per kind, one entry per partition and one for all."""
        assert all(
            len(partitions) <= self._local.config.activation.partitions + 1 for partitions in self._until.values()
        )
