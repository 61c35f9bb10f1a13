"""Activations that did not come up, told in the log with measure.

While a storage is down every call is such an activation, with a traceback. The first few of a kind tell what is wrong;
of the others a log needs only the number. Each is still an event and counted in the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.rpc.throttle import WarningThrottle

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.types import ClusterIdentity

__all__ = ["ActivationWarnings"]


class ActivationWarnings:
    """What one node logs of activations that failed (SPEC VA-4.4, for these).

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        config = node.local.config
        self._node = node
        self._local = node.local
        self._period_s = config.activation.failure_warnings_period_s
        self._throttle = WarningThrottle(
            config.activation.failure_warnings_max, self._period_s, config.metrics.kinds_max
        )

    def failed(self, identity: ClusterIdentity, error: BaseException) -> None:
        """An activation did not come up, because of `error`."""
        if self._throttle.admit(identity.kind, self._local.loop.time()):
            self._local.log.warning("activation of %s failed", identity, exc_info=error)

    def tick(self, now: float) -> None:
        """Tells how many were held back, once their period is over."""
        for held in self._throttle.due(now):
            self._local.log.warning(
                "%d further activations of %s that failed within %g s were not logged",
                held.count, held.kind, self._period_s,
            )  # fmt: skip
