"""Clusters of real processes: they form, lose members in every way, and go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

import inaho
from inaho.config import RpcConfig
from inaho.core.messages import Entry, Gossip, JoinRequest, Mark, MembershipDelta, News
from inaho.errors import InahoError, Timeout, Unreachable
from inaho.types import Member, MemberStatus
from inaho.wire.frames import CONTROL, ERROR, GOODBYE, REPLY, frame
from support.attacker import Attacker, call, define, encode
from support.member_processes import MemberProcess, Processes, client, free_port, settings, unharmed, until
from support.programs.network_node import Probe, Tally


def up(cluster: inaho.Cluster) -> set[str]:
    """Node ids of the members that are up, as that client knows."""
    return {member.node_id for member in cluster.members() if member.status is MemberStatus.UP}


async def all_agree(members: Sequence[MemberProcess]) -> None:
    """Each member's own clients see exactly these members up."""
    expected = {member.node_id for member in members}
    for member in members:
        async with client(member) as cluster:
            await until(lambda: up(cluster) == expected, f"{member.authority} sees {expected}")


async def key_at(cluster: inaho.Cluster, member: MemberProcess, prefix: str = "k") -> str:
    """A key whose tally lives at that member."""
    for number in range(200):
        key = f"{prefix}{number}"
        if await cluster.grain(Tally, key).where() == member.authority:
            return key
    raise AssertionError(f"no key lives at {member.authority}")


def durable(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'state.sqlite'}"


async def test_three_members_converge(processes: Processes) -> None:
    members = await processes.cluster(3)
    await all_agree(members)
    async with client(members[2]) as cluster:
        where = {await cluster.grain(Tally, f"k{n}").where() for n in range(60)}
    assert where == {member.authority for member in members}


async def test_two_seeds_started_together_form_one_cluster(processes: Processes) -> None:
    """Each names both, so only the first may found."""
    seeds = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    started = [processes.spawn(authority=seed, seeds=seeds) for seed in seeds]
    members = [await process.ready() for process in started]
    await all_agree(members)


async def test_a_kill_under_load(processes: Processes, tmp_path: Path) -> None:
    """kill -9: the others learn, calls elsewhere do not notice, saved state is found again, and errors are honest."""
    members = await processes.cluster(3, storage=durable(tmp_path))
    killed, *rest = members[::-1]
    async with client(*rest) as cluster:
        await until(lambda: len(up(cluster)) == 3, "the client knows all")
        lost_key, kept_key = await key_at(cluster, killed), await key_at(cluster, rest[0])
        assert await cluster.grain(Tally, lost_key).add(5) == 5
        assert await cluster.grain(Tally, kept_key).add(1) == 1
        probes = {number: f"p{number}" for number in range(60)}
        at = dict(zip(probes, await asyncio.gather(*(_home(cluster, key) for key in probes.values())), strict=True))
        assert set(at.values()) == {member.authority for member in members}
        async with unharmed_tally(cluster, kept_key):
            dead = tmp_path / "dead"  # until it exists, no held call ends
            held = {n: cluster.grain(Probe, key, timeout=30.0) for n, key in probes.items()}
            unsafe = {n: asyncio.create_task(probe.hold_until(str(dead))) for n, probe in held.items()}
            patient = [cluster.grain(Probe, f"s{key}", timeout=30.0) for key in probes.values()]
            safe = [asyncio.create_task(probe.hold_safely_until(str(dead))) for probe in patient]
            for _ in range(5):
                await asyncio.sleep(0)
            # Every member answers, and without its disk: all of them have arrived there before, and still run.
            assert set(await asyncio.gather(*(_home(cluster, f"e{key}") for key in probes.values()))) == set(
                at.values()
            )
            before = [len(member.lines) for member in rest]
            killed.kill()
            dead.touch()
            for member, since in zip(rest, before, strict=True):
                for kind in ("MemberUnreachable", "MemberRemoved"):
                    await member.says(kind, since, member=lambda told: told["node_id"] == killed.node_id)
            outcomes = await asyncio.gather(*unsafe.values(), return_exceptions=True)
            for number, outcome in zip(unsafe, outcomes, strict=True):
                if at[number] == killed.authority:
                    assert isinstance(outcome, Unreachable), outcome
                    assert outcome.maybe_executed is True
                else:
                    assert outcome == at[number]
            assert set(await asyncio.gather(*safe)) <= {member.authority for member in members}
            assert await cluster.grain(Tally, lost_key).add(1) == 6
            assert await cluster.grain(Tally, lost_key).where() != killed.authority
        assert up(cluster) == {member.node_id for member in rest}
    for member in rest:
        member.check_unharmed()


async def _home(cluster: inaho.Cluster, key: str) -> str:
    return await cluster.grain(Probe, key).hold_safely(0)


class unharmed_tally:  # noqa: N801  reads as the function that it stands for
    """Adds to one tally all the while; every call must succeed, and the sum must be right."""

    def __init__(self, cluster: inaho.Cluster, key: str) -> None:
        self._tally = cluster.grain(Tally, key)
        self._added = 0

    async def __aenter__(self) -> None:
        self._first = await self._tally.value()
        self._task = asyncio.create_task(self._add())

    async def _add(self) -> None:
        while True:
            self._added += 1
            assert await self._tally.add(1) == self._first + self._added
            await asyncio.sleep(0.001)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await until(lambda: self._added > 3 or self._task.done(), "some calls while it lasts")
        assert not self._task.done(), self._task.exception()
        self._task.cancel()
        await asyncio.wait((self._task,))


async def test_a_member_that_leaves_fails_no_call(processes: Processes, tmp_path: Path) -> None:
    """SIGTERM under load: every call of every key is answered, before and after, with its state."""
    members = await processes.cluster(3, storage=durable(tmp_path))
    leaving, *rest = members[::-1]
    async with client(*rest, rpc=RpcConfig(timeout_s=40.0)) as cluster:  # three processes wait for one disk
        await until(lambda: len(up(cluster)) == 3, "the client knows all")
        tallies = [cluster.grain(Tally, f"k{n}") for n in range(48)]
        added = [0] * len(tallies)
        stop = asyncio.Event()

        async def add(number: int) -> None:
            while not stop.is_set():
                added[number] += 1
                assert await tallies[number].add(1) == added[number]
                await asyncio.sleep(0.05)  # else one process keeps the lock of the file from the others

        tasks = [asyncio.create_task(add(number)) for number in range(len(tallies))]
        await until(lambda: min(added) > 2, "all are under way")
        leaving.terminate()
        code = await leaving.ended()
        before = min(added)
        await until(lambda: min(added) > before + 2 or any(task.done() for task in tasks), "all go on")
        stop.set()
        await asyncio.gather(*tasks)
        assert code == 0
        assert leaving.said("left")
        assert up(cluster) == {member.node_id for member in rest}
    for member in rest:
        assert not member.said("MemberUnreachable")
        member.check_unharmed()


async def test_a_restart_on_the_same_port(processes: Processes, tmp_path: Path) -> None:
    """A killed process starts again at once: a new incarnation at the old authority, and the old node is gone."""
    first = await processes.start(storage=durable(tmp_path))
    own = f"127.0.0.1:{free_port()}"
    second = await processes.start(storage=durable(tmp_path), authority=own, seeds=(first.authority,))
    await all_agree([first, second])
    async with client(first) as cluster:
        await until(lambda: len(up(cluster)) == 2, "the client knows both")
        key = await key_at(cluster, second)
        assert await cluster.grain(Tally, key).add(7) == 7
        second.kill()
        again = await processes.start(
            storage=durable(tmp_path), authority=second.authority, seeds=(first.authority, second.authority)
        )
        assert again.node_id != second.node_id
        await all_agree([first, again])
        await until(lambda: up(cluster) == {first.node_id, again.node_id}, "the client knows the new one")
        assert await cluster.grain(Tally, key).add(1) == 8
        was, now = [
            (await first.says("MemberUp", member=lambda told, of=member: told["node_id"] == of.node_id))["member"]
            for member in (second, again)
        ]
        assert was["authority"] == now["authority"] == second.authority
        assert 1 <= was["incarnation"] < now["incarnation"]
    first.check_unharmed()


async def test_a_client_outlives_the_whole_cluster(processes: Processes, tmp_path: Path) -> None:
    """The only member is killed and starts anew: its topology counts from the beginning again, and is believed."""
    first = await processes.start(storage=durable(tmp_path), authority=f"127.0.0.1:{free_port()}")
    async with client(first) as cluster:
        tally = cluster.grain(Tally, "t")
        assert await tally.add(2) == 2
        first.kill()
        again = await processes.start(storage=durable(tmp_path), authority=first.authority)
        await until(lambda: up(cluster) == {again.node_id}, "the client follows")
        assert await tally.add(2) == 4


async def test_a_client_whose_home_dies_finds_another(processes: Processes) -> None:
    """It was told one seed only, and learnt of the other member from it."""
    first, second = await processes.cluster(2)
    async with client(first) as cluster:
        await until(lambda: len(up(cluster)) == 2, "the client knows both")
        first.kill()
        await until(lambda: up(cluster) == {second.node_id}, "the other member tells it of the death")
        assert await cluster.grain(Tally, "after").add(1) == 1
        third = await processes.start(seeds=(second.authority,))
        await until(lambda: up(cluster) == {second.node_id, third.node_id}, "and of whoever comes")


async def test_a_death_that_nobody_notices_yet(processes: Processes) -> None:
    """Calls to a killed member that were not sent are retried until they reach its successor."""
    patient = settings().membership.replace(remove_unreachable_after_s=0.3)
    first, second = await processes.cluster(2, membership=patient)
    async with client(first) as cluster:
        await until(lambda: len(up(cluster)) == 2, "the client knows both")
        keys = [f"k{n}" for n in range(20)]
        second.kill()
        values = await asyncio.gather(*(cluster.grain(Tally, key).add(1) for key in keys), return_exceptions=True)
        for value in values:  # one that was on its way may have run; no other fails
            assert value == 1 or (isinstance(value, Unreachable) and value.maybe_executed), value
        again = await asyncio.gather(*(cluster.grain(Tally, key).value() for key in keys))
        assert set(again) <= {0, 1}
    first.check_unharmed()


async def test_a_paused_member(processes: Processes) -> None:
    """SIGSTOP: its callers get their time-outs in time, others do not wait, and it comes back without a restart."""
    first, second = await processes.cluster(2)
    async with client(first) as cluster:
        await until(lambda: len(up(cluster)) == 2, "the client knows both")
        key = await key_at(cluster, second)
        second.pause()
        started = asyncio.get_running_loop().time()
        with pytest.raises((Timeout, Unreachable)) as raised:
            await cluster.grain(Tally, key, timeout=0.5).add(1)
        assert raised.value.maybe_executed is True
        assert asyncio.get_running_loop().time() - started < 8.0  # its own time-out, not the 10 s of other calls
        await until(lambda: up(cluster) == {first.node_id}, "it is taken for gone")
        assert await cluster.grain(Tally, key).add(1) >= 1
        second.resume()
        await until(lambda: len(up(cluster)) == 2, "it is back")
        await all_agree([first, second])
    first.check_unharmed()
    second.check_unharmed()


async def test_the_death_of_a_member_that_calls(processes: Processes) -> None:
    """What it was waiting for does not keep the others busy, and streams to it end."""
    first, second = await processes.cluster(2)
    async with unharmed(first):
        second.kill()
        await first.says("MemberRemoved", member=lambda told: told["node_id"] == second.node_id)


async def test_everybody_leaves_at_once(processes: Processes) -> None:
    members = await processes.cluster(3)
    for member in members:
        member.terminate()
    assert [await member.ended() for member in members] == [0, 0, 0]
    for member in members:
        assert member.said("left")
        assert not member.said("Unhandled")
        assert not any("Traceback" in line for line in member.errors), "".join(member.errors)


async def test_a_call_to_a_cluster_that_is_gone(processes: Processes) -> None:
    member = await processes.start()
    async with client(member) as cluster:
        assert await cluster.grain(Tally, "t").add(1) == 1
        tally = cluster.grain(Tally, "t", timeout=0.8)
        member.kill()
        started = asyncio.get_running_loop().time()
        with pytest.raises(InahoError):
            await tally.add(1)
        with pytest.raises(InahoError) as raised:
            await tally.add(1)
        assert raised.value.maybe_executed is False
        assert asyncio.get_running_loop().time() - started < 8.0  # its own time-outs, not the 10 s of other calls


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e-320])
async def test_a_joiner_of_an_impossible_weight(processes: Processes, weight: float) -> None:
    """One that would own nothing, or everything, must not stop the placement of the others."""
    member = await processes.start()
    own = f"127.0.0.1:{free_port()}"
    node_id = "0123456789abcdef"
    joiner = Member(own, node_id, 1, MemberStatus.JOINING, ("Probe",), weight)
    up_already = msgspec.structs.replace(joiner, status=MemberStatus.UP, incarnation=2)
    async with unharmed(member):
        attacker = await Attacker.authenticated(member.authority, role="member", own=own, node_id=node_id)
        delta = MembershipDelta(node_id, 0, 1, (Entry(node_id, 1, up_already),))
        with suppress(ConnectionError):  # it is closed at the first message that no correct node sends
            for message in (JoinRequest(joiner), Gossip(Mark(1, 1, 1), News((delta,)))):
                attacker.send(frame(CONTROL, encode(message)))
            attacker.send(define(1, "echo"), call(1, 3, "key", 5))
        with suppress(ConnectionError, EOFError):
            await attacker.frames(REPLY, ERROR, GOODBYE)  # whatever comes of it, the messages have been handled
        async with client(member) as cluster:
            late = await asyncio.gather(
                *(cluster.grain(Tally, f"k{n}").add(1) for n in range(20)), return_exceptions=True
            )
        assert late == [1] * 20
        attacker.close()
