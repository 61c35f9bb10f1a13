"""`inaho topics` as an operator runs it, against a real cluster (SPEC CL-9)."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
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


def shown(member: Node, *arguments: str) -> tuple[int, str, str]:
    """Exit code, and what a person sees on both outputs, in a terminal of 80 columns."""
    done = subprocess.run(
        [*COMMAND, "topics", *arguments, "--seeds", member.authority, *OPTIONS],
        env=environment() | {"COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def create(member: Node, name: str, kind: Any, *values: Any, **settings: Any) -> None:
    """A topic, with messages of the key `a`."""

    async def once() -> None:
        async with inaho.connect([member.authority], secret=SECRET, name=NAME) as cluster:
            topic = await cluster.topic(name, kind, **settings)
            await asyncio.gather(*(topic.publish(value, key="a") for value in values))

    asyncio.run(once())


def test_topics_are_listed_and_deleted(member: Node):
    create(member, "listed", int, delivery="at_least_once", partitions=2)
    code, [found], _ = topics(member, "list")
    assert (code, found["cluster"]) == (0, NAME)
    [listed] = [topic for topic in found["topics"] if topic["name"] == "listed"]
    assert (listed["delivery"], listed["message_type"], listed["partitions"]) == ("at_least_once", "int", 2)
    assert "listed" in shown(member, "list")[1]
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


# At most once.


@contextmanager
def subscribed(member: Node, topic: str, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """`inaho topics subscribe` that has subscribed."""
    with subprocess.Popen(
        [*COMMAND, "topics", "subscribe", topic, "--json", "--seeds", member.authority, *OPTIONS, *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == f"subscribed to {topic}\n".encode()
            yield process
        finally:
            process.kill()


def test_messages_at_most_once_reach_who_is_subscribed(member: Node):
    create(member, "direct", dict)
    code, [failed], _ = topics(member, "publish", "direct", "{}")
    assert (code, failed["error"]["code"]) == (1, "no_subscribers")
    with subscribed(member, "direct", "--count", "2") as process:
        assert topics(member, "publish", "direct", '{"n": 1}', "--key", "a")[0] == 0
        assert topics(member, "publish", "direct", "-", text='{"n": 2}\n')[0] == 0
        out, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
    written = [msgspec.json.decode(line) for line in out.splitlines()]
    assert [(each["value"], each["key"]) for each in written] == [({"n": 1}, "a"), ({"n": 2}, "")]
    code, [found], _ = topics(member, "show", "direct")
    assert (code, found["partitions"], found["topic"]["delivery"]) == (0, [], "at_most_once")


@pytest.mark.parametrize("command", [("lag",), ("dead-letters", "list"), ("dead-letters", "replay")])
def test_what_a_topic_at_most_once_does_not_have_is_wrong_use(member: Node, command: tuple[str, ...]):
    create(member, "plain", int)
    code, [failed], _ = topics(member, *command, "plain")
    assert (code, failed["error"]["code"]) == (2, "invalid_topic")


# At least once.


async def consume(member: Node, topic: str, count: int, handled: bool = True) -> list[Any]:
    """The first messages of the subscription `work`; acknowledged, or each given back."""
    async with (
        asyncio.timeout(WAIT_S),
        inaho.connect([member.authority], secret=SECRET, name=NAME) as cluster,
        (await cluster.topic(topic)).subscribe("work", start="earliest") as messages,
    ):
        values: list[Any] = []
        async for message in messages:
            values.append(message.value)
            await (message.ack() if handled else message.retry(0.01, "no rice"))
            if len(values) == count:
                break
        return values


def dead_letters_until_some(member: Node, topic: str) -> tuple[int, list[Any]]:
    """Exit code and dead letters, asked for until there is one."""
    until = time.monotonic() + WAIT_S
    while True:
        code, [found], _ = topics(member, "dead-letters", "list", topic)
        if found["dead_letters"] or time.monotonic() > until:
            return code, found["dead_letters"]


def test_published_messages_are_stored_and_written(member: Node):
    create(member, "stored", int, delivery="at_least_once", partitions=2)
    code, [told], _ = topics(member, "publish", "stored", "7", "--key", "a", "--id", "first")
    assert (code, told) == (0, {"topic": "stored", "published": 1})
    code, [told], _ = topics(member, "publish", "stored", "-", "--key", "a", text="8\n\n9\n")
    assert (code, told["published"]) == (0, 2)
    code, written, said = topics(member, "subscribe", "stored", "--start", "earliest", "--count", "3")
    assert (code, [each["value"] for each in written]) == (0, [7, 8, 9])
    assert {(each["key"], each["attempt"], each["missed"]) for each in written} == {("a", 1, 0)}
    assert "subscribed to stored" in said


def test_a_message_is_one_line_for_a_person(member: Node):
    create(
        member, "lines", dict, {"n": 1, "text": "two\nlines"}, delivery="at_least_once", partitions=1, retention_s=60.0
    )
    code, out, _ = shown(member, "subscribe", "lines", "--start", "earliest", "--count", "1")
    assert code == 0
    assert [line.partition(" a ")[2] for line in out.splitlines()] == ['{"n":1,"text":"two\\nlines"}']


def test_a_topic_at_most_once_has_no_start(member: Node):
    create(member, "startless", int)
    code, [failed], _ = topics(member, "subscribe", "startless", "--start", "earliest")
    assert (code, failed["error"]["code"]) == (2, "invalid_topic")


def test_partitions_are_shown(member: Node):
    create(member, "parted", int, 1, 2, 3, delivery="at_least_once", partitions=2)
    code, [found], _ = topics(member, "show", "parted")
    assert (code, found["silent"], found["topic"]["delivery"]) == (0, [], "at_least_once")
    assert found["silent_members"] == []
    assert [each["partition"] for each in found["partitions"]] == [0, 1]
    assert sum(each["end"] for each in found["partitions"]) == 3
    assert {each["authority"] for each in found["partitions"]} == {member.authority}
    assert "2 partitions" in shown(member, "show", "parted")[1]


def limits_until_some(member: Node, topic: str) -> list[Any]:
    """What members say limits the topic, asked for until one says something: they decide once a second."""
    until = time.monotonic() + WAIT_S
    while True:
        _, [found], _ = topics(member, "lag", topic)
        if found["bottlenecks"] or time.monotonic() > until:
            return found["bottlenecks"]


def test_lag_is_told_with_what_limits_the_topic_and_may_be_bounded(member: Node):
    create(member, "lagging", int, *range(1100), delivery="at_least_once", partitions=2, retention_s=600.0)
    arguments = ("--subscription", "work", "--start", "earliest", "--count", "1")
    code, [taken], _ = topics(member, "subscribe", "lagging", *arguments)
    assert (code, taken["value"], taken["attempt"]) == (0, 0, 1)
    code, [found], _ = topics(member, "lag", "lagging", "--max", "1099")
    [work] = found["subscriptions"]
    assert (code, work["name"], work["lag"], work["consumers"]) == (0, "work", 1099, [])
    [limit] = limits_until_some(member, "lagging")
    assert (limit["authority"], limit["stage"], limit["figure"]) == (member.authority, "subscriber", 1099)
    code, table, said = shown(member, "lag", "lagging", "--max", "1098")
    assert code == 1
    assert "subscription work has a lag of more than 1098" in said
    assert "work" in table
    assert "limited by: subscriber" in table
    assert "1099 messages are not settled" in table
    assert max(map(len, table.splitlines())) <= 80
    assert "limited by: subscriber" in shown(member, "show", "lagging")[1]


def test_one_subscription_is_deleted(member: Node):
    create(member, "left", int, 1, delivery="at_least_once", partitions=1, retention_s=600.0)
    assert asyncio.run(consume(member, "left", 1)) == [1]
    code, [deleted], _ = topics(member, "delete", "left", "--subscription", "work")
    assert (code, deleted["deleted"]) == (0, True)
    code, [deleted], said = topics(member, "delete", "left", "--subscription", "work")
    assert (code, deleted["deleted"]) == (1, False)
    assert "there is no subscription work of topic left" in said
    assert topics(member, "lag", "left")[1][0]["subscriptions"] == []


def test_dead_letters_are_listed_and_published_again_once(member: Node):
    create(member, "dying", int, 5, delivery="at_least_once", partitions=1, attempts_max=1, retention_s=600.0)
    assert topics(member, "dead-letters", "list", "dying")[:2] == (0, [{"topic": "dying", "dead_letters": []}])
    assert asyncio.run(consume(member, "dying", 1, handled=False)) == [5]
    code, [letter] = dead_letters_until_some(member, "dying")
    assert (code, letter["key"], letter["value"]["value"]) == (0, "a", 5)
    assert (letter["value"]["subscription"], letter["value"]["reason"]) == ("work", "no rice")
    assert topics(member, "dead-letters", "replay", "dying")[1] == [{"topic": "dying", "published": 1, "left": 0}]
    assert topics(member, "dead-letters", "replay", "dying")[1] == [{"topic": "dying", "published": 0, "left": 0}]
    assert asyncio.run(consume(member, "dying", 1)) == [5]
