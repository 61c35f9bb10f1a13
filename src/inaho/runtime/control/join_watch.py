"""Logs the progress of a join or a connect: which seeds fail and why, before the search is given up.

A join may take long without a fault, since seeds that start together wait for each other. So nothing is logged for the
first two seconds. After that the log shows what each seed answered, and again from time to time. A seed that refuses
for good (another secret, cluster or release) is logged at once, because the other seeds may hide it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from inaho.errors.refusals import FINAL_REFUSALS

if TYPE_CHECKING:
    from inaho.errors import InahoError
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["JoinWatch"]

FIRST_S: Final = 2.0
"""A search that takes longer, in seconds, is logged."""

AGAIN_S: Final = 10.0
"""Seconds between further log lines."""


class JoinWatch:
    """Logs the progress of one node's search for its cluster.

    Args:
        local: the node.
    """

    def __init__(self, local: LocalNode) -> None:
        self._local = local
        self._answers: Callable[[], Mapping[str, str]] | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._refusals: dict[str, str] = {}

    @contextmanager
    def searching(self, answers: Callable[[], Mapping[str, str]]) -> Generator[None]:
        """Watches during the block.

        Args:
            answers: by seed, what it answered last or why it could not be asked.
        """
        self._answers = answers
        self._began = self._local.loop.time()
        self._timer = self._local.loop.call_later(FIRST_S, self._log_answers)
        try:
            yield
        finally:
            self._answers = None
            self._timer.cancel()
            self._refusals.clear()

    def refused(self, authority: str, error: InahoError) -> None:
        """A dial ended with a refusal; each is logged once per seed."""
        if self._answers is None or not isinstance(error, FINAL_REFUSALS) or authority not in self._local.config.seeds:
            return
        if self._refusals.get(authority) == error.code:
            return
        self._refusals[authority] = error.code
        others = len(self._local.config.seeds) > 1
        self._local.log.warning(
            "seed %s and this node refuse each other (%s): %s%s",
            authority, error.code, error.reason, "; the other seeds are tried" if others else "",
        )  # fmt: skip

    def _log_answers(self) -> None:
        assert self._answers is not None
        answers = "; ".join(f"{authority}: {text}" for authority, text in self._answers().items())
        none = "there are no other seeds" if self._local.config.seeds else "no provider has named another member"
        self._local.log.warning(
            "no seed has admitted this node to the cluster %r for %.0f s, retrying: %s",
            self._local.config.name, self._local.loop.time() - self._began, answers or none,
        )  # fmt: skip
        self._timer = self._local.loop.call_later(AGAIN_S, self._log_answers)
