"""Records which node holds the lease of which identity, on the node that granted it, and assigns epochs.

The owner of a partition keeps it for the identities of that partition. So one place decides, and a second request waits
instead of starting a second activation (SPEC VA-1.2, VA-1.3). It contains only leases that keep others out. A lease
that ends leaves the ledger at once; the history of the runtime remembers it.

Why not let the first starter win: two callers on two nodes would each be first.
"""

from __future__ import annotations

from collections.abc import Iterable

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.parted_map import PART_MAX, PartedMap
from inaho.errors import Overloaded, Pending
from inaho.types import Epoch

__all__ = ["ActivationLedger"]


class ActivationLedger:
    """Leases by identity.

    Args:
        leases_max: bound; `activation.activations_max`.
        pending_s: a lease that is pending or releasing longer than this has timed out.

    Attributes:
        granted, refused, timed_out, revoked: counted since the start.
    """

    def __init__(self, leases_max: int, pending_s: float) -> None:
        self.granted = 0
        self.refused = 0
        self.timed_out = 0
        self.revoked = 0
        self._leases_max = leases_max
        self._pending_s = pending_s
        self._kinds: dict[str, PartedMap[Lease]] = {}
        self._changing: dict[tuple[str, str], Lease] = {}
        self._held_by: dict[str, int] = {}
        self._count = 0
        self._epochs = 0
        self._topology_version = 0

    def __len__(self) -> int:
        return self._count

    def get(self, kind: str, key: str) -> Lease | None:
        """The lease that keeps others from the identity; None when there is none."""
        keys = self._kinds.get(kind)
        return None if keys is None else keys.get(key)

    def note_topology(self, version: int) -> None:
        """From now on epochs belong to this topology version; an older version changes nothing."""
        self._topology_version = max(self._topology_version, version)

    @property
    def epoch(self) -> Epoch:
        """Every token from now on is greater than this one."""
        return self._topology_version << 32 | self._epochs

    def next_epoch(self, above: Epoch = 0) -> Epoch:
        """A fencing token greater than all before it on this node, and than `above`."""
        self._epochs += 1
        epoch = self._topology_version << 32 | self._epochs
        if epoch <= above:  # the storage was written under topology versions that are higher than this node's
            self._topology_version = (above >> 32) + 1
            epoch = self._topology_version << 32 | self._epochs
        return epoch

    def grant(self, kind: str, key: str, holder: str, now: float) -> Lease:
        """Grants the identity to the node `holder`; the lease is pending until `activate`.

        Raises:
            Pending: another lease holds it; wait and ask again.
            Overloaded: there are `leases_max` leases.
        """
        keys = self._kinds.get(kind)
        if keys is None:
            keys = self._kinds[kind] = PartedMap()
        newest = keys.newest  # in place of `get` and `add`, which take longer than the rest
        held = newest.get(key)
        if held is None and keys.older:
            held = keys.get(key)
        if held is not None:
            self.refused += 1
            raise Pending(
                f"its lease is {held.state.value} with node {held.holder} (epoch {held.epoch:#x})",
                identity=f"{kind}/{key}",
            )
        if self._count >= self._leases_max:
            self.refused += 1
            raise Overloaded(f"{self._count} leases are held (activation.activations_max)", identity=f"{kind}/{key}")
        self._epochs += 1  # in place of `next_epoch`
        lease = Lease(kind, key, holder, self._topology_version << 32 | self._epochs, now)
        if len(newest) < PART_MAX:
            newest[key] = lease
        else:
            keys.add(key, lease)
        self._changing[kind, key] = lease
        self._held_by[holder] = self._held_by.get(holder, 0) + 1
        self._count += 1
        self.granted += 1
        return lease

    def activate(self, lease: Lease, now: float) -> None:
        """The activation has started. Raises `IllegalTransition` when the lease has ended meanwhile."""
        lease.move(LeaseState.ACTIVE, now)
        self._changing.pop((lease.kind, lease.key), None)

    def renew(self, lease: Lease, now: float) -> None:
        """Restarts the time of a pending lease: its holder waits for the previous one, and runs nothing yet."""
        assert lease.state is LeaseState.PENDING
        lease.since = now
        if self._changing.pop((lease.kind, lease.key), None) is not None:
            self._changing[lease.kind, lease.key] = lease

    def begin_release(self, lease: Lease, now: float) -> None:
        """The activation is ending; the identity stays held until `release`."""
        lease.move(LeaseState.RELEASING, now)
        self._changing[lease.kind, lease.key] = lease

    def release(self, lease: Lease, now: float) -> None:
        """The activation is gone; the identity is free."""
        lease.move(LeaseState.RELEASED, now)
        self._drop(lease)

    def expire(self, now: float, holder: str | None = None) -> list[Lease]:
        """Ends leases that have been pending or releasing for too long, in the order in which they began to be.

        Args:
            now: seconds of the caller's clock.
            holder: only leases of this node, which knows what runs on it. No other node may end a lease because of its
                age: the activation may still start (`overdue`).
        """
        late = [lease for lease in self._late(now) if holder is None or lease.holder == holder]
        for lease in late:
            self.time_out(lease, now)
        return late

    def overdue(self, now: float, holder: str) -> list[Lease]:
        """Leases of other nodes than `holder` that have been pending for too long, each once per such time.

        They still hold the identity: they end when their node reports that it does not run the activation (`release`),
        or when it is no member any more (`revoke`).
        """
        late = [lease for lease in self._late(now) if lease.holder != holder]
        for lease in late:
            lease.since = now
        return late

    def _late(self, now: float) -> list[Lease]:
        return [lease for lease in self._changing.values() if now >= lease.since + self._pending_s]

    def time_out(self, lease: Lease, now: float) -> None:
        """Ends a lease whose activation did not start, or did not end, in time."""
        lease.move(LeaseState.TIMED_OUT, now)
        self._drop(lease)
        self.timed_out += 1

    def raise_epoch(self, lease: Lease, above: Epoch) -> None:
        """Makes sure that the lease's token exceeds `above`, the token of the previous activation."""
        if lease.epoch <= above:
            lease.epoch = self.next_epoch(above)

    def adopt(self, kind: str, key: str, holder: str, epoch: Epoch, now: float) -> Lease:
        """Takes over an active lease that another owner granted; its holder reported it. Later epochs are above it.

        Raises:
            Pending: another node holds the identity.
            Overloaded: there are `leases_max` leases.
        """
        lease = self.grant(kind, key, holder, now)
        self._topology_version = max(self._topology_version, epoch >> 32)
        self._epochs = max(self._epochs, epoch & 0xFFFF_FFFF)
        lease.epoch = epoch
        self.activate(lease, now)
        return lease

    def of_kind(self, kind: str) -> Iterable[Lease]:
        """The leases of a kind, in the order in which they were granted."""
        keys = self._kinds.get(kind)
        return () if keys is None else keys.values()

    def revoke(self, holder: str, now: float) -> list[Lease]:
        """Ends all leases of a node that was blocked or removed (SPEC VA-1.4), in the order of the ledger.

        The caller then clears the PidCache, and then publishes the event, in this order.
        """
        if holder not in self._held_by:
            return []
        lost = [lease for keys in self._kinds.values() for lease in keys.values() if lease.holder == holder]
        for lease in lost:
            lease.move(LeaseState.REVOKED, now)
            self._drop(lease)
        self.revoked += len(lost)
        return lost

    def _drop(self, lease: Lease) -> None:
        self._kinds[lease.kind].remove(lease.key)
        self._changing.pop((lease.kind, lease.key), None)
        self._count -= 1
        left = self._held_by[lease.holder] - 1
        if left:
            self._held_by[lease.holder] = left
        else:
            del self._held_by[lease.holder]

    def check(self) -> None:
        """Asserts the invariants: bounded, every lease holds, what is changing is in the ledger."""
        assert self._count == sum(map(len, self._kinds.values())) <= self._leases_max
        assert self._count == sum(self._held_by.values())
        for kind, keys in self._kinds.items():
            keys.check()
            for key, lease in keys.items():
                assert (lease.kind, lease.key) == (kind, key)
                assert lease.holding, f"{lease!r} has ended and is in the ledger"
                changing = lease.state is not LeaseState.ACTIVE
                assert ((kind, key) in self._changing) == changing, f"{lease!r} is in the wrong place"
