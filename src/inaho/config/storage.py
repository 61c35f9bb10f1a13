"""Settings of saved state (`storage.*`)."""

from __future__ import annotations

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["StorageConfig"]


class StorageConfig(Group, frozen=True, kw_only=True):
    """Saved state of grains: bounds for every storage, and those of the queue in front of it.

    Attributes:
        data_bytes_max: largest encoded state of one grain; a larger save is refused before it is sent.
        key_bytes_max: kind and key together, in UTF-8.
        queue_requests_max: saves, or loads, accepted and not yet answered; further requests wait.
        queue_bytes_max: bytes of accepted saves; further requests wait.
        batch_requests_max: saves in one commit. More cost fewer disk flushes under load, fewer answer the first one
            sooner.
        batch_bytes_max: bytes from which a commit takes no further save.
        busy_timeout_s: how long a commit waits for another process that holds the lock of the file. After a commit that
            did not get the lock, saves that have waited as long are refused without a further wait.
        connections_max: connections to a storage that is a server, each opened when it is needed; of a Redis Cluster:
            to each of its servers.
        operation_timeout_s: of a storage that is a server: how long an operation waits for a connection, and then for
            its answer. Longer survives a restart of the server, shorter fails sooner.
        versions_max: identities that one read of versions asks for; more are asked for in several reads, one after
            the other. More cost fewer round trips, fewer let the server serve others in between.
    """

    data_bytes_max: int = 16 << 20
    key_bytes_max: int = 4096
    queue_requests_max: int = 4096
    queue_bytes_max: int = 64 << 20
    batch_requests_max: int = 512
    batch_bytes_max: int = 8 << 20
    busy_timeout_s: float = 5.0
    connections_max: int = 4
    operation_timeout_s: float = 5.0
    versions_max: int = 1000

    def check(self) -> None:
        if self.data_bytes_max > self.queue_bytes_max:
            raise InvalidConfig(
                f"StorageConfig.data_bytes_max ({self.data_bytes_max}) must not exceed "
                f"queue_bytes_max ({self.queue_bytes_max})"
            )
