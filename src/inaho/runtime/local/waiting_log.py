"""Lines about members that have not yet answered what they are asked again and again, told with measure.

A node that waits for another one asks many times per second, for each identity that is called. The first few lines say
for whom and why; of the others a log needs only the number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.rpc.throttle import WarningThrottle
from inaho.errors.inspection import describe

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node

__all__ = ["WaitingLog"]


class WaitingLog:
    """What one node logs, at INFO, of members that it waits for (`membership.log_lines_max`, `log_period_s`).

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        config = node.local.config.membership
        self._node = node
        self._local = node.local
        self._period_s = config.log_period_s
        self._throttle = WarningThrottle(config.log_lines_max, config.log_period_s, config.members_max)

    def tell(self, authority: str, what: str, error: Exception) -> None:
        """A question failed and will be asked again.

        Args:
            authority: of whom it was asked.
            what: what that member has not done yet, such as `did not release Cart/alice yet`.
            error: why.
        """
        if self._throttle.admit(authority, self._local.loop.time()):
            self._local.log.info("%s %s: %s", authority, what, describe(error))

    def tick(self, now: float) -> None:
        """Tells how many lines were held back, once their period is over."""
        for held in self._throttle.due(now):
            self._local.log.info(
                "%d further lines about waiting for %s within %g s were not logged",
                held.count, held.kind, self._period_s,
            )  # fmt: skip

    def check(self) -> None:
        """Asserts the invariants."""
        self._throttle.check()
