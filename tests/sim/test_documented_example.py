"""The example of docs/testing.md: a user's grain through a partition."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from inaho import Grain, Struct
from inaho.testing import ClusterFactory

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


class Seats(Struct):
    taken: dict[str, str] = {}  # noqa: RUF012  msgspec copies it


class Concert(Grain[Seats]):
    async def book(self, seat: str, name: str) -> bool:
        if seat in self.state.taken:
            return False
        self.state.taken[seat] = name
        await self.save()  # before the caller hears of it
        return True

    async def guest(self, seat: str) -> str | None:
        return self.state.taken.get(seat)


def test_a_seat_is_sold_once_even_through_a_partition(inaho_cluster: ClusterFactory):
    sim = inaho_cluster(nodes=3, grains=[Concert])

    def concert(node: int) -> Concert:
        return sim.node(node).grain(Concert, "tonight")

    assert sim.run(concert(0).book("A1", "Ann"))

    sim.partition({0, 1}, {2})
    sim.run_for(15.0)  # both sides have noticed, and both serve
    assert not sim.run(concert(0).book("A1", "Bob"))
    assert not sim.run(concert(2).book("A1", "Cid"))

    sim.heal()
    sim.wait_converged(within_s=15.0)
    assert [sim.run(concert(node).guest("A1")) for node in range(3)] == ["Ann", "Ann", "Ann"]


def test_the_page_shows_this_very_example_and_it_takes_a_moment(
    inaho_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch
):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [shown] = [block for block in blocks if "test_a_seat_is_sold_once" in block]
    example = ModuleType("documented_example")
    monkeypatch.setitem(sys.modules, example.__name__, example)  # grains look up the types that they name
    exec(compile(shown, str(PAGE), "exec"), example.__dict__)
    began = time.monotonic()
    example.test_a_seat_is_sold_once_even_through_a_partition(inaho_cluster)
    assert time.monotonic() - began < 5.0
