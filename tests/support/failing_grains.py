"""A grain whose turns fail in many ways, for each failure policy."""

# ruff: noqa: RUF012  Structs copy mutable defaults

from __future__ import annotations

import asyncio

from inaho import Grain, GrainError, NoSuchMethod, Struct, method


class RefusedError(GrainError):
    """What the grains here raise."""


class Marks(Struct):
    marks: list[str] = []


LOG: list[str] = []
GATES: dict[str, asyncio.Event] = {}


class Kept(Grain[Marks]):
    """Every method marks the state and then fails in its own way."""

    async def on_activate(self) -> None:
        self.attribute = "new"
        LOG.append("active")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)

    async def mark(self, text: str) -> list[str]:
        self.state.marks.append(text)
        await self.save()
        return list(self.state.marks)

    async def fail(self, text: str = "half") -> None:
        self.attribute = "changed"
        self.state.marks.append(text)
        raise RefusedError(text)

    async def fail_later(self, text: str = "half") -> None:
        self.attribute = "changed"
        self.state.marks.append(text)
        await asyncio.sleep(0)
        raise RefusedError(text)

    async def fail_elsewhere(self) -> None:
        self.state.marks.append("half")
        await self.cluster.call(self.identity.kind, "another", "absent")

    async def catch(self) -> None:
        self.state.marks.append("whole")
        try:
            await self.cluster.call(self.identity.kind, "another", "absent")
        except NoSuchMethod:
            LOG.append("caught")

    async def hang(self, gate: str = "") -> None:
        self.state.marks.append("half")
        GATES[gate].set()
        await asyncio.Event().wait()

    @method(read_only=True)
    async def look(self) -> list[str]:
        return list(self.state.marks)

    @method(read_only=True)
    async def attributes(self) -> str:
        return self.attribute

    @method(read_only=True)
    async def look_long(self, gate: str) -> list[str]:
        GATES[gate] = asyncio.Event()
        await GATES[gate].wait()
        return list(self.state.marks)

    @method(read_only=True)
    async def fail_reading(self) -> None:
        await asyncio.sleep(0)
        raise RefusedError("reading")

    async def stream(self, fail: bool):
        for number in range(3):
            self.state.marks.append(f"item {number}")
            yield number
        if fail:
            raise RefusedError("stream")

    async def begin(self) -> None:
        self.timer(self.tick, None, first_s=0.0)

    async def tick(self) -> None:
        self.state.marks.append("tick")
        LOG.append("tick")
        raise RefusedError("tick")


class Reset(Kept, on_failure="reset"):
    """Goes back to what was saved."""


class Stopped(Kept, on_failure="stop"):
    """Begins anew."""
