"""The order of the hand-over of a member that leaves.

`Shutdown` asks for it after the activations have ended, while this node is still a member. The versions that were saved
last are sent first: a new owner compares them with its storage when it makes an activation. Then this node reports to
the new owners that their partitions are drained, since they wait for that, and they acknowledge it. Messages of topics
and messages to actors come last, with the time that is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.messages.remoting import Remoting
    from inaho.runtime.placement.partition_bridge import PartitionBridge
    from inaho.runtime.placement.saved_versions import SavedVersions
    from inaho.runtime.topics.topics import Topics

__all__ = ["HandOver"]


class HandOver:
    """Hands over what other members wait for.

    Args:
        local: the node.
        saved_versions: the versions that the node saved.
        bridge: knows the new owners of its partitions.
        topics: have messages that wait for subscribers on other nodes.
        remoting: has the messages that were sent to actors of other nodes.
    """

    def __init__(
        self,
        local: LocalNode,
        saved_versions: SavedVersions,
        bridge: PartitionBridge,
        topics: Topics,
        remoting: Remoting,
    ) -> None:
        self._local = local
        self._saved_versions = saved_versions
        self._bridge = bridge
        self._topics = topics
        self._remoting = remoting

    async def run(self, left_s: Callable[[], float]) -> bool:
        """Hands everything over.

        Args:
            left_s: returns the seconds for which the present step may still wait.

        Returns:
            Whether the new owners have acknowledged that their partitions are drained.
        """
        await self._saved_versions.flush(left_s())
        acknowledged = await self._bridge.wait_handed_over(left_s())
        await self._topics.leaving(left_s)
        if unsent := await self._remoting.flush(left_s()):
            self._local.log.warning("%d messages were not acknowledged in time", unsent)
        return acknowledged
