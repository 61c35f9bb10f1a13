"""A computer that was suspended: its loop's clock stood still, the boot clock went on."""

from __future__ import annotations

import time

import pytest

from inaho import Grain
from inaho.events import NodePaused
from inaho.runtime.local import clock
from inaho.testing import SimCluster


class Counter(Grain):
    async def inc(self) -> int:
        return 1


def suspended(sim: SimCluster, index: int, seconds: float) -> None:
    """From one instant to the next the boot clock of a node is ahead, and its loop's is not."""
    node = sim.node(index)._node
    before = node.local.boot_time
    node.local.boot_time = lambda: before() + seconds


def pauses(sim: SimCluster, index: int) -> list[tuple[float, float]]:
    return [
        (told.at, told.event.gap_s) for told in sim.events if told.node == index and isinstance(told.event, NodePaused)
    ]


@pytest.mark.parametrize("seconds", [5.0, 3600.0, 200_000.0])
def test_a_node_that_slept_knows_for_how_long(seconds: float) -> None:
    with SimCluster(nodes=3, grains=[Counter]) as sim:
        sim.run_for(5.0)
        assert not pauses(sim, 1)
        suspended(sim, 1, seconds)
        began = sim.time
        sim.run_for(10.0)
        ((at, gap_s),) = pauses(sim, 1)
        assert at - began <= 0.2 and gap_s == pytest.approx(seconds, abs=1.0)
        assert not pauses(sim, 0) and not pauses(sim, 2)
        sim.wait_converged()
        assert sim.run(sim.node(1).grain(Counter, "a").inc()) == 1
        sim.check()


def test_it_knows_before_it_answers_a_call_that_was_waiting() -> None:
    with SimCluster(nodes=3, grains=[Counter]) as sim:
        key = next(
            f"k{number}" for number in range(100)
            if sim.run(sim.node(0).where(Counter, f"k{number}")).owner == sim.authority(1)
        )  # fmt: skip
        counter = sim.node(0).grain(Counter, key)
        sim.run(counter.inc())
        sim.run_for(5.0)

        async def inside() -> float:
            suspended(sim, 1, 60.0)
            await counter.inc()
            return sim.time

        answered = sim.run(inside())
        ((at, _),) = pauses(sim, 1)
        assert at <= answered


def test_fences_end_while_the_computer_sleeps() -> None:
    """Who fell silent is feared for as long as a tombstone lasts, by a clock that does not sleep with this node."""
    with SimCluster(nodes=1) as sim:
        node = sim.node(0)._node
        node.fencing.took_over("Gone", node.topology.lookup.partition("Gone", "a"))
        sim.run_for(5.0)
        assert node.fencing.is_doubtful("Gone", "a")
        suspended(sim, 0, sim.node(0).config.membership.tombstone_s)
        assert not node.fencing.is_doubtful("Gone", "a")


def test_a_timer_that_fires_early_by_rounding_does_not_spin() -> None:
    with SimCluster(nodes=2, grains=[Counter]) as sim:
        for index in range(2):
            suspended(sim, index, 1e6 / 3)  # no sum of the two clocks is exact
        before = sim.callbacks
        sim.run_for(60.0)
        assert sim.callbacks - before < 50_000


def test_the_boot_clock_is_one_and_never_falls() -> None:
    values = [clock.boot_time() for _ in range(100)]
    assert values == sorted(values)
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if number is not None:
        assert abs(time.clock_gettime(number) - values[-1]) < 60.0


def test_where_there_is_no_boot_clock_the_monotonic_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime", refuse, raising=False)
    assert clock._boot_clock() is time.monotonic
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert clock._boot_clock() is time.monotonic
