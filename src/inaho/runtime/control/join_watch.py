"""What a person is told while a node looks for its cluster: which seeds fail and why, before anything is given up.

A join may rightly take long, since seeds that start together wait for each other. So nothing is wrong for the first two
seconds. After them the log says what each seed answered, and again from time to time. A seed that refuses for good
(another secret, cluster or release) is named at once, because the others may hide it.
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
"""A search that takes longer is told."""

AGAIN_S: Final = 10.0
"""And told again with this pause."""


class JoinWatch:
    """Logs how the search of one node for its cluster goes on.

    Args:
        local: the node.
    """

    def __init__(self, local: LocalNode) -> None:
        self._local = local
        self._told: Callable[[], Mapping[str, str]] | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._refusals: dict[str, str] = {}

    @contextmanager
    def searching(self, told: Callable[[], Mapping[str, str]]) -> Generator[None]:
        """Watches as long as the block runs.

        Args:
            told: by seed, what it answered last or why it could not be asked.
        """
        self._told = told
        self._began = self._local.loop.time()
        self._timer = self._local.loop.call_later(FIRST_S, self._tell)
        try:
            yield
        finally:
            self._told = None
            self._timer.cancel()
            self._refusals.clear()

    def refused(self, authority: str, error: InahoError) -> None:
        """A dial ended with a refusal, of which each is told once per seed."""
        if self._told is None or not isinstance(error, FINAL_REFUSALS) or authority not in self._local.config.seeds:
            return
        if self._refusals.get(authority) == error.code:
            return
        self._refusals[authority] = error.code
        others = len(self._local.config.seeds) > 1
        self._local.log.warning(
            "seed %s and this node refuse each other (%s): %s%s",
            authority, error.code, error.reason, "; the other seeds are tried" if others else "",
        )  # fmt: skip

    def _tell(self) -> None:
        assert self._told is not None
        said = "; ".join(f"{authority}: {text}" for authority, text in self._told().items())
        self._local.log.warning(
            "no seed has let this node into the cluster %r for %.0f s, and they are tried again: %s",
            self._local.config.name, self._local.loop.time() - self._began, said or "there are no other seeds",
        )  # fmt: skip
        self._timer = self._local.loop.call_later(AGAIN_S, self._tell)
