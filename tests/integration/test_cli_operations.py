"""`inaho where`, `grains`, `block`, `drain` and `events` as an operator runs them, against a real cluster."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import inaho
from support.cli_processes import COMMAND, SECRET, WAIT_S, Node, environment, node, run

NAME = "operations"
OPTIONS = ("--secret", SECRET, "--name", NAME)
KEYS = [f"k{number}" for number in range(12)]


@contextmanager
def two_members(folder: Path) -> Iterator[tuple[Node, Node]]:
    """A cluster of two, in which each sees both up."""
    with ExitStack() as stack:
        first = stack.enter_context(node(folder, *OPTIONS, "--storage", "memory"))
        seeds = ("--seeds", first.authority)
        second = stack.enter_context(node(folder, *OPTIONS, "--storage", "memory", *seeds))
        for member in (first, second):  # else activations move while the tests look at them
            until_both_up(member)
        yield first, second


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """Two members for the tests that only look at them."""
    with two_members(tmp_path_factory.mktemp("operations")) as members:
        yield members


@pytest.fixture
def own_pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two members for a test that changes them: tests run in any order."""
    with two_members(tmp_path) as members:
        yield members


def until_both_up(member: Node) -> None:
    """Returns when that member sees two members that are up."""

    async def look() -> None:
        async with (
            asyncio.timeout(WAIT_S),
            inaho.connect([member.authority], secret=SECRET, name=NAME) as cluster,
        ):
            while sum(seen.status is inaho.MemberStatus.UP for seen in cluster.members()) < 2:
                await asyncio.sleep(0.02)

    asyncio.run(look())


def operate(pair: tuple[Node, Node], command: str, *arguments: str) -> tuple[int, list[Any], str]:
    """A command that connects to the first member."""
    return run(command, *arguments, "--seeds", pair[0].authority, *OPTIONS)


def operate_until_all_answer(pair: tuple[Node, Node], command: str, *arguments: str) -> tuple[int, list[Any], str]:
    """As `operate`, again while a member is silent: a busy one may answer too late."""
    until = time.monotonic() + WAIT_S
    while (told := operate(pair, command, *arguments))[1][0]["silent"] and time.monotonic() < until:
        time.sleep(0.1)
    return told


def call_all(pair: tuple[Node, Node]) -> None:
    """Every key answers."""

    async def calls() -> None:
        async with inaho.connect([pair[0].authority], secret=SECRET, name=NAME) as cluster:
            for key in KEYS:
                assert (await cluster.call("Shop", key, "order", "rice"))["key"] == key

    asyncio.run(calls())


@contextmanager
def following(at: Node, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`inaho events --follow` that has subscribed."""
    with subprocess.Popen(
        [*COMMAND, "events", "--follow", "--json", "--seeds", at.authority, *OPTIONS, *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == f"following {at.authority}\n".encode()
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[bytes], name: str) -> list[dict[str, Any]]:
    """Events up to the first of that name."""
    assert process.stdout is not None
    seen: list[dict[str, Any]] = []
    for line in process.stdout:
        seen.append(msgspec.json.decode(line))
        if seen[-1]["event"] == name:
            break
    return seen


def test_where_tells_owner_lease_and_history(pair: tuple[Node, Node]):
    authorities = {member.authority for member in pair}
    call_all(pair)
    code, [found], _ = operate_until_all_answer(pair, "where", "Shop", KEYS[0])
    assert (code, found["identity"], found["lease"], found["silent"]) == (0, f"Shop/{KEYS[0]}", "active", [])
    assert found["holder"]["authority"] == found["owner"] in authorities
    assert [entry["what"] for entry in found["history"]] == ["started"]
    assert found["history"][0]["epoch"] == found["epoch"]
    assert found["reason"].startswith(f"Active on {found['owner']} since ")
    code, [nowhere], _ = operate(pair, "where", "Shoop", "a")
    assert (code, nowhere["owner"]) == (1, "")
    assert nowhere["reason"].startswith("No member can own it: ")
    shown = subprocess.run(
        [*COMMAND, "where", "Shop", KEYS[0], "--seeds", pair[0].authority, *OPTIONS],
        env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, check=True,
    ).stdout.decode()  # fmt: skip
    assert found["owner"] in shown and "state version" in shown and "started" in shown


def test_grains_are_counted_and_listed(pair: tuple[Node, Node]):
    call_all(pair)  # some may have moved since
    code, [found], _ = operate_until_all_answer(pair, "grains", "Shop", "--limit", "1")
    assert (code, found["count"], found["silent"]) == (0, len(KEYS), [])
    assert sorted(told["authority"] for told in found["kinds"]) == sorted(member.authority for member in pair)
    assert all(len(told["activations"]) <= 1 for told in found["kinds"])


def test_a_blocked_member_holds_nothing_until_it_is_unblocked(own_pair: tuple[Node, Node]):
    first, second = own_pair
    call_all(own_pair)  # so that there is something to move
    code, [told], _ = operate(own_pair, "block", second.authority)
    assert (code, told["changed"], told["all_blocked"]) == (0, True, [second.authority])
    call_all(own_pair)
    _, [found], _ = operate_until_all_answer(own_pair, "grains")
    counts = {told["authority"]: told["count"] for told in found["kinds"]}
    assert counts == {first.authority: len(KEYS), second.authority: 0}
    code, [told], _ = operate(own_pair, "unblock", second.authority)
    assert (code, told["changed"], told["all_blocked"]) == (0, True, [])


def test_a_drained_member_ends_well_and_events_tell_of_it(own_pair: tuple[Node, Node]):
    first, second = own_pair
    call_all(own_pair)  # so that there is something to hand over
    with following(first, "--type", "MemberEvent", "--at", first.authority) as events:
        code, [told], _ = operate(own_pair, "drain", second.authority, "--timeout", "5")
        assert (code, told["authority"], told["left"], told["timed_out_count"]) == (0, second.authority, True, 0)
        assert told["handed_over"] == told["activations"]
        seen = lines_until(events, "MemberRemoved")
        assert {event["member"]["authority"] for event in seen} == {second.authority}
        events.send_signal(signal.SIGINT)
        assert events.wait(WAIT_S) == 130
    assert second.rest()[-1] == {"event": "left", "authority": second.authority}
    assert second.process.returncode == 0
    code, _, complaint = operate(own_pair, "drain", second.authority)
    assert code == 1 and f"members are {first.authority}" in complaint
    call_all(own_pair)


def test_names_of_events_are_shown_and_wrong_ones_corrected(tmp_path: Path):
    code, [told], _ = run("events")
    assert code == 0 and "ActivationTerminated" in told["events"]
    code, _, complaint = run("events", "--follow", "--type", "MemberUpp", "--seeds", "127.0.0.1:1", *OPTIONS)
    assert code == 1 and "did you mean MemberUp?" in complaint


@pytest.mark.parametrize("identity", [("Shop", ""), ("no kind", "a")], ids=["key", "kind"])
def test_where_of_what_names_no_grain_is_a_usage_error_and_asks_nobody(identity: tuple[str, str]):
    code, [told], complaint = run("where", *identity, "--seeds", "127.0.0.1:1", *OPTIONS)
    assert (code, told["error"]["code"]) == (2, "invalid_pid")
    assert told["error"]["reason"] in complaint
