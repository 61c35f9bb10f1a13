"""What a test hears from the stream of a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError
from inaho.providers.base import ProviderRead


class Observer:
    """Keeps what a stream reports.

    Attributes:
        reads: time and members of each read.
        signs: times of other signs of life.
        failures: time and error of each failure.
        others: processes that have taken the authority.
    """

    def __init__(self) -> None:
        self.reads: list[tuple[float, tuple[ProviderMember, ...]]] = []
        self.signs: list[float] = []
        self.failures: list[tuple[float, ProviderError]] = []
        self.others: list[ProviderMember] = []

    def read(self, provider: str, found: ProviderRead, took_s: float) -> None:
        self.reads.append((_now(), found.members))

    def alive(self, provider: str) -> None:
        self.signs.append(_now())

    def failed(self, provider: str, error: ProviderError) -> None:
        self.failures.append((_now(), error))

    def displaced(self, provider: str, member: ProviderMember) -> None:
        self.others.append(member)

    @property
    def members(self) -> set[str]:
        """Authorities of the newest read."""
        return {member.authority for member in self.reads[-1][1]} if self.reads else set()

    async def until(self, condition: Callable[[], object], limit_s: float, pause_s: float = 0.01) -> float:
        """Returns when the condition holds, and how long that took, in seconds of the loop."""
        began = _now()
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(pause_s)
        return _now() - began


def _now() -> float:
    return asyncio.get_running_loop().time()
