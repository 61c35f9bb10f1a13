"""Numbers the snapshots of all providers in one order, and knows which of them each consumer has had.

Placement, the partition manager and remoting must see the same snapshots in the same order, whichever provider is in
use (SPEC PR-2.1, PR-3.1). So there is one counter, one last snapshot, and a notice between two providers. A snapshot
that equals the last one of the same provider is not delivered again: caches stay (PR-2.3).

The last snapshot stays when its provider ends (PR-2.2).
"""

from __future__ import annotations

from inaho.core.provisioning.blocking import blocks_in_force, voices
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot, snapshot_hash
from inaho.errors import IllegalTransition, ProviderError
from inaho.events import ProviderChanged, ProviderTerminated, ProvisioningUnavailable

__all__ = ["WatchHub"]


class WatchHub:
    """The order of snapshots on one node.

    Attributes:
        last: the newest snapshot; None before the first.
        closed: the node shuts down: no further snapshot is taken (SPEC PR-3.5).
    """

    def __init__(self) -> None:
        self.last: ProviderSnapshot | None = None
        self.closed = False
        self._delivered: dict[str, int] = {}
        """By consumer, the number of the newest snapshot that it has applied."""

    def snapshot(
        self, provider: str, members: tuple[ProviderMember, ...], blocked_nodes: tuple[str, ...]
    ) -> ProviderSnapshot | None:
        """The snapshot with its number; None if nothing has changed, or the node shuts down.

        Args:
            provider: the one in use.
            members: as `snapshot.checked` returns them, with their quarantines.
            blocked_nodes: blocked in the back end, as `snapshot.checked` returns them.
        """
        if self.closed:
            return None
        found = snapshot_hash(members, blocked_nodes)
        if self.last is not None and self.last.provider == provider and self.last.hash == found:
            return None
        stated = tuple(voices(members, blocked_nodes))
        in_force = blocks_in_force(members, blocked_nodes)
        self.last = ProviderSnapshot(provider, self._position()[0] + 1, found, members, stated, in_force)
        return self.last

    def changed(self, previous: str, current: str, reason: str) -> ProviderChanged:
        """The notice of a fail-over."""
        seq_no, found = self._position()
        return ProviderChanged(provider=current, previous=previous, reason=reason, seq_no=seq_no, hash=found)

    def terminated(self, provider: str, error: ProviderError) -> ProviderTerminated:
        """The notice of the end or a failure of a stream."""
        seq_no, found = self._position()
        return ProviderTerminated(
            provider=provider, failure=error.failure, code=error.code, reason=error.reason, seq_no=seq_no, hash=found
        )

    def unavailable(self, reason: str, *, placement_paused: bool) -> ProvisioningUnavailable:
        """The notice that no provider is up."""
        seq_no, found = self._position()
        return ProvisioningUnavailable(reason=reason, placement_paused=placement_paused, seq_no=seq_no, hash=found)

    def _position(self) -> tuple[int, int]:
        return (0, 0) if self.last is None else (self.last.seq_no, self.last.hash)

    def delivered(self, consumer: str, seq_no: int) -> None:
        """The consumer has applied that snapshot.

        Raises:
            IllegalTransition: it had this one or a newer one already, or there is no such snapshot.
        """
        had = self._delivered.get(consumer, 0)
        if not had < seq_no <= self._position()[0]:
            raise IllegalTransition(f"{consumer} had snapshot {had} and was given {seq_no}")
        self._delivered[consumer] = seq_no

    def close(self) -> None:
        """Takes no further snapshots; the last one stays for draining."""
        self.closed = True

    def check(self) -> None:
        """Asserts the invariants."""
        newest = self._position()[0]
        assert self.last is None or newest >= 1
        assert all(0 < seq_no <= newest for seq_no in self._delivered.values())
