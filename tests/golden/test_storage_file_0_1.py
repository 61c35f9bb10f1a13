"""A file of SQLite that inaho 0.1 wrote is read and written: states and reminders of all kinds."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import inaho
from inaho import Grain
from inaho.core.activation.reminders import Reminder
from support.bytes_0_1 import DUE, FREEZE, HERE, STATES, Cart, Letterbox, Purse


class StructGrain(Grain[Cart], name="golden.struct"):
    """Its state is a Struct."""

    async def keep(self, value: Cart) -> None:
        self.state = value
        await self.save()

    async def drop(self) -> None:
        await self.clear()

    async def kept(self) -> Cart:
        return self.state


class DataclassGrain(Grain[Purse], name="golden.dataclass"):
    """Its state is a dataclass."""

    async def keep(self, value: Purse) -> None:
        self.state = value
        await self.save()

    async def kept(self) -> Purse:
        return self.state


class PydanticGrain(Grain[Letterbox], name="golden.pydantic"):
    """Its state is a pydantic model."""

    async def keep(self, value: Letterbox) -> None:
        self.state = value
        await self.save()

    async def kept(self) -> Letterbox:
        return self.state


class Alarm(Grain, name="golden.alarm"):
    """Has reminders."""

    async def on_reminder(self, reminder: Reminder) -> None:
        raise AssertionError(f"{reminder} is not due in this century")

    async def set(self) -> None:
        when = datetime.fromtimestamp(DUE, UTC)
        await self.remind("once", when)
        await self.remind("daily", when, 86_400.0, catch_up="all")

    async def listed(self) -> list[Reminder]:
        return await self.reminders()


GRAINS = [StructGrain, DataclassGrain, PydanticGrain, Alarm]
DUMP = HERE / "storage.sql"


async def freeze_file(folder: Path) -> None:
    path = folder / "state.db"
    async with inaho.join("127.0.0.1:0", grains=GRAINS, storage=f"sqlite:///{path}") as cluster:
        await cluster.grain(StructGrain, "a").keep(STATES["struct"])
        await cluster.grain(StructGrain, "a").keep(STATES["struct"])
        await cluster.grain(StructGrain, "gone").keep(STATES["struct"])
        await cluster.grain(StructGrain, "gone").drop()
        await cluster.grain(DataclassGrain, "a").keep(STATES["dataclass"])
        await cluster.grain(PydanticGrain, "a").keep(STATES["pydantic"])
        await cluster.grain(Alarm, "a").set()
    connection = sqlite3.connect(path)
    pragmas = [
        f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
        for name in ("application_id", "user_version")
    ]
    DUMP.write_text("\n".join([*pragmas, *connection.iterdump()]) + "\n")
    connection.close()


if FREEZE:

    async def test_freeze(tmp_path: Path) -> None:
        await freeze_file(tmp_path)


async def test_a_file_of_0_1_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(DUMP.read_text())
    connection.close()
    struct = STATES["struct"]
    for again in (False, True):  # the second time what this code has written
        async with inaho.join("127.0.0.1:0", grains=GRAINS, storage=f"sqlite:///{path}") as cluster:
            assert await cluster.grain(StructGrain, "a").kept() == (Cart(note="new") if again else struct)
            assert await cluster.grain(StructGrain, "gone").kept() == Cart()
            assert await cluster.grain(DataclassGrain, "a").kept() == STATES["dataclass"]
            assert await cluster.grain(PydanticGrain, "a").kept() == STATES["pydantic"]
            listed = await cluster.grain(Alarm, "a").listed()
            assert [(each.name, each.due, each.period_s, each.catch_up) for each in listed] == [
                ("daily", DUE, 86_400.0, "all"),
                ("once", DUE, 0.0, "once"),
            ]
            await cluster.grain(StructGrain, "a").keep(Cart(note="new"))
            await cluster.grain(DataclassGrain, "a").keep(STATES["dataclass"])
            await cluster.grain(PydanticGrain, "a").keep(STATES["pydantic"])
            await cluster.grain(Alarm, "a").set()
