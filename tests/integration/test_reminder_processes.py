"""Reminders in real processes: the owner is killed, everything is killed, and what was promised still comes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from inaho.runtime.reminders.shard import shard_of
from support.member_processes import MemberProcess, Processes, client, settings, until
from support.programs.reminder_node import Alarm

SHARDS = 8
PROGRAM = "reminder_node.py"


def config(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Few shards, and one file of state for all."""
    activation = settings().activation.replace(reminder_shards=SHARDS, **changes)
    return {"program": PROGRAM, "storage": f"sqlite:{tmp_path / 'state.sqlite'}", "activation": activation}


def reminded(members: list[MemberProcess], key: str, name: str) -> list[dict[str, Any]]:
    """Every delivery that any of these processes has seen, the dead included, sorted by its time."""
    lines = [line for member in members for line in member.said("reminded", key=key, name=name)]
    return sorted(lines, key=lambda line: line["due"])


def occurrences(members: list[MemberProcess], key: str, period_s: float, first: float) -> list[int]:
    """Numbers of the occurrences of `beat` that were delivered, from 0; each once."""
    return sorted({round((line["due"] - first) / period_s) for line in reminded(members, key, "beat")})


async def test_the_owner_is_killed_and_the_reminders_come_elsewhere(processes: Processes, tmp_path: Path) -> None:
    members = await processes.cluster(3, **config(tmp_path))
    keys = [f"k{number}" for number in range(60)]  # so many that each member has some
    async with client(*members) as cluster:
        await until(lambda: len(cluster.members()) == 3, "the client knows all")
        await asyncio.gather(*(cluster.grain(Alarm, key).set("beat", 0.5, 1.0, "all") for key in keys))
        await until(lambda: all(reminded(members, key, "beat") for key in keys), "each has been reminded once")
        first = {key: reminded(members, key, "beat")[0]["due"] for key in keys}
        homes = {key: await cluster.grain(Alarm, key).where() for key in keys}
        killed = members[1]  # nobody's client, and no seed
        assert killed.authority in homes.values()
        assert len({shard_of("Alarm", key, SHARDS) for key in keys}) > 3
        killed.kill()
        death = time.time()
        await until(
            lambda: all(reminded(members, key, "beat")[-1]["due"] > death + 2.0 for key in keys),
            "each has been reminded of a time after the death",
            limit_s=30.0,
        )
        for key in keys:
            seen = occurrences(members, key, 1.0, first[key])
            assert seen == list(range(len(seen))), f"{key} lost an occurrence: {seen}"
            assert sum(line["missed"] for line in reminded(members, key, "beat")) == 0
        assert await cluster.grain(Alarm, keys[0]).names() == ["beat"]
    for member in (members[0], members[2]):
        assert member.alive and not member.said("Unhandled")


async def test_everything_is_killed_and_the_policies_decide_what_comes(processes: Processes, tmp_path: Path) -> None:
    members = await processes.cluster(2, **config(tmp_path, reminder_late_s=0.3, reminder_catch_up_max=2))
    async with client(*members) as cluster:
        alarm = cluster.grain(Alarm, "a")
        await alarm.set("tea", 2.0)
        await alarm.set("skipped", 2.0, None, "skip")
        await alarm.set("later", 600.0)
        for catch_up in ("once", "skip", "all"):
            await alarm.set(f"every {catch_up}", 2.0, 1000.0, catch_up)
        await cluster.grain(Alarm, "b").set("beat", 2.0, 1.0, "all")
        due = time.time() + 2.0
    for member in members:
        member.kill()  # at once: what `remind` has acknowledged is all that counts
    for member in members:
        await member.ended()  # all that it has said is read
    early = any(member.said("reminded") for member in members)  # on a machine that took so long to get here
    await until(lambda: time.time() > due + 2.5, "the times pass while nothing runs")
    started = [await processes.start(**config(tmp_path, reminder_late_s=0.3, reminder_catch_up_max=2))]
    everybody = [*members, *started]
    for name in ("tea", "every once", "every all"):
        await until(lambda name=name: reminded(everybody, "a", name), name)
    await until(lambda: len(reminded(started, "b", "beat")) >= 3, "the beat goes on")
    async with client(*started) as cluster:
        names = ["every all", "every once", "every skip", "later"]
        await until_equal(cluster, names)
    for name in ("tea", "every once", "every all"):
        assert len(reminded(started, "a", name)) == 1 or early, name
    for name in ("skipped", "every skip", "later"):
        assert reminded(everybody, "a", name) == [] or early, name
    if not early:
        beats = reminded(started, "b", "beat")
        assert beats[0]["missed"] >= 1  # bounded to the newest two
        for beat in beats[:2]:  # which two those are is decided anew for each delivery
            assert beat["missed"] == 0 or beat["late_s"] > 1.0 - 1e-3, "a newer one was due, too"
        distance = beats[1]["due"] - beats[0]["due"]
        assert abs(distance - 1.0 - beats[1]["missed"]) < 1e-3
    started[0].check_unharmed()


async def until_equal(cluster: Any, names: list[str]) -> None:
    """Waits until the reminders of `a` have these names."""
    deadline = time.monotonic() + 20.0
    while (seen := await cluster.grain(Alarm, "a").names()) != names:
        assert time.monotonic() < deadline, seen


async def test_a_restart_after_a_graceful_end(processes: Processes, tmp_path: Path) -> None:
    """SIGTERM of all: nothing comes twice, since what was delivered is saved at the end."""
    members = await processes.cluster(2, **config(tmp_path))
    async with client(*members) as cluster:
        await cluster.grain(Alarm, "a").set("soon", 0.2)
        await cluster.grain(Alarm, "a").set("late", 3.0)
        await until(lambda: reminded(members, "a", "soon"), "the first comes")
    for member in members:
        member.terminate()
    assert [await member.ended() for member in members] == [0, 0]
    again = await processes.start(**config(tmp_path))
    await until(lambda: reminded([*members, again], "a", "late"), "the second comes")
    assert len(reminded([*members, again], "a", "soon")) == 1
    assert len(reminded([*members, again], "a", "late")) == 1
    again.check_unharmed()
