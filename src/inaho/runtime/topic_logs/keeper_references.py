"""References to the keepers of partitions, from members and clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from inaho.runtime.calls.reference import make_reference
from inaho.runtime.topic_logs.keeper import TopicLogKeeper
from inaho.runtime.topic_logs.keeper_messages import KEEPER, PartitionKeeper, keeper_key

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.kind import GrainKind

__all__ = ["KeeperReferences"]


class KeeperReferences:
    """Makes references to keepers.

    Args:
        context: through which calls go.
        hosts: kinds of the node, by name.
        learn: makes a kind known to this node that it does not host.
    """

    def __init__(
        self,
        context: ClusterContext,
        hosts: Mapping[str, KindHost],
        learn: Callable[[GrainKind], KindHost],
    ) -> None:
        self._context = context
        self._hosts = hosts
        self._learn = learn

    def __call__(self, topic: str, partition: int, *, retry: bool = True) -> PartitionKeeper:
        """See `Keepers`."""
        host = self._hosts.get(KEEPER) or self._learn(TopicLogKeeper.inaho_kind)
        key = keeper_key(topic, partition)
        reference: PartitionKeeper = make_reference(self._context, host, key, timeout_s=None, retry=retry)
        return reference
