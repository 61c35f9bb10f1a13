"""A grain whose turns wait, and that writes down how each of them has ended."""

from __future__ import annotations

import asyncio

import inaho
from inaho import Grain, method


class Slow(Grain):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.gate = asyncio.Event()

    @method(timeout=0.25)
    async def short(self) -> None:
        await self.wait("short")

    @method(idempotent=True, attempt_timeout=0.3)
    async def patient(self, misses: int) -> str:
        """Is lost `misses` times, then answers."""
        return await self.wait("patient") if len(self.log) < 2 * misses else "found"

    async def wait(self, name: str = "wait") -> str:
        self.log.append(f"+{name}")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.log.append(f"x{name}")
            raise
        self.log.append(f"-{name}")
        return name

    async def stubborn(self) -> str:
        self.log.append("+stubborn")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append("xstubborn")
        return "anyway"

    async def quick(self) -> str:
        return "quick"

    async def left(self) -> float:
        return self.context.deadline - asyncio.get_running_loop().time()

    async def ask_left(self, key: str) -> float:
        return await self.cluster.grain(Slow, key).left()

    async def ask_wait(self, key: str) -> str:
        try:
            return await self.cluster.grain(Slow, key).wait()
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise

    async def bounded_inside(self, key: str) -> str:
        with inaho.deadline(0.05):
            return await self.cluster.grain(Slow, key).wait()
