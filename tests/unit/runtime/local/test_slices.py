"""Jobs advance a little in each turn of the loop, side by side, and those who wait for their end go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from inaho.runtime.local.slices import TURN_US, Slices


def counting(seen: list[str], name: str, steps: int, step_us: int = TURN_US // 4) -> Iterator[int]:
    for number in range(steps):
        seen.append(f"{name}{number}")
        yield step_us


async def test_a_turn_takes_no_more_than_its_share():
    slices, seen = Slices(asyncio.get_running_loop()), []
    slices.add("a", counting(seen, "a", 10))
    assert seen == []
    await asyncio.sleep(0)
    assert seen == ["a0", "a1", "a2", "a3"]
    await asyncio.sleep(0)
    assert len(seen) == 8
    await slices.ended("a")
    assert len(seen) == 10
    assert "a" not in slices


async def test_what_the_caller_has_taken_counts():
    slices, seen = Slices(asyncio.get_running_loop()), []
    slices.add("a", counting(seen, "a", 10))
    slices.run(TURN_US)
    assert seen == []
    slices.run(TURN_US // 2)
    assert seen == ["a0", "a1"]


async def test_small_jobs_are_done_at_once_and_long_ones_take_turns():
    slices, seen = Slices(asyncio.get_running_loop()), []
    slices.add("a", counting(seen, "a", 8))
    slices.add("b", counting(seen, "b", 2))
    slices.add("c", counting(seen, "c", 1))
    for _ in range(4):
        slices.run()
    assert seen == ["a0", "a1", "a2", "a3", "b0", "b1", "c0", "a4", "a5", "a6", "a7"]
    assert not any(name in slices for name in "abc")


async def test_a_job_that_begins_again_starts_from_its_beginning():
    slices, seen = Slices(asyncio.get_running_loop()), []
    slices.add("a", counting(seen, "a", 10))
    slices.run()
    slices.add("a", counting(seen, "again", 2))
    await slices.ended("a")
    assert seen == ["a0", "a1", "a2", "a3", "again0", "again1"]


async def test_a_step_may_begin_jobs_and_ask_for_a_turn():
    slices, seen = Slices(asyncio.get_running_loop()), []

    def first() -> Iterator[int]:
        slices.add("a", counting(seen, "a", 1))
        slices.run()
        seen.append("first")
        yield 1

    slices.add("first", first())
    slices.run()
    assert seen == ["first", "a0"]


async def test_a_job_that_fails_ends_and_the_others_go_on():
    slices, seen = Slices(asyncio.get_running_loop()), []

    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("a fault in a step")

    slices.add("failing", failing())
    slices.add("a", counting(seen, "a", 1))
    with pytest.raises(ValueError, match="a fault in a step"):
        slices.run()
    assert "failing" not in slices
    await slices.ended("a")
    assert seen == ["a0"]


async def test_who_waits_for_a_job_goes_on_when_it_is_given_up():
    slices = Slices(asyncio.get_running_loop())
    slices.add("a", counting([], "a", 100))
    slices.add("b", counting([], "b", 100))
    one, other = asyncio.ensure_future(slices.ended("a")), asyncio.ensure_future(slices.ended("b"))
    await asyncio.sleep(0)
    slices.drop("a")
    await one
    assert not other.done()
    other.cancel()
    await asyncio.sleep(0)
    slices.stop()
    assert "b" not in slices
    await slices.ended("b")
