"""What user code sees of time and chance while it runs in a simulation, and what everybody else sees."""

from __future__ import annotations

import asyncio
import datetime as datetimes
import importlib
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic
from time import time as wall_time
from typing import Any
from unittest import mock

import pytest

from inaho import Grain, Struct
from inaho.testing import SimCluster, SimulationFailed
from inaho.testing.simulation.simulation import UNIX_START_S

MINUTE_S = 60.0

CLOCKS: dict[str, Callable[[], float]] = {
    "time.time": lambda: time.time(),
    "time.time_ns": lambda: time.time_ns() / 1e9,
    "time.monotonic": lambda: time.monotonic(),
    "time.monotonic_ns": lambda: time.monotonic_ns() / 1e9,
    "time.perf_counter": lambda: time.perf_counter(),
    "time.perf_counter_ns": lambda: time.perf_counter_ns() / 1e9,
    "from time import monotonic": lambda: monotonic(),
    "from time import time": lambda: wall_time(),
    "clock_gettime": lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
    "clock_gettime_ns": lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e9,
    "clock_gettime raw": lambda: time.clock_gettime(time.CLOCK_MONOTONIC_RAW),
    "clock_gettime wall": lambda: time.clock_gettime(time.CLOCK_REALTIME),
    "datetime.now": lambda: datetime.now(UTC).timestamp(),
    "datetime.now without zone": lambda: datetime.now().timestamp(),
    "datetime.utcnow": lambda: datetime.utcnow().replace(tzinfo=UTC).timestamp(),
    "datetime.today": lambda: datetime.today().timestamp(),
    "datetime module": lambda: datetimes.datetime.now(tz=UTC).timestamp(),
    "localtime": lambda: time.mktime(time.localtime()),
    "loop": lambda: asyncio.get_running_loop().time(),
}

WALL = [
    name
    for name in CLOCKS
    if "monotonic" not in name
    and "perf" not in name
    and (not name.startswith("clock_gettime") or name.endswith("wall"))
    and name != "loop"
]

CHANCE: dict[str, Callable[[], object]] = {
    "uuid4": uuid.uuid4,
    "random": random.random,
    "randint": lambda: random.randint(0, 1 << 60),
    "shuffle": lambda: random.sample(range(100), 20),
    "secrets": lambda: secrets.token_hex(8),
    "choice": lambda: secrets.choice(range(1 << 60)),
    "urandom": lambda: os.urandom(16),
    "SystemRandom": random.SystemRandom().random,
}


class Stamp(Struct):
    at: datetime | None = None
    token: str = ""


class Clock(Grain[Stamp]):
    async def read(self, name: str) -> float:
        return CLOCKS[name]()

    async def stamp(self) -> datetime:
        self.state.at, self.state.token = datetime.now(UTC), str(uuid.uuid4())
        await self.save()
        return self.state.at

    async def blocks(self) -> None:
        time.sleep(1.0)  # noqa: ASYNC251  the mistake

    async def threads(self) -> float:
        began = time.monotonic()

        def work() -> float:
            time.sleep(1.5)
            return time.monotonic() - began

        inside = await asyncio.to_thread(work)
        assert inside == time.monotonic() - began
        return inside


@pytest.fixture(scope="module")
def sim() -> Iterator[SimCluster]:
    with SimCluster(nodes=2, grains=[Clock]) as sim:
        yield sim


@pytest.mark.parametrize("name", CLOCKS)
def test_a_grain_sees_virtual_time(sim: SimCluster, name: str) -> None:
    grain = sim.node(0).grain(Clock, "a")

    async def apart() -> float:
        began = await grain.read(name)
        await asyncio.sleep(MINUTE_S)
        return await grain.read(name) - began

    assert sim.run(apart(), within_s=2 * MINUTE_S) == pytest.approx(MINUTE_S, abs=1.1 if name == "localtime" else 0.1)


@pytest.mark.parametrize("name", WALL)
def test_wall_clocks_are_those_of_the_events(sim: SimCluster, name: str) -> None:
    async def read() -> float:
        return CLOCKS[name]()

    assert sim.run(read()) == pytest.approx(UNIX_START_S + sim.time, abs=1.1 if name == "localtime" else 1e-3)


def test_dates_and_texts(sim: SimCluster) -> None:
    async def read() -> tuple[date, str, str, str, int]:
        return date.today(), time.strftime("%Y-%m-%d"), time.ctime(), time.asctime(), time.gmtime().tm_year

    today, text, ctime, asctime, year = sim.run(read())
    assert today.isoformat() == text == datetime.fromtimestamp(sim.unix_time()).date().isoformat()
    assert ctime == asctime and ctime.endswith("2025") and year == 2025


def test_what_is_given_is_a_datetime_and_can_be_saved(sim: SimCluster) -> None:
    at = sim.run(sim.node(0).grain(Clock, "s").stamp())
    assert type(at) is datetime and at.timestamp() == pytest.approx(sim.unix_time(), abs=1.0)


@pytest.mark.parametrize("name", CHANCE)
def test_chance_is_of_the_seed(name: str) -> None:
    def draw(seed: int) -> list[object]:
        with SimCluster(nodes=1, seed=seed) as sim:

            async def inside() -> object:
                return CHANCE[name]()

            return [sim.run(inside()) for _ in range(3)]

    drawn = draw(1)
    assert drawn == draw(1) != draw(2)
    assert drawn[0] != drawn[1] != drawn[2]


def test_outside_of_its_runs_nothing_is_replaced(sim: SimCluster) -> None:
    before = (time.time, time.monotonic, time.sleep, os.urandom, monotonic, vars(datetime)["now"], random.getstate())
    sim.run_for(MINUTE_S)
    assert before == (
        time.time, time.monotonic, time.sleep, os.urandom, monotonic, vars(datetime)["now"], random.getstate(),
    )  # fmt: skip
    assert abs(time.time() - datetime.now(UTC).timestamp()) < 60
    with pytest.raises(ZeroDivisionError):
        sim.run(_divide())
    assert time.time is before[0] and vars(datetime)["now"] is before[5]


async def _divide() -> None:
    raise ZeroDivisionError


def test_other_threads_see_the_clocks_of_the_machine(sim: SimCluster) -> None:
    """A time-out of the test runner is such a thread."""
    real_before = time.time()
    found: list[float] = []

    def look() -> None:
        time.sleep(0.0)
        found.extend((time.time(), datetime.now(UTC).timestamp(), time.monotonic()))

    async def inside() -> float:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return time.monotonic()

    virtual = sim.run(inside())
    assert abs(found[0] - real_before) < 60 and abs(found[1] - real_before) < 60
    assert abs(found[2] - time.monotonic()) < 60 and virtual == sim._loop.time()


def test_sleep_that_blocks_is_refused_with_what_to_do(sim: SimCluster) -> None:
    with pytest.raises(RuntimeError, match=r"await asyncio.sleep\(\.\.\.\)"):
        sim.run(sim.node(0).grain(Clock, "a").blocks())

    async def inside() -> None:
        time.sleep(0.1)  # noqa: ASYNC251  the mistake

    with pytest.raises(RuntimeError, match="would stop all nodes"):
        sim.run(inside())


def test_sleep_in_a_thread_takes_virtual_time(sim: SimCluster) -> None:
    began = sim.time
    assert sim.run(sim.node(0).grain(Clock, "a").threads()) == 1.5
    assert sim.time - began == pytest.approx(1.5, abs=0.1)


def test_a_second_simulation_beside_it_is_refused(sim: SimCluster) -> None:
    """What is replaced belongs to the whole process."""
    errors: list[BaseException] = []

    def other() -> None:
        try:
            with SimCluster(nodes=1):
                pass
        except SimulationFailed as error:
            errors.append(error)

    async def inside() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    sim.run(inside())
    assert "another simulation runs in this process" in str(errors[0])
    sim.run_for(1.0)


def test_a_history_that_depends_on_clocks_and_chance_can_be_replayed() -> None:
    def story() -> tuple[Any, ...]:
        with SimCluster(nodes=2, seed=3, grains=[Clock]) as sim:
            stamps = [sim.run(sim.node(0).grain(Clock, f"k{n}").stamp()) for n in range(5)]
            return stamps, sim.trace_hash()

    assert story() == story()


LATE = """
import random
import time
import uuid
from os import urandom
from random import random as chance
from time import monotonic, time as wall
from datetime import datetime

DRAWN = (random.random(), uuid.uuid4(), urandom(8))
BEGAN = wall()
TODAY = datetime.now().timestamp()

def default(clock=monotonic):
    return clock()
"""


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that nobody has imported yet; it reads clocks and draws numbers when it is."""
    (tmp_path / "inaho_late_module.py").write_text(LATE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield "inaho_late_module"
    sys.modules.pop("inaho_late_module", None)


async def use_late(name: str) -> tuple[Any, ...]:
    module: Any = importlib.import_module(name)
    began = module.monotonic(), module.wall()
    await asyncio.sleep(MINUTE_S)
    lasted = [round(end - begin, 6) for begin, end in zip(began, (module.monotonic(), module.wall()), strict=True)]
    assert lasted == [MINUTE_S, MINUTE_S]
    assert module.wall() == time.time() == datetime.now().timestamp()
    return began, module.chance(), module.urandom(8), str(uuid.uuid4()), os.urandom(4), random.random()


def test_a_module_that_is_imported_inside_is_as_one_that_was_imported_before(late: str) -> None:
    real_before = time.time()
    stories: list[tuple[Any, ...]] = []
    modules: list[Any] = []
    for run in range(4):
        if run == 3:  # again, in another simulation
            del sys.modules[late]
        with SimCluster(nodes=1, seed=5) as sim:
            stories.append(sim.run(use_late(late)))
        modules.append(sys.modules[late])
    assert stories == [stories[0]] * 4
    assert modules[0] is modules[2] is not modules[3]
    for module in modules:
        assert (module.monotonic, module.wall, module.urandom) == (time.monotonic, time.time, os.urandom)
        assert abs(module.BEGAN - real_before) < 60 and abs(module.TODAY - real_before) < 60
        assert abs(module.default() - time.monotonic()) < 60
    assert modules[0].DRAWN != modules[3].DRAWN


def test_a_module_that_is_taken_out_and_imported_again_sees_virtual_time(late: str) -> None:
    async def again() -> None:
        for _ in range(2):
            await use_late(late)
            del sys.modules[late]
        await use_late(late)

    with SimCluster(nodes=1, seed=5) as sim:
        sim.run(again())


def test_an_import_that_fails_changes_nothing(sim: SimCluster) -> None:
    async def inside() -> None:
        before = time.time(), random.getstate(), time.time
        with pytest.raises(ImportError):
            importlib.import_module("inaho_no_such_module")
        assert before == (time.time(), random.getstate(), time.time)

    sim.run(inside())


def test_what_a_test_puts_in_place_of_a_clock_stays_through_an_import(sim: SimCluster, late: str) -> None:
    async def inside() -> None:
        with mock.patch("time.time", return_value=7.0):
            importlib.import_module(late)
            assert time.time() == 7.0
        assert time.time() == pytest.approx(sim.unix_time())

    real = time.time
    sim.run(inside())
    assert time.time is real


def test_a_function_that_is_kept_for_longer_than_a_simulation_is_of_the_one_that_runs() -> None:
    kept: list[Callable[[], Any]] = []
    for seed in range(3):
        with SimCluster(nodes=1, seed=seed) as sim:

            async def inside(sim: SimCluster) -> None:
                kept.extend((time.monotonic, time.time, datetime.now))
                await asyncio.sleep(MINUTE_S)
                for clock, wall, now in zip(*[iter(kept)] * 3, strict=True):
                    assert clock() == asyncio.get_running_loop().time()
                    assert wall() == now().timestamp() == sim.unix_time()

            sim.run(inside(sim))
        assert abs(kept[0]() - time.monotonic()) < 60 and abs(kept[1]() - time.time()) < 60
