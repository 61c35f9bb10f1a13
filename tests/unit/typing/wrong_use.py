"""What a type checker must still refuse. Each line marked `wrong` is an error, and no other line is."""

from __future__ import annotations

import inaho
from inaho import Grain


class CartState(inaho.Struct):
    count: int = 0


class Cart(Grain[CartState]):
    async def add(self, sku: str) -> int:
        text: str = self.state.count  # wrong
        return len(text + sku)


async def use() -> None:
    async with inaho.join("127.0.0.1:7700", grains=[str]) as cluster:  # wrong
        await cluster.grain(Cart, "a").add(5)  # wrong
        await cluster.grain(Cart, "a").remove()  # wrong
