"""What a node says and keeps carries versions: an older or newer peer, or state, is refused by name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

import inaho
from inaho import ClusterIdentity, Grain, MemoryStorage, SerializationFailed, SettingsMismatch, Struct, VersionMismatch
from inaho.config import ActivationConfig, ClusterConfig, TransportConfig
from inaho.core.activation.reminders import Reminder
from inaho.events import ConnectionRefused
from inaho.runtime.reminders.shard import ReminderShard, decode_shard
from inaho.wire.codec import encode
from inaho.wire.features import FEATURES, RELEASE, REMINDERS, STATE
from inaho.wire.stored import pack_state, unpack_state

BYTES = {
    name: bytes.fromhex(data)
    for name, data in (
        line.split(" ")
        for line in (Path(__file__).parents[2] / "golden/bytes_0_1/handshakes.txt").read_text().splitlines()
    )
}


class Note(Struct):
    """State of one text."""

    text: str = ""


class Notebook(Grain[Note], name="formats.notebook"):
    """Keeps a text."""

    async def write(self, text: str) -> None:
        self.state.text = text
        await self.save()

    async def read(self) -> str:
        return self.state.text


class Alarm(Grain, name="formats.alarm"):
    """Has reminders."""

    async def on_reminder(self, reminder: Reminder) -> None: ...

    async def set(self) -> None:
        await self.remind("wake", 1000.0)


class Where(Grain, name="formats.where"):
    """Says where it is."""

    async def at(self) -> str:
        return self.cluster.authority


# --- Peers.


async def test_a_member_of_0_1_that_dials_is_refused_and_named_in_the_event() -> None:
    refused: list[ConnectionRefused] = []
    async with inaho.join("127.0.0.1:0", grains=[], name="shop", storage="memory") as cluster:
        cluster.system.events.subscribe_callback(ConnectionRefused, refused.append)
        host, _, port = cluster.authority.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(BYTES["open_member_1_dialer"])
        told = await asyncio.wait_for(reader.read(), 10.0)
        writer.close()
        await writer.wait_closed()
        for text in (refused[0].reason, told.decode(errors="replace")):
            assert "10.0.0.2:7700 (inaho 0.1), speaks protocol [1]" in text
            assert f"{cluster.authority} (inaho {RELEASE}), speaks protocol [2]" in text
        assert refused[0].code == "version_mismatch"


async def test_joining_through_a_member_of_0_1_fails_at_once_and_names_it() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(BYTES["refusal_version_mismatch"])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    old = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        with pytest.raises(VersionMismatch) as raised:
            async with asyncio.timeout(10.0):
                await inaho.join("127.0.0.1:0", seeds=[old], name="shop", storage="memory")
    assert old in str(raised.value)
    assert "the peer, inaho 0.1, speaks protocol [1]" in str(raised.value)
    assert f"(inaho {RELEASE}), speaks protocol [2]" in str(raised.value)


async def test_connections_know_what_their_peers_speak(fleet: Any) -> None:
    one, other = await fleet.members(2)
    for cluster in (one, other):
        for connection in cluster._node.peers.connections.values():
            assert connection.peer.features == dict(FEATURES)
            assert connection.peer.release == RELEASE


# --- Settings.


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("activation", "partitions", 1024),
        ("activation", "reminder_shards", 8),
        ("transport", "frame_bytes_max", 1 << 19),
        ("membership", "members_max", 17),
    ],
)
async def test_a_member_with_another_shared_setting_is_refused_with_both_values(
    group: str, name: str, value: int, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[ConnectionRefused] = []
    plain = ClusterConfig()
    other = plain.replace(**{group: getattr(plain, group).replace(**{name: value})})
    async with inaho.join("127.0.0.1:0", storage="memory") as cluster:
        cluster.system.events.subscribe_callback(ConnectionRefused, refused.append)
        with pytest.raises(SettingsMismatch) as raised:
            async with asyncio.timeout(10.0):
                await inaho.join("127.0.0.1:0", seeds=[cluster.authority], config=other, storage="memory")
        common = getattr(getattr(plain, group), name)
        [logged] = [line for line in caplog.messages if line.startswith("a connection from 127.0.0.1:")]
        for text in (str(raised.value), refused[0].reason, logged):
            assert f"{group}.{name} is {value} at " in text
            assert f"and {common} at {cluster.authority}" in text


async def test_a_client_takes_the_settings_of_the_members() -> None:
    config = ClusterConfig(
        activation=ActivationConfig(partitions=64), transport=TransportConfig(frame_bytes_max=1 << 19)
    )
    async with (
        inaho.join("127.0.0.1:0", grains=[Where], config=config, storage="memory") as one,
        inaho.join("127.0.0.1:0", seeds=[one.authority], grains=[Where], config=config, storage="memory") as two,
        inaho.connect([one.authority]) as client,
    ):
        async with asyncio.timeout(10.0):
            while len(client.members()) < 2:
                await asyncio.sleep(0.01)
        lookup = client._node.topology.lookup
        assert client._node.local.config.transport.frame_bytes_max == 1 << 19
        for key in map(str, range(50)):
            at = await client.grain(Where, key).at()
            assert at == lookup.owner("formats.where", key).authority
            assert at in (one.authority, two.authority)


# --- States and reminders.


async def test_a_saved_state_says_its_format(fleet: Any) -> None:
    member = await fleet.member(Notebook)
    await member.grain(Notebook, "a").write("hello")
    stored = await fleet.storage.load(ClusterIdentity("formats.notebook", "a"))
    assert stored.data[:2] == bytes((0xC1, FEATURES[STATE]))
    assert msgspec.msgpack.decode(unpack_state(stored.data)) == {"text": "hello"}


async def stored_beforehand(storage: MemoryStorage, kind: str, key: str, data: bytes) -> None:
    async with storage:
        await storage.save(ClusterIdentity(kind, key), data, expected_version=0, epoch=0)


async def test_a_state_without_format_is_that_of_0_1(fleet: Any) -> None:
    await stored_beforehand(fleet.storage, "formats.notebook", "a", encode(Note("old")))
    member = await fleet.member(Notebook)
    assert await member.grain(Notebook, "a").read() == "old"


async def test_a_state_of_a_later_release_is_refused_with_both_formats(fleet: Any) -> None:
    await stored_beforehand(fleet.storage, "formats.notebook", "a", bytes((0xC1, 9)) + b"what it may be")
    member = await fleet.member(Notebook)
    with pytest.raises(SerializationFailed, match=r"in format 9, .* reads formats 1 to 2: run the later") as raised:
        await member.grain(Notebook, "a").read()
    assert "formats.notebook/a" in str(raised.value)


def test_a_state_that_ends_within_its_header_is_refused() -> None:
    with pytest.raises(SerializationFailed, match="ends within its header"):
        unpack_state(b"\xc1")


def test_a_packed_state_is_two_bytes_longer() -> None:
    assert len(pack_state(b"abc")) == 5
    assert unpack_state(pack_state(b"abc")) == b"abc"
    assert unpack_state(b"") == b""


def test_reminders_of_a_later_release_are_refused_with_both_formats() -> None:
    for records in ([], {"another": "shape"}):
        data = encode({"shards": 64, "records": records, "format": 9})
        with pytest.raises(SerializationFailed, match=r"reminders is in format 9, .* reads formats 1 to 2"):
            decode_shard(data)
    assert decode_shard(encode({"shards": 64, "records": []})) == ReminderShard(64, [], 1)


async def test_saved_reminders_say_their_format(fleet: Any) -> None:
    member = await fleet.member(Alarm)
    await member.grain(Alarm, "a").set()
    found = [await fleet.storage.load(ClusterIdentity("inaho.reminders", str(shard))) for shard in range(64)]
    shards = [decode_shard(unpack_state(each.data)) for each in found if each is not None]
    assert [shard.format for shard in shards if shard.records] == [FEATURES[REMINDERS]]
