"""The fault scenarios of a `freshness_swarm`: each is a sequence in which an old answer was seen or may occur.

They may end with active faults and dead nodes: the swarm heals everything afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from inaho.testing.histories.freshness_faults import LoadedCourse
from inaho.testing.storage.faults import StorageFaults

__all__ = ["EPISODES", "LATER"]

UNANSWERED: Final = StorageFaults(lose_answer=1.0)
AWAY: Final = StorageFaults(refuse=1.0)


async def calm(swarm: LoadedCourse) -> None:
    """Nodes leave in order and come back, and nothing else happens: the strict rule holds all the time."""
    for _ in range(swarm.chance.randint(1, 2)):
        index = swarm.chance.randrange(swarm.nodes)
        swarm.leave(index)
        await swarm.wait(0.0, 1.0)
        await swarm.call_all(swarm.everybody, "put", 0.5)
        await swarm.left(index)
        await swarm.wait(0.0, 2.0)
        swarm.restart(index)
        await swarm.wait(1.0, 3.0)


async def split(swarm: LoadedCourse) -> None:
    """Both sides of a split save; then the node that saved last ends before the others know of the save."""
    side, others = swarm.sides()
    swarm.split(side)
    await swarm.noticed(side, others)
    await swarm.noticed(others, side)
    await swarm.wait(0.0, 1.0)
    first, second = (side, others) if swarm.chance.random() < 0.7 else (others, side)
    await swarm.call_all(first, "put", 0.8)
    if swarm.chance.random() < 0.3:
        await swarm.call_all(second, "put", 0.4)
    await _disturb_turns(swarm, first)
    await swarm.wait(0.0, 2.5)
    ending = swarm.chance.choice(["heal", "crash", "crash", "crash", "pause", "leave"])
    if ending == "crash":
        swarm.crash_all(first)
    elif ending == "pause":
        for index in first:
            swarm.pause(index)
    swarm.heal()
    if ending == "leave":
        for index in first[:1]:
            swarm.leave(index)
    await swarm.wait(0.0, 4.0)
    if ending == "crash" and swarm.chance.random() < 0.6:
        for index in first:
            swarm.restart(index)
        await swarm.wait(1.0, 3.0)


async def after_heal(swarm: LoadedCourse) -> None:
    """Views agree after a split, and at once a node that saved leaves or crashes."""
    side, others = swarm.sides()
    swarm.split(side)
    await swarm.noticed(side, others)
    await swarm.noticed(others, side)
    saver = swarm.chance.choice([*side, *others])
    await swarm.call_all([saver], "put", 0.8)
    await _disturb_turns(swarm, [saver])
    swarm.heal()
    await swarm.sim.until(swarm.sim.converged, 60.0)
    await swarm.wait(0.0, 0.4)
    if swarm.chance.random() < 0.5:
        swarm.leave(saver)
    else:
        swarm.crash(saver, silent=swarm.chance.random() < 0.3)
    await swarm.wait(1.0, 6.0)


async def slow(swarm: LoadedCourse) -> None:
    """A node is slow and is seen unreachable for a while; another saves, and leaves or crashes soon afterwards."""
    slow_one, saver, *_ = swarm.chance.sample(swarm.everybody, swarm.nodes)
    await _move_to(swarm, slow_one)
    swarm.slow(slow_one, swarm.chance.choice([0.5, 1.0, 1.5]))
    if await swarm.noticed([saver], [slow_one], 15.0):
        await swarm.call_all([saver], "put", 0.8)
    swarm.slow(slow_one, 0.0)
    await swarm.sim.until(swarm.sim.converged, 60.0)
    await swarm.wait(0.0, 0.3)
    ending = swarm.chance.choice(["leave", "leave", "crash", ""])
    if ending == "leave":
        swarm.leave(saver)
    elif ending == "crash":
        swarm.crash(saver, silent=swarm.chance.random() < 0.3)
    await swarm.wait(1.0, 5.0)


async def pause(swarm: LoadedCourse) -> None:
    """A process is paused, others take over and save, and it continues with its old activations, under calls."""
    paused, saver, *others = swarm.chance.sample(swarm.everybody, swarm.nodes)
    await _move_to(swarm, paused)
    swarm.pause(paused)
    if swarm.chance.random() < 0.7 and await swarm.noticed([saver, *others], [paused], 15.0):
        await swarm.wait(0.0, 3.0)
    else:
        await swarm.wait(0.5, 4.0)
    await swarm.call_all([saver], "put", 0.8)
    ending = swarm.chance.choice(["crash", "leave at once", "leave", ""])
    if ending == "crash":
        swarm.crash(saver, silent=swarm.chance.random() < 0.5)
    swarm.resume(paused)
    if ending == "leave at once":
        swarm.leave(saver)
    for _ in range(4):
        await swarm.call_all([paused], "read", 0.5)
        await swarm.wait(0.0, 0.3)
    if ending == "leave":
        await swarm.sim.until(swarm.sim.converged, 60.0)
        await swarm.wait(0.0, 0.2)
        swarm.leave(saver)
    await swarm.wait(0.0, 3.0)


async def one_way(swarm: LoadedCourse) -> None:
    """Nothing of a node reaches the others, or nothing of the others reaches it."""
    lone, *others = swarm.chance.sample(swarm.everybody, swarm.nodes)
    if swarm.chance.random() < 0.5:
        swarm.cut(lone, others)
        await swarm.noticed(others, [lone], 15.0)
    else:
        for other in others:
            swarm.cut(other, [lone])
        await swarm.noticed([lone], others, 15.0)
    first, second = ([lone], others) if swarm.chance.random() < 0.5 else (others, [lone])
    await swarm.call_all(first, "put", 0.8)
    await swarm.wait(0.0, 2.0)
    await swarm.call_all(second, "put", 0.3)
    await swarm.wait(0.0, 3.0)
    if swarm.chance.random() < 0.5:
        swarm.crash_all(first[:1])
    swarm.heal()
    await swarm.wait(0.0, 3.0)


async def second_cluster(swarm: LoadedCourse) -> None:
    """The first seed crashes, restarts without a connection to the others, and founds a cluster of its own."""
    swarm.crash(0, silent=swarm.chance.random() < 0.5)
    swarm.split([0])
    if swarm.chance.random() < 0.6:
        await swarm.noticed(swarm.able(), [0])
    swarm.restart(0)
    await swarm.sim.until(lambda: swarm.sim.is_member(0), 30.0)
    others = [index for index in swarm.everybody if index != 0]
    first, second = ([0], others) if swarm.chance.random() < 0.7 else (others, [0])
    await swarm.call_all(first, "put", 0.8)
    await swarm.wait(0.0, 2.0)
    await swarm.call_all(second, "put", 0.3)
    await _disturb_turns(swarm, first)
    await swarm.wait(1.0, 3.0)
    if swarm.chance.random() < 0.5:
        swarm.crash(0)
    swarm.heal()
    await swarm.wait(0.0, 4.0)


async def streams(swarm: LoadedCourse) -> None:
    """One side of a split follows cells by streams while the other saves them. Nothing else calls them meanwhile."""
    side, others = swarm.sides()
    swarm.split(side)
    await swarm.noticed(side, others)
    await swarm.noticed(others, side)
    followers, savers = (side, others) if swarm.chance.random() < 0.5 else (others, side)
    swarm.loaded = False
    following = asyncio.create_task(swarm.call_all(followers, "follow_long"))
    await swarm.wait(0.5, 1.5)
    await swarm.call_all(savers, "put", 0.8)
    await swarm.wait(2.0, 4.0)
    swarm.heal()
    await swarm.wait(0.0, 1.0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    swarm.loaded = True


async def replaced(swarm: LoadedCourse) -> None:
    """A saver dies in a split right after its save, and its successor starts before the others read the markers again.

    Only the episode calls the cells: a call has an activation proved, which would hide the fault.
    """
    side, others = swarm.sides()
    swarm.split(side)
    await swarm.noticed(side, others)
    await swarm.noticed(others, side)
    swarm.loaded = False
    await swarm.call_all(others, "read", 0.7)
    lingering = asyncio.create_task(swarm.call_all(others, "linger", swarm.chance.choice([0.0, 0.9])))
    await swarm.call_all(side, "put", 0.8)
    await swarm.wait(0.0, 0.2)
    for index in side:
        swarm.crash(index)
    swarm.heal()
    await swarm.wait(0.0, 0.3)
    for index in side:
        swarm.restart(index)
    await swarm.sim.until(lambda: all(map(swarm.sim.is_member, side)), 40.0)
    await swarm.wait(0.0, 0.05)
    await swarm.call_all(side, "look")
    await lingering
    swarm.loaded = True


async def restarted(swarm: LoadedCourse) -> None:
    """Members take over from one that notices nothing; they save, die, and are restarted before it notices."""
    lone, saver, *others = swarm.chance.sample(swarm.everybody, swarm.nodes)
    await _move_to(swarm, lone)
    is_slow = swarm.chance.random() < 0.4
    if is_slow:
        swarm.slow(lone, 3.0)
    else:
        swarm.split([lone])
    await swarm.noticed([saver], [lone])
    calling = asyncio.create_task(swarm.call_all([saver], "put", 0.8))
    await asyncio.wait((calling,), timeout=0.3)
    for index in (saver, *others):
        swarm.crash(index, silent=True)
    if is_slow:
        swarm.slow(lone, 0.0)
    else:
        swarm.heal()
    for index in (saver, *others):
        swarm.restart(index)
    await calling
    await swarm.wait(0.5, 3.0)


async def unheard_block(swarm: LoadedCourse) -> None:
    """A member is blocked and does not learn it; another takes over and saves; the block ends before it learns it.

    Or no member learns it, because the node that took over is restarted without a connection to the others.
    """
    lone, saver, *_ = swarm.chance.sample(swarm.everybody, swarm.nodes)
    await _move_to(swarm, lone)
    way = swarm.chance.choice(["cut off", "paused", "taker cut off"])
    if way == "paused":
        swarm.pause(lone)
    else:
        swarm.split([lone] if way == "cut off" else [saver])
    authority = swarm.sim.authority(lone)
    await swarm.cluster(saver).block(authority)
    calling = asyncio.create_task(swarm.call_all([saver], "put", 0.8))
    await asyncio.wait((calling,), timeout=swarm.chance.choice([0.1, 0.2, 0.5, 1.2]))
    ending = swarm.chance.choice(["leave", "leave", "crash", "restart", "", ""])
    if way == "taker cut off":
        ending = "restart"
    else:
        await swarm.cluster(saver).unblock(authority)
        await asyncio.sleep(swarm.chance.choice([0.0, 0.0, 0.1]))
    if swarm.chance.random() < 0.7:
        calling.cancel()
    if ending in ("crash", "restart"):
        swarm.crash(saver, silent=True)
    swarm.heal()
    swarm.resume(lone)
    if ending == "leave":
        swarm.leave(saver)
    elif ending == "restart":
        swarm.restart(saver)
    await asyncio.gather(calling, return_exceptions=True)
    await swarm.wait(1.0, 3.0)
    if not ending:  # both have activations of the same cells
        await swarm.call_all([lone], "put", 0.8)


async def unnoticed(swarm: LoadedCourse) -> None:
    """Some nodes take over from members that notice nothing yet; these activate the same cells, save, and continue."""
    side, others = swarm.sides()
    swarm.split(side)
    await swarm.noticed(others, side)
    await swarm.call_all(others, "put", 0.6)
    for _ in range(3):
        await swarm.call_all(side, "put", 0.6)
        await swarm.wait(0.0, 0.4)
        await swarm.call_all(others, "read", 0.6)
    if swarm.chance.random() < 0.5:
        swarm.crash_all(side)
    swarm.heal()
    await swarm.wait(0.0, 3.0)


async def rolling(swarm: LoadedCourse) -> None:
    """Nodes are restarted one after the other while one of them is cut off."""
    lone, *others = swarm.chance.sample(swarm.everybody, swarm.nodes)
    swarm.split([lone])
    await swarm.noticed(others, [lone])
    await swarm.call_all(swarm.chance.choice([[lone], others]), "put", 0.8)
    for index in others:
        swarm.leave(index)
        await swarm.left(index)
        await swarm.call_all(others, "put", 0.3)
        swarm.restart(index)
        await swarm.sim.until(partial(swarm.sim.is_member, index), 40.0)
        await swarm.wait(0.0, 1.0)
    if swarm.chance.random() < 0.4:
        swarm.crash(lone, silent=True)
    swarm.heal()
    await swarm.wait(0.0, 3.0)


async def outage(swarm: LoadedCourse) -> None:
    """The storage fails in the middle of a split: no bound holds until it answers again."""
    side, others = swarm.sides()
    swarm.split(side)
    await swarm.noticed(others, side)
    await swarm.call_all(others, "put", 0.5)
    swarm.storage_faults(AWAY)
    await swarm.wait(0.5, 3.0)
    swarm.storage_faults(None)
    await swarm.call_all(side, "put", 0.5)
    await swarm.wait(1.0, 3.0)
    if swarm.chance.random() < 0.5:
        swarm.crash_all(side)
    swarm.heal()
    await swarm.wait(0.0, 2.0)


async def chaos(swarm: LoadedCourse) -> None:
    """Random faults of all kinds."""
    chance = swarm.chance
    for _ in range(chance.randint(4, 7)):
        await swarm.wait(0.5, 3.0)
        one, other = chance.sample(swarm.everybody, 2)
        kind = chance.choice(["leave", "crash", "split", "cut", "pause", "slow", "loss", "relief", "relief"])
        busy = len(swarm.able()) > 2
        if kind == "leave" and busy:
            swarm.leave(one)
        elif kind == "crash" and busy:
            swarm.crash(one, silent=chance.random() < 0.5)
        elif kind == "split":
            swarm.split(swarm.sides()[0])
        elif kind == "cut":
            swarm.cut(one, [other])
        elif kind == "pause" and busy:
            swarm.pause(one)
        elif kind == "slow":
            swarm.slow(one, chance.choice([0.5, 1.0]))
        elif kind == "loss":
            swarm.lose_control(chance.choice([0.1, 0.3]))
        elif kind == "relief":
            swarm.heal()
            swarm.resume(one)
            swarm.restart(other)


async def _move_to(swarm: LoadedCourse, index: int) -> None:
    """Activates cells that are placed with their caller on this node, and saves them."""
    await swarm.call_all([index], "rest")
    await swarm.wait(0.0, 0.2)
    await swarm.call_all([index], "put", 0.8)


async def _disturb_turns(swarm: LoadedCourse, nodes: list[int]) -> None:
    """Turns that fail and saves without an answer, on nodes that have just saved."""
    chance = swarm.chance
    if chance.random() < 0.4:
        await swarm.call_all(nodes, chance.choice(["fail", "put_then_fail", "rest", "wipe"]), 0.5)
    if chance.random() < 0.2:
        swarm.storage_faults(UNANSWERED)
        await swarm.call_all(nodes, "put", 0.4)
        swarm.storage_faults(None)


Episode = Callable[[LoadedCourse], Awaitable[None]]

_FIRST: Final = (
    calm,
    split,
    after_heal,
    slow,
    pause,
    one_way,
    second_cluster,
    streams,
    replaced,
    rolling,
    outage,
    chaos,
)
_LATER: Final = (restarted, unheard_block, unnoticed)

EPISODES: Final[Mapping[str, Episode]] = {episode.__name__: episode for episode in (*_FIRST, *_LATER)}
"""By name."""

LATER: Final = tuple(episode.__name__ for episode in _LATER)
"""Episodes that were added later. Seeds that choose none of them still choose the same episode as before."""
