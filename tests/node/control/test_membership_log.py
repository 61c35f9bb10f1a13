"""What a member logs of its cluster, in words for people; and that ordinary starts warn of nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import inaho
from inaho import Grain, Reminder
from inaho.events import (
    AuthorityCollision,
    BlockListChanged,
    DoubtEnded,
    MemberReachable,
    MemberRemoved,
    MemberUnreachable,
    NodePaused,
    SelfRemoved,
    ViewConflict,
    ViewRefused,
)
from inaho.runtime.control.membership_log import MEMBERSHIP_LOGGER


class Cart(Grain):
    async def add(self) -> None: ...


class Basket(inaho.Struct):
    n: int = 0


class Reminded(Grain[Basket]):
    async def on_reminder(self, reminder: Reminder) -> None: ...


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[tuple[str, str, str]]]:
    """All that inaho has logged at INFO and above: logger, level, text."""
    found: list[tuple[str, str, str]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((record.name, record.levelname, record.getMessage()))

    handler = Kept(logging.INFO)
    with caplog.at_level(logging.INFO, "inaho"):
        logging.getLogger("inaho").addHandler(handler)
        yield found
        logging.getLogger("inaho").removeHandler(handler)


def said_by(lines: list[tuple[str, str, str]], authority: str) -> list[tuple[str, str]]:
    """Level and text of what one member said of its cluster."""
    start = f"{authority}: "
    return [
        (level, text[len(start) :])
        for name, level, text in lines
        if name == MEMBERSHIP_LOGGER and text.startswith(start)
    ]


def unusual(lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Lines above INFO, but those of a machine that let this process wait for long: they are not about the cluster."""
    return [line for line in lines if line[1] != "INFO" and "this process did not run for" not in line[2]]


async def test_joins_and_leaves_are_logged_in_plain_words(fleet: Any, eventually: Any, lines: Any):
    first = await fleet.member(Cart)
    second = await fleet.member(Cart)
    joined = f"{second.authority} (node {second.self.node_id}) joined; it hosts Cart"
    await eventually(lambda: ("INFO", joined) in said_by(lines, first.authority))
    assert ("INFO", f"this node (node {first.self.node_id}) founded cluster 'inaho'") in said_by(lines, first.authority)
    seen = said_by(lines, second.authority)
    assert ("INFO", f"this node (node {second.self.node_id}) joined cluster 'inaho'") in seen
    assert ("INFO", f"{first.authority} (node {first.self.node_id}) is a member; it hosts Cart") in seen
    await second.leave()
    await eventually(lambda: ("INFO", f"{second.authority} left") in said_by(lines, first.authority))
    assert ("INFO", f"{second.authority} leaves: others take over its grains") in said_by(lines, first.authority)
    assert unusual(lines) == []


async def test_what_goes_wrong_is_a_warning_with_authority_and_reason(fleet: Any, lines: Any):
    cluster = await fleet.member(Cart)
    node, me = cluster._node, cluster.self
    other = inaho.Member("10.0.0.6:7700", "ab" * 8, 1, inaho.MemberStatus.UNREACHABLE)
    for event in (
        MemberUnreachable(member=other, reason="dead"),
        MemberReachable(member=other, reason="refuted"),
        MemberRemoved(member=other),
        MemberRemoved(member=other, reason="replaced"),
        SelfRemoved(member=me, reason="view refused"),
        NodePaused(gap_s=3.25),
        DoubtEnded(authority=other.authority, node_id=other.node_id, outcome="expired", lasted_s=3600.0),
        AuthorityCollision(authority=other.authority, node_id="a", claimed_by="b", reason="r"),
        BlockListChanged(authority=other.authority, blocked=True),
        BlockListChanged(authority=other.authority, blocked=False),
        ViewConflict(authority=other.authority, reason="numbers are equal"),
        ViewRefused(authority=other.authority, refused="ours", rule="seeds"),
        ViewRefused(authority=other.authority, refused="theirs", rule="seeds"),
    ):
        node.local.publish(event)
    said = said_by(lines, cluster.authority)[-13:]
    assert [level for level, _ in said] == [
        "WARNING", "INFO", "WARNING", "WARNING", "WARNING", "WARNING", "WARNING", "WARNING",
        "INFO", "INFO", "WARNING", "WARNING", "INFO",
    ]  # fmt: skip
    assert said[0][1].startswith("10.0.0.6:7700 is unreachable: its process has ended; others take over")
    assert said[1][1] == "10.0.0.6:7700 is reachable again: refuted"
    assert said[2][1] == f"10.0.0.6:7700 (node {other.node_id}) was removed"
    assert "removed this node: the view of the other members holds; its activations end" in said[4][1]
    assert "did not run for 3.2 s" in said[5][1]
    assert "numbers are equal" in said[10][1] and "inaho settle" in said[10][1]


async def test_a_doubt_is_told_when_it_begins_and_when_the_last_one_ends(fleet: Any, eventually: Any, lines: Any):
    one = inaho.Member("10.0.0.6:7700", "ab" * 8, 1, inaho.MemberStatus.UNREACHABLE)
    other = inaho.Member("10.0.0.7:7700", "cd" * 8, 1, inaho.MemberStatus.UNREACHABLE)
    cluster = await fleet.member(Reminded)
    freshness = cluster._node.freshness
    for member in (one, other):
        freshness.notice(MemberUnreachable(member=member, reason="dead"))
    await eventually(lambda: any("10.0.0.6:7700 may have taken over" in text for _, _, text in lines))
    freshness.is_harmless(one.node_id, "left")
    freshness.is_harmless(other.node_id, "replaced")
    said = [text for _, text in said_by(lines, cluster.authority)]
    assert said[-1] == "no member is doubted any more (10.0.0.7:7700: replaced)"
    assert sum("may have taken over" in text or "doubted" in text for text in said) == 2


async def test_a_client_says_that_it_has_lost_the_cluster_and_has_found_it_again(fleet: Any, lines: Any):
    await fleet.member(Cart)
    client = await fleet.client()
    gateway = client._node.gateway
    assert lines[-1] == ("inaho.membership", "INFO", "client of cluster 'inaho': connected, members: 1")
    before = len(lines)
    for now, alive in ((10.0, False), (10.5, False), (11.0, True), (20.0, False), (21.0, False), (22.0, False)):
        gateway._log_state(now, alive=alive)
    gateway._log_state(82.0, alive=False)
    gateway._log_state(82.5, alive=True)
    told = [(level, text) for _, level, text in lines[before:]]
    assert [level for level, _ in told] == ["WARNING", "WARNING", "INFO"]
    assert told[0][1].startswith("client of cluster 'inaho': no member has answered for 1.0 s")
    assert told[0][1].endswith("127.0.0.1:7700")
    assert told[2][1] == "client of cluster 'inaho': a member answers again after 62.5 s"


async def test_what_repeats_is_counted_and_told_once(fleet: Any, lines: Any):
    cluster = await fleet.member(Cart, membership={"log_lines_max": 2, "log_period_s": 5.0})
    node = cluster._node
    other = inaho.Member("10.0.0.6:7700", "ab" * 8, 1, inaho.MemberStatus.UNREACHABLE)
    for _ in range(10):
        node.local.publish(MemberUnreachable(member=other, reason="silent"))
    node.membership_log.tick(node.local.loop.time() + 6.0)
    said = [text for _, text in said_by(lines, cluster.authority) if "10.0.0.6" in text]
    assert len(said) == 3
    assert said[2] == "8 further events (MemberUnreachable of 10.0.0.6:7700) within 5 s were not logged"
    node.membership_log.check()


async def test_waiting_for_a_member_is_told_a_few_times_and_then_counted(fleet: Any, lines: Any):
    cluster = await fleet.member(Cart, membership={"log_lines_max": 2, "log_period_s": 5.0})
    node = cluster._node
    for number in range(10):
        node.waiting_warnings.tell("10.0.0.6:7700", f"did not release Cart/{number} yet", TimeoutError())
    node.waiting_warnings.tell("10.0.0.7:7700", "did not release Cart/7 yet", inaho.Unreachable("no route"))
    node.waiting_warnings.check()
    node.waiting_warnings.tick(node.local.loop.time() + 6.0)
    assert [text for name, _, text in lines if name == "inaho.node"] == [
        "10.0.0.6:7700 did not release Cart/0 yet: TimeoutError: no answer in time",
        "10.0.0.6:7700 did not release Cart/1 yet: TimeoutError: no answer in time",
        "10.0.0.7:7700 did not release Cart/7 yet: Unreachable: no route; retry when the membership has settled",
        "8 further lines about waiting for 10.0.0.6:7700 within 5 s were not logged",
    ]


async def test_retries_of_inahos_own_calls_are_told_when_they_go_on(fleet: Any, lines: Any):
    cluster = await fleet.member(Cart)
    for attempt in range(1, 11):
        error = inaho.OwnershipChanged("elsewhere")
        cluster._node.retry_warnings.retrying("inaho.reminders", "36", "verify", error, attempt, 0.01)
    told = [text for name, _, text in lines if name == "inaho.rpc"]
    assert [text.split(", retrying")[0] for text in told] == ["inaho.reminders/36.verify failed at attempt 10"]
    cluster._node.retry_warnings.retrying("Cart", "k", "add", inaho.Unreachable("no route"), 1, 0.01)
    assert lines[-1][1:2] == ("WARNING",)
    assert "Cart/k.add failed at attempt 1" in lines[-1][2]


async def test_retries_of_calls_whose_identity_moves_are_warnings_when_they_go_on(fleet: Any, lines: Any):
    cluster = await fleet.member(Cart, rpc={"retry_warnings_max": 2, "retry_warnings_period_s": 5.0})
    warnings = cluster._node.retry_warnings
    for error in (inaho.OwnershipChanged("elsewhere"), inaho.ShuttingDown("it leaves"), inaho.TopologyUnavailable("")):
        for attempt in range(1, 4):
            warnings.retrying("Cart", "k", "add", error, attempt, 0.01)
    warnings.tick(cluster._node.local.loop.time() + 6.0)
    told = [(level, text.split(", retrying")[0]) for name, level, text in lines if name == "inaho.rpc"]
    assert told == [
        ("INFO", "Cart/k.add failed at attempt 1"),
        ("INFO", "Cart/k.add failed at attempt 2"),
        ("WARNING", "Cart/k.add failed at attempt 3"),
        ("WARNING", "Cart/k.add failed at attempt 3"),
        ("INFO", "4 further retries of Cart within 5 s were not logged"),
        ("WARNING", "1 further retries of Cart within 5 s were not logged"),
    ]


async def test_an_ordinary_start_warns_of_nothing(fleet: Any, eventually: Any, lines: Any):
    clusters = [await fleet.member(Reminded) for _ in range(3)]
    await eventually(
        lambda: (
            sum(len(cluster._node.hosts["inaho.reminders"].activations) for cluster in clusters)
            >= clusters[0].config.activation.reminder_shards
        )
    )
    assert unusual(lines) == []
