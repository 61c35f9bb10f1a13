"""Retries of calls: counted by kind, and told in the log with measure (SPEC VA-4.1, VA-4.4).

While members start or leave, identities move, and some calls are refused and tried again, as they should. Their first
retries are for the log level INFO; those of the grains that inaho itself calls, such as the keepers of reminders, for
DEBUG. Whatever goes on is a warning.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from inaho.core.rpc.throttle import WarningThrottle
from inaho.events import RetryThrottled
from inaho.runtime.telemetry.counts import Tally

if TYPE_CHECKING:
    from inaho.errors import InahoError
    from inaho.runtime.node.node import Node

__all__ = ["RPC_LOGGER", "RetryWarnings"]

RPC_LOGGER: Final = "inaho.rpc"

OWN_ATTEMPTS: Final = 10
"""A call of one of inaho's own kinds that has failed so often is told as any other is."""


MOVES: Final = ("ownership_changed", "shutting_down", "topology_unavailable")
MOVE_ATTEMPTS: Final = 3
"""A call refused for one of these, because its identity moves, is a warning when it has failed so often."""


class RetryWarnings:
    """What one node tells of its retries.

    Attributes:
        retries: by kind.
        suppressed: by kind, those that were not logged.
    """

    def __init__(self, node: Node) -> None:
        config = node.local.config
        self.retries = Tally()
        self.suppressed = Tally()
        self._node = node
        self._local = node.local
        self._log = logging.getLogger(RPC_LOGGER)
        self._period_s = config.rpc.retry_warnings_period_s
        self._throttles = {
            level: WarningThrottle(config.rpc.retry_warnings_max, self._period_s, config.metrics.kinds_max)
            for level in (logging.INFO, logging.WARNING)
        }

    def retrying(self, kind: str, key: str, method: str, error: InahoError, attempt: int, pause_s: float) -> None:
        """A call is about to be tried again, after `attempt` attempts that failed."""
        self.retries.add(kind)
        if kind.startswith("inaho.") and attempt < OWN_ATTEMPTS:
            self._log.debug(
                "%s/%s.%s failed at attempt %d and is tried again: %s: %s",
                kind, key, method, attempt, error.code, error.reason,
            )  # fmt: skip
            return
        level = logging.INFO if error.code in MOVES and attempt < MOVE_ATTEMPTS else logging.WARNING
        if self._throttles[level].admit(kind, self._local.loop.time()):
            self._log.log(
                level,
                "%s/%s.%s failed at attempt %d and is tried again in %.3f s: %s: %s",
                kind, key, method, attempt, pause_s, error.code, error.reason,
            )  # fmt: skip
        else:
            self.suppressed.add(kind)

    def tick(self, now: float) -> None:
        """Tells how many were held back, once their period is over."""
        for level, throttle in self._throttles.items():
            for held in throttle.due(now):
                self._log.log(
                    level, "%d further retries of %s within %g s were not logged", held.count, held.kind, self._period_s
                )
                self._local.publish(RetryThrottled(kind=held.kind, suppressed=held.count, period_s=self._period_s))
