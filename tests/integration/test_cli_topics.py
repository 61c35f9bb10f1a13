"""`inaho topics` as an operator runs it, against a real cluster (SPEC CL-9)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import inaho
from support.cli_processes import COMMAND, SECRET, WAIT_S, Node, environment, node

NAME = "topics"
OPTIONS = ("--secret", SECRET, "--name", NAME)


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("topics")
    with node(folder, *OPTIONS, "--storage", f"sqlite:{folder / 'state.sqlite'}") as member:
        yield member


def topics(member: Node, *arguments: str, text: str = "") -> tuple[int, list[Any], str]:
    """Exit code, the JSON documents on standard output, and standard error."""
    done = subprocess.run(
        [*COMMAND, "topics", *arguments, "--json", "--seeds", member.authority, *OPTIONS],
        env=environment(),
        input=text.encode(),
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, [msgspec.json.decode(line) for line in done.stdout.splitlines()], done.stderr.decode()


def shown(member: Node, *arguments: str) -> str:
    """What a person sees in a terminal of 80 columns."""
    done = subprocess.run(
        [*COMMAND, "topics", *arguments, "--seeds", member.authority, *OPTIONS],
        env=environment() | {"COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_S,
        check=True,
    )
    return done.stdout.decode()


def create(member: Node, name: str, kind: Any = int, **settings: Any) -> None:
    async def once() -> None:
        async with inaho.connect([member.authority], secret=SECRET, name=NAME) as cluster:
            await cluster.topic(name, kind, **settings)

    asyncio.run(once())


def test_topics_are_listed_and_deleted(member: Node):
    create(member, "listed", delivery="at_least_once", partitions=2)
    code, [found], _ = topics(member, "list")
    assert (code, found["cluster"]) == (0, NAME)
    [listed] = [topic for topic in found["topics"] if topic["name"] == "listed"]
    assert (listed["delivery"], listed["message_type"], listed["partitions"]) == ("at_least_once", "int", 2)
    assert "listed" in shown(member, "list")
    code, [deleted], _ = topics(member, "delete", "listed")
    assert (code, deleted) == (0, {"topic": "listed", "subscription": None, "deleted": True})
    code, [failed], told = topics(member, "delete", "listed")
    assert (code, failed["error"]["code"]) == (1, "no_such_topic")
    assert "there is no topic 'listed'" in told
    assert "listed" not in [topic["name"] for topic in topics(member, "list")[1][0]["topics"]]


@pytest.mark.parametrize("command", ["show", "lag"])
def test_unknown_topic_fails(member: Node, command: str):
    code, [failed], _ = topics(member, command, "nowhere")
    assert (code, failed["error"]["code"]) == (1, "no_such_topic")


@pytest.mark.parametrize("command", ["show", "lag", "subscribe"])
def test_name_that_no_topic_has_is_wrong_use(member: Node, command: str):
    code, [failed], _ = topics(member, command, "two words")
    assert (code, failed["error"]["code"]) == (2, "invalid_topic")


def test_start_that_is_none_is_wrong_use(member: Node):
    code, [failed], _ = topics(member, "subscribe", "any", "--start", "yesterday")
    assert (code, failed["error"]["code"]) == (2, "invalid_topic")
    assert "ISO time" in failed["error"]["reason"]
