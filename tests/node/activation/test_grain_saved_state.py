"""What is saved can be loaded again: a save of anything else is refused before the storage hears of it."""

# ruff: noqa: RUF012  Structs copy mutable defaults
from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from inaho import ClusterIdentity, Grain, SerializationFailed, Struct
from inaho.events import HandOffCompleted, HandOffFailed
from inaho.wire.stored import unpack_state


class Stock(Struct):
    count: int = 0
    shelf: Annotated[int, msgspec.Meta(le=10)] = 0
    prices: dict[str, int] = {}


WRONG: dict[str, tuple[Any, str]] = {
    "count": ("many", r"Expected `int`, got `str` - at `\$.count`"),
    "shelf": (11, r"Expected `int` <= 10 - at `\$.shelf`"),
    "prices": ({1: 1}, r"Expected `str`, got `int` - at `key` in `\$.prices`"),
}


class Store(Grain[Stock]):
    async def put(self, field: str, value: int) -> None:
        setattr(self.state, field, value)
        await self.save()

    async def spoil(self, field: str) -> None:
        setattr(self.state, field, None if field == "none" else WRONG[field][0])

    async def save_spoilt(self, field: str) -> None:
        await self.spoil(field)
        await self.save()

    async def save_nothing(self) -> None:
        self.state = None  # type: ignore[assignment]
        await self.save()

    async def save_what_has_no_encoding(self) -> bool:
        self.state.prices = {"a": object()}  # type: ignore[dict-item]
        return await self.is_sure()

    async def save_what_is_of_another_type(self) -> bool:
        self.state.count = "many"  # type: ignore[assignment]
        return await self.is_sure()

    async def is_sure(self) -> bool:
        """Whether a save that is refused says that it did nothing."""
        try:
            await self.save()
        except SerializationFailed as error:
            return not error.maybe_executed
        return False

    async def look(self) -> Stock:
        return self.state

    async def stop(self) -> None:
        self.deactivate()


async def stored(fleet: Any, key: str) -> Stock:
    found = await fleet.storage.load(ClusterIdentity("Store", key))
    return msgspec.msgpack.decode(unpack_state(found.data), type=Stock)


@pytest.mark.parametrize("field", WRONG)
async def test_a_state_that_could_not_be_loaded_is_not_saved(caller: Any, field: str):
    cluster = await caller(Store)
    store = cluster.grain(Store, "a")
    await store.put("shelf", 3)
    with pytest.raises(SerializationFailed, match=WRONG[field][1]) as caught:
        await store.save_spoilt(field)
    assert caught.value.maybe_executed  # the call, not the save
    assert await stored(caller.fleet, "a") == Stock(shelf=3)
    await store.stop()
    assert await store.look() == Stock(shelf=3)


async def test_a_state_of_another_type_is_not_saved(caller: Any):
    cluster = await caller(Store)
    store = cluster.grain(Store, "a")
    with pytest.raises(SerializationFailed, match="Expected `object`, got `None`"):
        await store.save_nothing()
    assert await caller.fleet.storage.load(ClusterIdentity("Store", "a")) is None
    await store.stop()
    assert await store.look() == Stock()


async def test_the_activation_goes_on_and_saves_what_is_right_again(fleet: Any):
    store = (await fleet.member(Store)).grain(Store, "a")
    await store.put("shelf", 3)
    with pytest.raises(SerializationFailed):
        await store.save_spoilt("count")
    activation = fleet.activation(Store, "a")
    await store.put("count", 7)
    assert fleet.activation(Store, "a") is activation
    assert await stored(fleet, "a") == Stock(count=7, shelf=3)


@pytest.mark.parametrize("how", ["has_no_encoding", "is_of_another_type"])
async def test_a_save_that_is_refused_says_that_nothing_was_stored(fleet: Any, how: str):
    store = (await fleet.member(Store)).grain(Store, "a")
    assert await getattr(store, f"save_what_{how}")()
    assert await fleet.storage.load(ClusterIdentity("Store", "a")) is None


@pytest.mark.parametrize("saved", [True, False])
async def test_what_could_not_be_loaded_is_not_handed_over_in_silence(
    fleet: Any, saved: bool, caplog: pytest.LogCaptureFixture
):
    """The next owner goes on from what was saved last, at once, and the last one says what it could not take along."""
    one = await fleet.member(Store)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        if saved:
            await one.grain(Store, key).put("shelf", 3)
        await one.grain(Store, key).spoil("count")
    one._node.hosts["Store"].draining.walking = True  # nothing is freed before the new owner asks
    other = await fleet.member(Store)
    moved = next(key for key in keys if other._node.leases.owns("Store", key))
    with other.system.events.subscribe(HandOffCompleted, HandOffFailed) as events:
        assert await other.grain(Store, moved).look() == Stock(shelf=3 if saved else 0)
        told = await anext(aiter(events))
    assert isinstance(told, HandOffCompleted) and not told.snapshot and told.version == int(saved)
    [line] = [text for text in caplog.messages if f"Store/{moved} " in text]
    assert "Expected `int`, got `str` - at `$.count`" in line
    one._node.hosts["Store"].draining.walking = False
    one._node.hosts["Store"].draining.begin()
