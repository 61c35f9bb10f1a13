"""Chains of calls: a cycle is refused and named, turns that may interleave make none, and a chain has an end."""

from __future__ import annotations

import asyncio

import pytest

import inaho
from inaho import CallCycle, Grain, method


class Node(Grain):
    """Calls along a path of keys: `go(["b", "c"])` on a calls b, which calls c."""

    async def go(self, path: list[str]) -> str:
        if not path:
            return self.key
        return self.key + await self.cluster.grain(type(self), path[0]).go(path[1:])

    @method(read_only=True)
    async def look(self, path: list[str]) -> str:
        if not path:
            return self.key
        return self.key + await self.cluster.grain(type(self), path[0]).look(path[1:])

    async def detach(self, other: str) -> None:
        """Ends while the other still works for it."""
        self.later = asyncio.ensure_future(self.cluster.grain(type(self), other).go([self.key]))

    async def result(self) -> str:
        return self.later.result()

    async def leave_and_return(self, other: str) -> str:
        self.deactivate()
        return await self.cluster.grain(type(self), other).go([self.key])


class Open(Node, reentrant=True): ...


@pytest.mark.parametrize("path", [["a"], ["b", "a"], ["b", "c", "a"], ["b", "c", "b"]])
async def test_a_cycle_is_named(caller, path):
    grain = (await caller(Node)).grain(Node, "a")
    for _ in range(2):
        with pytest.raises(CallCycle) as caught:
            await grain.go(path)
        keys = ["a", *path]
        cycle = keys[keys.index(keys[-1]) :]
        assert " -> ".join(f"Node/{key}" for key in cycle) in caught.value.reason
    assert await grain.go(["b", "c"]) == "abc"


async def test_a_cycle_through_several_nodes_is_named(fleet):
    one, other = await fleet.members(2, Node, Open)
    here, there, third = fleet.key_at(one, Node), fleet.key_at(other, Node), fleet.key_at(one, Node, "t")
    for cluster in (one, other, await fleet.client()):
        for path in ([there, here], [third, there, here], [there, third, here]):
            with pytest.raises(CallCycle, match=f"Node/{here} -> .* -> Node/{here}"):
                await cluster.grain(Node, here).go(path)
        assert await cluster.grain(Node, here).go([there, third]) == here + there + third
        assert await cluster.grain(Node, here).look([there, here]) == here + there + here
    here, there = fleet.key_at(one, Open), fleet.key_at(other, Open)
    assert await one.grain(Open, here).go([there, here, there]) == here + there + here + there


async def test_chains_that_may_interleave_do(caller):
    cluster = await caller(Node, Open)
    assert await cluster.grain(Node, "a").look(["b", "a", "b"]) == "abab"
    assert await cluster.grain(Open, "a").go(["b", "a", "a"]) == "abaa"


async def test_a_turn_that_has_ended_makes_no_cycle(caller, eventually):
    cluster = await caller(Node)
    grain = cluster.grain(Node, "a")
    for _ in range(2):
        await grain.detach("b")
        await eventually(lambda: caller.fleet.activation(Node, "a").later.done())
        assert await grain.result() == "ba"


async def test_a_reentrant_chain_goes_on_while_its_activation_ends(fleet):
    member = await fleet.member(Open)
    assert await member.grain(Open, "a").leave_and_return("b") == "ba"


class Endless(Node):
    async def dig(self, depth: int) -> int:
        return await self.cluster.grain(Endless, f"k{depth + 1}").dig(depth + 1)


async def test_a_chain_has_an_end(caller):
    grain = (await caller(Endless, rpc={"call_chain_max": 20})).grain(Endless, "k0")
    with pytest.raises(inaho.InahoError, match="call_chain_max"):
        await grain.dig(0)
