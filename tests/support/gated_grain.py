"""A grain whose hooks and methods, and a storage whose loads, stop at gates that a test opens."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import ClusterIdentity, Grain, MemoryStorage, StorageFailed, Struct, method
from inaho.core.activation.life import ActivationState
from inaho.errors import OwnershipChanged, StateConflict

S = ActivationState

KEY = "a"
SPOILT = -1
"""Value of the state after a call that has failed in the middle."""


class World:
    """What the code of the grain and the rules share."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.gates: dict[Any, asyncio.Future[str]] = {}
        self.loads_wait = False
        self.saves: list[bool] = []
        self.ends: list[tuple[str, int]] = []
        """Reason and state of each `on_deactivate` that has begun."""

    async def gate(self, name: Any) -> str:
        """Waits for the word of a rule."""
        self.gates[name] = asyncio.get_running_loop().create_future()
        try:
            return await self.gates[name]
        finally:
            del self.gates[name]


WORLD = World()


class Content(Struct):
    value: int = 0


class GatedStorage(MemoryStorage):
    async def _load(self, identity: ClusterIdentity) -> Any:
        if WORLD.loads_wait and identity.key == KEY and await WORLD.gate("load") == "fail":
            raise StorageFailed("it does not answer", maybe_executed=False)
        return await super()._load(identity)


class Gated(Grain[Content], on_failure="reset"):
    async def on_activate(self) -> None:
        word = await WORLD.gate("activate")
        if word == "raise":
            raise ValueError("on_activate")
        if word == "deactivate":
            self.deactivate()
        WORLD.loads_wait = True

    async def on_deactivate(self, reason: str) -> None:
        WORLD.loads_wait = False
        if self._inaho_host.lifecycle.state_of(self) is S.ACTIVATING:  # its lease was revoked while it came up
            return
        WORLD.ends.append((reason, self.state.value))
        word = await WORLD.gate("deactivate")
        if word == "save":
            await self._try_to_save()
        elif word == "raise":
            raise ValueError("on_deactivate")

    async def work(self, number: int) -> int:
        return await self._turn(number, spoils=True)

    @method(read_only=True)
    async def look(self, number: int) -> int:
        return await self._turn(number)

    async def _turn(self, number: int, *, spoils: bool = False) -> int:
        while (word := await WORLD.gate(number)) != "return":
            if word == "save":
                await self._try_to_save()
            else:
                self.state.value = SPOILT if spoils else self.state.value
                raise ValueError("the method")
        return number

    async def _try_to_save(self) -> None:
        try:
            await self.save()
        except (StateConflict, OwnershipChanged):
            WORLD.saves.append(False)
        else:
            WORLD.saves.append(True)


class Together(Gated, reentrant=True, on_failure="reset"):
    """Its turns run together."""
