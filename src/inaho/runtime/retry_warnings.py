"""Retries of calls: counted by kind, and told in the log with measure (SPEC VA-4.1, VA-4.4).

inaho calls grains of its own, too, such as the keepers of reminders. While members start or leave some of these calls
are refused and tried again, as they should. So their first retries are for the log level DEBUG.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from inaho.core.rpc.throttle import WarningThrottle
from inaho.events import RetryThrottled
from inaho.runtime.measure_counts import Tally

if TYPE_CHECKING:
    from inaho.errors import InahoError
    from inaho.runtime.node import Node

__all__ = ["RPC_LOGGER", "RetryWarnings"]

RPC_LOGGER: Final = "inaho.rpc"

OWN_ATTEMPTS: Final = 10
"""A call of one of inaho's own kinds that has failed so often is told as any other is."""


class RetryWarnings:
    """What one node tells of its retries.

    Attributes:
        retries: by kind.
        suppressed: by kind, those that were not logged.
    """

    def __init__(self, node: Node) -> None:
        config = node.config
        self.retries = Tally()
        self.suppressed = Tally()
        self._node = node
        self._log = logging.getLogger(RPC_LOGGER)
        self._period_s = config.rpc.retry_warnings_period_s
        self._throttle = WarningThrottle(config.rpc.retry_warnings_max, self._period_s, config.metrics.kinds_max)

    def retrying(self, kind: str, key: str, method: str, error: InahoError, attempt: int, pause_s: float) -> None:
        """A call is about to be tried again, after `attempt` attempts that failed."""
        self.retries.add(kind)
        if kind.startswith("inaho.") and attempt < OWN_ATTEMPTS:
            self._log.debug(
                "%s/%s.%s failed at attempt %d and is tried again: %s: %s",
                kind, key, method, attempt, error.code, error.reason,
            )  # fmt: skip
        elif self._throttle.admit(kind, self._node.loop.time()):
            self._log.warning(
                "%s/%s.%s failed at attempt %d and is tried again in %.3f s: %s: %s",
                kind, key, method, attempt, pause_s, error.code, error.reason,
            )  # fmt: skip
        else:
            self.suppressed.add(kind)

    def tick(self, now: float) -> None:
        """Tells how many were held back, once their period is over."""
        for held in self._throttle.due(now):
            self._log.warning(
                "%d further retries of %s within %g s were not logged", held.count, held.kind, self._period_s
            )
            self._node.publish(RetryThrottled(kind=held.kind, suppressed=held.count, period_s=self._period_s))
