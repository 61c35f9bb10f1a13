"""One seed, one history: in one process, and in processes that hash differently."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from inaho import ClusterConfig, Grain, Struct
from inaho.config import AlertsConfig
from inaho.events import AlertRaised
from inaho.testing import Faults, SimCluster

ROOT = Path(__file__).resolve().parents[2]


class Tally(Struct):
    names: list[str] = []  # noqa: RUF012  msgspec copies it


class Register(Grain[Tally]):
    async def enter(self, name: str) -> int:
        self.state.names.append(name)
        await asyncio.sleep(0.01)
        await self.save()
        return len(self.state.names)


async def storm(sim: SimCluster, kind: Any, nodes: set[int]) -> None:
    """Calls whose order is that of sets of strings and of tasks, in part cancelled."""
    calls = [
        asyncio.ensure_future(sim.node(number % len(nodes)).grain(kind, f"r{number % 5}").enter(f"name-{number}"))
        for number in range(30)
    ]
    await asyncio.wait(calls, timeout=0.05)
    for call in {call for call in calls if not call.done()}:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


def history(seed: int, kind: Any = Register) -> str:
    faults = Faults(control_loss=0.1, control_repeat=0.1, control_reorder=0.1)
    with SimCluster(nodes=3, seed=seed, grains=[kind], faults=faults) as sim:
        sim.run(storm(sim, kind, {0, 1, 2}))
        sim.partition({0, 1}, {2})
        sim.run_for(12.0)
        sim.heal()
        sim.wait_converged(within_s=30.0)
        sim.pause(1, 10.0)
        sim.flap(0, 2, for_s=5.0)
        sim.run_for(12.0)
        sim.crash(2)
        sim.run(storm(sim, kind, {0, 1}))
        sim.restart(2)
        sim.leave(0)
        sim.wait_converged(within_s=30.0)
        return f"{sim.trace_hash()} {sim.time!r} {sim.callbacks}"


def test_the_same_seed_gives_the_same_history(simulation_seed: int):
    assert history(simulation_seed) == history(simulation_seed)


def test_the_history_does_not_depend_on_other_grains_of_the_process():
    before = history(1)

    class Stranger(Grain):
        async def unrelated(self) -> None:
            """Takes a number."""

    class Register(Grain[Tally], name="Register"):  # made later, so its methods have other numbers
        async def enter(self, name: str) -> int:
            self.state.names.append(name)
            await asyncio.sleep(0.01)
            await self.save()
            return len(self.state.names)

    assert Stranger.inaho_kind.methods["unrelated"].number > 0
    assert history(1, Register) == before


def test_different_seeds_give_different_histories():
    assert len({history(seed) for seed in range(5)}) == 5


def test_the_history_does_not_depend_on_the_process():
    program = f"import importlib.util, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    program += f"import {Path(__file__).stem} as it; print(it.history(3))"
    histories = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        ).stdout.strip()
        for hash_seed in ("0", "1", "4711")
    ]
    assert set(histories) == {history(3)}


class Namer(Grain):
    async def new(self) -> str:
        name = str(uuid.uuid4())
        await self.cluster.grain(Register, name).enter(f"{random.random()} {time.time()} {os.urandom(4).hex()}")
        return name


def drawn(seed: int) -> str:
    """A history in which the code of grains draws names, so that chance decides where what is."""
    with SimCluster(nodes=3, seed=seed, grains=[Namer, Register]) as sim:
        names = [sim.run(sim.node(0).grain(Namer, "k").new()) for _ in range(3)]
        return f"{names} {sim.trace_hash()}"


def test_what_grains_draw_does_not_depend_on_how_many_simulations_ran_before():
    """The first one of a process imports modules, such as those of the metrics, and some of them draw numbers."""
    program = f"import importlib.util, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    program += f"import {Path(__file__).stem} as it; print(it.drawn(7)); print(it.drawn(7))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    ).stdout.splitlines()
    assert told == [drawn(7)] * 2


class Patient(Grain):
    busy_s = 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def compute(self) -> None:
        threading.Event().wait(self.busy_s)  # a machine that is slow


async def call_in_turn(sim: SimCluster, method: str, *arguments: Any) -> None:
    for number in range(25):
        await getattr(sim.node(0).grain(Patient, str(number)), method)(*arguments)


def test_how_long_a_call_takes_is_virtual_time():
    with SimCluster(nodes=2, seed=1, grains=[Patient]) as sim:
        sim.run(call_in_turn(sim, "sleep", 2.0))
        sim.run_for(3.0)
        raised = [told.event for told in sim.events if isinstance(told.event, AlertRaised)]
    assert [(alert.kind, alert.measure) for alert in raised] == [("Patient", "latency_p99_s")]
    assert 2.0 <= raised[0].figure < 5.0


def test_a_slow_machine_is_no_part_of_the_history(monkeypatch: pytest.MonkeyPatch):
    config = ClusterConfig().replace(alerts=AlertsConfig(latency_p99_s=0.01))

    def calls(busy_s: float) -> str:
        monkeypatch.setattr(Patient, "busy_s", busy_s)
        with SimCluster(nodes=2, seed=1, grains=[Patient], config=config) as sim:
            sim.run(call_in_turn(sim, "compute"))
            sim.run_for(3.0)
            return sim.trace_hash()

    assert calls(0.02) == calls(0.0)
