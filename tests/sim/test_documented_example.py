"""The examples of docs/testing.md: a user's grain through a partition, a crash while it is called."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inaho import Grain, Struct
from inaho.testing import ClusterFactory, SimCluster

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


def block_with(words: str) -> str:
    """The one block of code on the page with these words."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [shown] = [block for block in blocks if words in block]
    return shown


def test_the_page_shows_this_very_example_and_it_takes_a_moment(
    inaho_cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch
):
    shown = block_with("test_a_seat_is_sold_once")
    example = ModuleType("documented_example")
    monkeypatch.setitem(sys.modules, example.__name__, example)  # grains look up the types that they name
    exec(compile(shown, str(PAGE), "exec"), example.__dict__)
    example.test_a_seat_is_sold_once_even_through_a_partition(inaho_cluster)
    [sim] = inaho_cluster.started
    assert sim.callbacks < 5_000  # a moment on any machine; it is about 1,900


def test_the_page_is_right_about_a_crash_while_a_call_is_under_way_under_many_seeds():
    scenario = compile(block_with("sim.crash(1)"), str(PAGE), "exec")
    called: set[bool] = set()
    for seed in range(12):
        with SimCluster(nodes=3, seed=seed, grains=[Concert]) as sim:
            exec(scenario, {"sim": sim, "Concert": Concert})
            called.add(sim.run(sim.node(0).grain(Concert, "tonight").guest("A1")) == "Ann")
    assert called == {True, False}, "both outcomes that the page speaks of"


def test_the_page_is_right_about_the_type_of_the_fixture(inaho_cluster: ClusterFactory):
    names: dict[str, Any] = {"Concert": Concert}
    exec(compile(block_with("test_two_nodes_agree"), str(PAGE), "exec"), names)
    names["test_two_nodes_agree"](inaho_cluster)


@pytest.mark.parametrize("seed", range(3))
def test_the_page_is_right_about_topics(seed: int):
    names: dict[str, Any] = {}
    exec(compile(block_with("test_no_order_is_lost"), str(PAGE), "exec"), names)
    with SimCluster(nodes=3, seed=seed) as sim:
        names["test_no_order_is_lost_when_a_node_dies"](lambda nodes: sim)


def test_the_page_is_right_that_right_after_a_partition_nodes_still_agree(inaho_cluster: ClusterFactory):
    sim = inaho_cluster(nodes=3)
    sim.partition({0, 1}, {2})
    assert sim.wait_converged() == 0.0
    sim.run_for(10.0)
    assert not sim.converged()
