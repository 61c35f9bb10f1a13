"""Limits log lines that would repeat many times per second: the first few of a period are logged, others counted.

There is one class for each subject: retried calls, failed activations, members that this node waits for, keepers that
cannot be started. A storage that is down or a member that is gone affects thousands of calls, and a log with a line for
each of them hides the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from inaho.core.rpc.throttle import WarningThrottle
from inaho.errors import InahoError
from inaho.errors.inspection import describe, is_a
from inaho.events import RetryThrottled
from inaho.runtime.local.labelled_counter import LabelledCounter
from inaho.runtime.local.local_node import LocalNode
from inaho.types import ClusterIdentity

__all__ = ["RPC_LOGGER", "ActivationWarnings", "KeeperWarnings", "RetryWarnings", "WaitingWarnings"]

RPC_LOGGER: Final = "inaho.rpc"

OWN_ATTEMPTS: Final = 10
"""A call of one of inaho's own kinds that has failed so often is logged like any other."""


MOVES: Final = ("ownership_changed", "shutting_down", "topology_unavailable")
MOVE_ATTEMPTS: Final = 3
"""A call that is refused because its identity moves is a warning when it has failed so often."""


class RetryWarnings:
    """Logs retried calls of one node: counted by kind, and limited by kind and period (SPEC VA-4.1, VA-4.4).

    While members start or leave, identities move, and some calls are refused and retried. Their first retries are
    logged at INFO; those of grains that inaho itself calls, such as the keepers of reminders, at DEBUG. A call that
    fails further is a WARNING.

    Args:
        local: the node.

    Attributes:
        retries: by kind.
        suppressed: by kind, retries that were not logged.
    """

    def __init__(self, local: LocalNode) -> None:
        config = local.config
        self.retries = LabelledCounter()
        self.suppressed = LabelledCounter()
        self._local = local
        self._log = logging.getLogger(RPC_LOGGER)
        self._period_s = config.rpc.retry_warnings_period_s
        self._throttles = {
            level: WarningThrottle(config.rpc.retry_warnings_max, self._period_s, config.metrics.kinds_max)
            for level in (logging.INFO, logging.WARNING)
        }

    def retrying(self, kind: str, key: str, method: str, error: InahoError, attempt: int, pause_s: float) -> None:
        """A call will be retried, after `attempt` attempts that failed."""
        self.retries.add(kind)
        if kind.startswith("inaho.") and attempt < OWN_ATTEMPTS:
            self._log.debug(
                "%s/%s.%s failed at attempt %d, retrying: %s: %s",
                kind, key, method, attempt, error.code, error.reason,
            )  # fmt: skip
            return
        level = logging.INFO if error.code in MOVES and attempt < MOVE_ATTEMPTS else logging.WARNING
        if self._throttles[level].admit(kind, self._local.loop.time()):
            self._log.log(
                level,
                "%s/%s.%s failed at attempt %d, retrying in %.3f s: %s: %s",
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


class ActivationWarnings:
    """Logs failed activations of one node (SPEC VA-4.4, for these).

    While a storage is down every call leads to a failed activation, with a traceback. The first few of a kind show what
    is wrong. Each is still an event and counted in the metrics.

    Args:
        local: the node.
    """

    def __init__(self, local: LocalNode) -> None:
        config = local.config
        self._local = local
        self._period_s = config.activation.failure_warnings_period_s
        self._throttle = WarningThrottle(
            config.activation.failure_warnings_max, self._period_s, config.metrics.kinds_max
        )

    def failed(self, identity: ClusterIdentity, error: BaseException) -> None:
        """An activation did not start, because of `error`."""
        if not self._throttle.admit(identity.kind, self._local.loop.time()):
            return
        if identity.kind.startswith("inaho.") and is_a(error, InahoError):  # a traceback of inaho says nothing to users
            self._local.log.warning("activation of %s failed: %s", identity, describe(error))
        else:
            self._local.log.warning("activation of %s failed", identity, exc_info=error)

    def tick(self, now: float) -> None:
        """Tells how many were held back, once their period is over."""
        for held in self._throttle.due(now):
            self._local.log.warning(
                "%d further activations of %s that failed within %g s were not logged",
                held.count, held.kind, self._period_s,
            )  # fmt: skip


class WaitingWarnings:
    """Logs, at INFO, for which members this node waits (`membership.log_lines_max`, `log_period_s`).

    A node that waits for another one asks many times per second, for each identity that is called. The first few lines
    name the member and the reason.

    Args:
        local: the node.
    """

    def __init__(self, local: LocalNode) -> None:
        config = local.config.membership
        self._local = local
        self._period_s = config.log_period_s
        self._throttle = WarningThrottle(config.log_lines_max, config.log_period_s, config.members_max)

    def tell(self, authority: str, what: str, error: Exception) -> None:
        """A question failed and will be asked again.

        Args:
            authority: of the member that was asked.
            what: the missing action of that member, such as `did not release Cart/alice yet`.
            error: of the question.
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


TOLD_AGAIN_S: Final = 60.0
"""Keepers that cannot be started are logged at most this often, in seconds."""


class KeeperWarnings:
    """Logs the keepers of one kind that a node cannot start: once, and again after `TOLD_AGAIN_S`.

    Args:
        local: the node.
        what: they keep, in the plural.
    """

    def __init__(self, local: LocalNode, what: str) -> None:
        self._local = local
        self._what = what
        self._tell_at = 0.0

    def failed(self, errors: Mapping[str, Exception]) -> None:
        """These keepers could not be started, by key; they are tried again."""
        now = self._local.loop.time()
        if not errors or self._local.shutting_down or now < self._tell_at:
            return
        self._tell_at = now + TOLD_AGAIN_S
        self._local.log.warning(
            "the keepers of %d %s (such as %s) cannot be started, retrying: %s",
            len(errors), self._what, next(iter(errors)), describe(next(iter(errors.values()))),
        )  # fmt: skip
