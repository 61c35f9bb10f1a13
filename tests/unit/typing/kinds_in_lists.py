"""Kinds in lists and tuples, as programs keep them before they join."""

# ruff: noqa: RUF012  Structs copy mutable defaults

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Generic, TypeVar, assert_type

import inaho
from inaho import ClusterConfig, ClusterExtension, Grain
from inaho.testing import SimCluster


class CartState(inaho.Struct):
    items: dict[str, int] = {}


class OtherState(inaho.Struct):
    count: int = 0


class Cart(Grain[CartState]):
    async def add(self, sku: str, n: int = 1) -> int:
        self.state.items[sku] = n
        return self.state.items[sku]

    async def changes(self) -> AsyncIterator[str]:
        yield "one"


class Counter(Grain[OtherState]):
    async def bump(self) -> int:
        self.state.count += 1
        return self.state.count


class Echo(Grain):
    async def echo(self, text: str) -> str:
        return text

    def words(self, text: str) -> AsyncIterator[str]:
        return self._words(text)

    async def _words(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word


T = TypeVar("T")


class Box(Grain, Generic[T]):
    async def put(self, value: T) -> T:
        return value


class TextBox(Box[str]): ...


LIST: list[type[Grain]] = [Cart, Counter, Echo, TextBox]
LIST_OF_ANY: list[type[Grain[Any]]] = [Cart, Counter, Echo]
TUPLE: tuple[type[Grain], ...] = (Cart, Echo)
SEQUENCE: Sequence[type[Grain]] = [Cart]
ONE_KIND: list[type[Cart]] = [Cart]
INFERRED = [Cart, Counter, Echo, TextBox]
INFERRED_STATEFUL = [Cart, Counter]
INFERRED_TUPLE = (Cart, Counter, Echo)


def kinds() -> Iterable[type[Grain]]:
    yield Cart
    yield Echo


async def use(config: ClusterConfig) -> None:
    async with inaho.join("127.0.0.1:7700", grains=LIST) as cluster:
        cart = cluster.grain(Cart, "alice")
        assert_type(cart, Cart)
        assert_type(await cart.add("apple", 2), int)
        async for change in cart.changes():
            assert_type(change, str)
        assert_type(await cluster.grain(TextBox, "a").put("x"), str)
        async for word in cluster.grain(Echo, "a").words("a b"):
            assert_type(word, str)
    async with inaho.join("127.0.0.1:7700", grains=LIST_OF_ANY):
        pass
    async with inaho.join("127.0.0.1:7700", grains=TUPLE):
        pass
    async with inaho.join("127.0.0.1:7700", grains=SEQUENCE):
        pass
    async with inaho.join("127.0.0.1:7700", grains=ONE_KIND):
        pass
    async with inaho.join("127.0.0.1:7700", grains=INFERRED):
        pass
    async with inaho.join("127.0.0.1:7700", grains=INFERRED_STATEFUL):
        pass
    async with inaho.join("127.0.0.1:7700", grains=INFERRED_TUPLE):
        pass
    async with inaho.join("127.0.0.1:7700", grains=kinds()):
        pass
    ClusterExtension(config, grains=LIST)
    ClusterExtension(config, grains=INFERRED)
    SimCluster(nodes=2, grains=LIST)
    SimCluster(nodes=2, grains=INFERRED_STATEFUL)
