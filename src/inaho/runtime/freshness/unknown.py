"""Reports that the age of this node's answers is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.errors.inspection import describe
from inaho.events import FreshnessUnknown

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubts
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["UnknownFreshness"]

LOGGED_AGAIN_S: Final = 60.0
"""Seconds until the log line is repeated."""


class UnknownFreshness:
    """Reports that the storage does not answer.

    Args:
        local: the node.
        doubts: the members that it doubts.
    """

    def __init__(self, local: LocalNode, doubts: Doubts) -> None:
        self._local = local
        self._doubts = doubts
        self._logged_at = -LOGGED_AGAIN_S

    def tell(self, error: BaseException) -> None:
        """The storage did not answer because of `error`, so answers of this node may be old."""
        now = self._local.boot_time()
        reason = describe(error)
        self._local.publish(FreshnessUnknown(authority=self._local.authority, reason=reason))
        if now - self._logged_at >= LOGGED_AGAIN_S:
            self._logged_at = now
            self._local.log.warning(
                "this node doubts %d members and cannot read the storage, so its answers may be old "
                "(activation.when_unproved is %r): %s",
                len(self._doubts), self._local.config.activation.when_unproved, reason,
            )  # fmt: skip
