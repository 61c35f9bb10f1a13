"""Identities whose previous owner went silent without confirming release, so it may still be running.

A process that was stopped, cut off or stuck goes on in the middle of a turn when it wakes. It may save before it learns
that another node has replaced it. A storage refuses such a save once the successor has saved, because its epoch is
higher. To have it refused before that too, the successor writes the state that it has loaded back under its own epoch,
once per activation. After that, every save of the previous owner names a version that is not stored any more.

Why only for silent owners: it is one more commit before the first answer. After a hand-off nobody is left who could
save.
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
"""In place of a partition: all of a placed kind, whose activations may have been with any member."""

CLAIMS_MAX: Final = 3
"""Attempts of one activation."""


class FencedHost(Protocol):
    """A kind on one node, as far as it may have to be fenced."""

    @property
    def kind(self) -> GrainKind:
        """What was read from the class."""
        ...

    @property
    def hosted(self) -> bool:
        """Whether activations may live here."""
        ...


class Fencing:
    """Partitions of this node that it took over from members that fell silent (DESIGN, "Leases and fencing").

    A partition is remembered for `membership.tombstone_s`, which is how long a removed member is, by the boot clock.

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
        """The partition is this node's now. Its previous owner is unreachable or removed, and has not released it."""
        until = self._local.boot_time() + self._local.config.membership.tombstone_s
        self._until.setdefault(kind, {})[partition] = until

    def fell_silent(self, member: Member) -> None:
        """A member may hold any identity of a placed kind, and nobody can ask it any more."""
        for kind in member.kinds:
            host = self._hosts.get(kind)
            if host is not None and host.hosted and host.kind.placed:
                self.took_over(kind, ANY)

    def is_doubtful(self, kind: str, key: str) -> bool:
        """Whether the previous owner of the identity may wake and save."""
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
        """Writes what was loaded back under the activation's epoch, and gives what is stored now.

        Raises:
            StateConflict: others save all the time; this node is not the owner that it takes itself for.
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
            except StateConflict:  # the previous owner was quicker; what it saved is what counts
                left -= 1
                if not left:
                    raise
                stored = await storage.load(identity)
            else:
                return StoredState(data, version + 1, lease.epoch)

    def check(self) -> None:
        """Asserts the bound: one entry per partition and kind, and one for all."""
        assert all(
            len(partitions) <= self._local.config.activation.partitions + 1 for partitions in self._until.values()
        )
