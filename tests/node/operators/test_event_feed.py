"""Events of one member, followed from elsewhere as plain data."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from inaho import ClusterConfig, ClusterIdentity, Grain, InvalidArguments, Member, MemberStatus, TopologySnapshot
from inaho import events as all_events
from inaho.cli.commands.events import follow_events
from inaho.cli.output import Output
from inaho.events import (
    ActivationStarted,
    ActivationTerminated,
    DeadLetter,
    Event,
    MemberEvent,
    MemberUp,
    PidInvalidated,
    TopologyChanged,
)
from inaho.runtime.operators.event_feed import DEPTH_MAX, ITEMS_MAX, LOST, TEXT_MAX, describe_event, event_types


class Echo(Grain):
    async def echo(self) -> None: ...


def member(authority: str = "127.0.0.1:1") -> Member:
    return Member(authority, "a" * 16, 1, MemberStatus.UP, ("Echo",))


def test_types_are_found_by_name_and_mistakes_corrected():
    assert event_types(["MemberEvent", "DeadLetter"]) == (MemberEvent, DeadLetter)
    assert event_types([]) == (Event,)
    with pytest.raises(InvalidArguments, match="no event 'MemberUpp'; did you mean MemberUp"):
        event_types(["MemberUpp"])
    for name in ("ClusterIdentity", "msgspec", "__all__", "zzz"):
        with pytest.raises(InvalidArguments, match="no event"):
            event_types([name])


def test_an_event_becomes_plain_data():
    event = ActivationTerminated(identity=ClusterIdentity("K", "a"), reason="idle", authority="127.0.0.1:1", at=5.0)
    record = describe_event(event)
    assert (record.name, record.at) == ("ActivationTerminated", 5.0)
    assert record.fields == {"identity": "K/a", "reason": "idle", "authority": "127.0.0.1:1"}
    up = describe_event(MemberUp(member=member(), cause="n1"))
    assert up.fields["member"]["authority"] == "127.0.0.1:1"
    assert up.fields["member"]["status"] == "up"
    assert up.fields["cause"] == "n1"


def test_whatever_an_event_holds_the_record_is_bounded_and_can_be_sent():
    deep: Any = "x"
    for _ in range(3 * DEPTH_MAX):
        deep = [deep]
    hostile = {"long": "y" * 10 * TEXT_MAX, "deep": deep, "many": list(range(10 * ITEMS_MAX)), "odd": object()}
    record = describe_event(DeadLetter(recipient="a", sender="b", message=hostile, reason="r"))
    assert len(msgspec.json.encode(record)) < 64 << 10
    assert len(record.fields["message"]["many"]) == ITEMS_MAX
    assert len(record.fields["message"]["long"]) == TEXT_MAX
    vast = [["z" * 1000] * 500 for _ in range(500)]
    record = describe_event(DeadLetter(recipient="a", sender="b", message=vast, reason="r"))
    assert len(msgspec.json.encode(record)) < 64 << 10
    assert record.fields["recipient"] == "a"

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    rude = describe_event(DeadLetter(recipient="a", sender="b", message=Rude(), reason="r"))
    assert "Rude instance" in rude.fields["message"]
    huge = TopologyChanged(snapshot=TopologySnapshot(1, (1 << 64) - 1, (member(),)))
    assert describe_event(huge).fields["snapshot"]["hash"] == "0xffffffffffffffff"


@pytest.mark.parametrize("kind", [found for _, found in inspect.getmembers(all_events, inspect.isclass)])
def test_every_event_can_be_described(kind: type[Any]):
    if not issubclass(kind, Event):
        return
    values = {
        "member": member(), "identity": ClusterIdentity("K", "a"), "snapshot": TopologySnapshot(1, 1, ()),
        "message": object(), "behind": ("a",),
    }  # fmt: skip
    fields = {field.name: values.get(field.name, 1) for field in msgspec.structs.fields(kind) if field.required}
    record = describe_event(kind(**fields))
    assert msgspec.json.decode(msgspec.json.encode(record))["name"] == kind.__name__


async def test_a_client_follows_one_member(fleet: Any, eventually: Any):
    one, two = await fleet.members(2, Echo)
    client = await fleet.client()
    target = next(found for found in client.members() if found.authority == two.authority)
    key = fleet.key_at(two, Echo)
    async with aclosing(client.events_at(target, "ActivationStarted")) as feed:
        first = asyncio.ensure_future(anext(feed))
        await eventually(lambda: two._node.local.events_wanted(ActivationStarted))
        assert not one._node.local.events_wanted(ActivationStarted)
        await client.grain(Echo, fleet.key_at(one, Echo)).echo()
        await client.grain(Echo, key).echo()
        record = await first
        assert (record.name, record.fields["identity"]) == ("ActivationStarted", f"Echo/{key}")
        assert record.at > 0
    await eventually(lambda: not two._node.local.events_wanted(ActivationStarted))
    with pytest.raises(InvalidArguments, match="no event 'Nothing'"):
        await anext(aiter(client.events_at(target, "Nothing")))


async def test_who_reads_too_slowly_is_told_how_many_it_lost(fleet: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inaho.runtime.operators.event_feed.FEED_CAPACITY", 10)
    (one,) = await fleet.members(1, Echo)
    async with aclosing(one.events_at(one.self, "PidInvalidated")) as feed:
        first = asyncio.ensure_future(anext(feed))
        while not one._node.local.events_wanted(PidInvalidated):
            await asyncio.sleep(0)
        for number in range(1, 26):
            one._node.local.publish(PidInvalidated(kind="", key="", authority="", reason="", count=number))
        records = [await first] + [await anext(feed) for _ in range(10)]
        assert (records[0].name, records[0].fields) == (LOST, {"count": 15})
        assert [record.fields["count"] for record in records[1:]] == list(range(16, 26))


async def test_the_command_writes_them_until_it_has_enough_or_the_member_leaves(
    fleet: Any, eventually: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    fleet.settle = False
    one, two = await fleet.members(2, Echo)
    client = await fleet.client()
    settings = client.config.replace(seeds=(two.authority,))

    @asynccontextmanager
    async def connected(*, config: ClusterConfig) -> Any:
        yield client

    monkeypatch.setattr("inaho.connect", connected)

    async def follow(output: Output, count: int | None) -> int:
        names = ["ActivationStarted", "MemberEvent"]
        return await follow_events(output, settings, names, at=None, count=count)

    running = asyncio.ensure_future(follow(Output(as_json=True), 1))
    await eventually(lambda: two._node.local.events_wanted(ActivationStarted))
    key = fleet.key_at(two, Echo)
    await client.grain(Echo, key).echo()
    assert await running == 0
    shown = capsys.readouterr()
    assert msgspec.json.decode(shown.out)["identity"] == f"Echo/{key}"
    assert shown.err == f"following {two.authority}\n"

    running = asyncio.ensure_future(follow(Output(as_json=False), None))
    await eventually(lambda: two._node.local.events_wanted(ActivationStarted))
    await two.leave()
    assert await running == 0
    shown = capsys.readouterr()
    assert "MemberRemoved " in shown.out and "reason=left" in shown.out
    assert shown.err.endswith(f"{two.authority} has left\n")
    assert one.ready
