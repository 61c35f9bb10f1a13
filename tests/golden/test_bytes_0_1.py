"""The bytes of inaho 0.1, as its code wrote them, and what the code of today makes of them.

What is stored (states, reminders, the file of SQLite) must be read for good. What travels is read by those who have
agreed on it in the handshake, so the records here show that an addition has left the older form readable.

The files in `bytes_0_1/` were written once, by the code of 0.1, with `INAHO_TEST_FREEZE_BYTES=1`. They are never
written again: a difference is a change of a format, which needs a version of its own.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

import inaho
from inaho import Grain, Struct
from inaho.actor.ref import StopReason
from inaho.core import messages
from inaho.core.activation.reminders import Reminder, ReminderRecord
from inaho.core.messages import ControlMessage
from inaho.errors import (
    AuthenticationFailed,
    InahoError,
    Overloaded,
    StateConflict,
    VersionMismatch,
    WrongCluster,
)
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.control.driver import decode_control
from inaho.runtime.operators.terminations import Termination
from inaho.runtime.placement.activation_requests import ActivationRequest, ActivationResponse
from inaho.runtime.reminders.shard import ReminderShard
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot
from inaho.wire import frames
from inaho.wire.codec import decoder, encode
from inaho.wire.exceptions import GrainError, decode_failure, encode_failure, register_exception
from inaho.wire.features import RELEASE
from inaho.wire.frames import CallFields, ChainLink, Definition, Goodbye, TopologyPush, pack_fields, unpack_fields
from inaho.wire.handshake import Handshake, HandshakeConfig
from inaho.wire.letters import decode_letter, decode_value, encode_letter, encode_value
from inaho.wire.stored import unpack_state

HERE = Path(__file__).parent / "bytes_0_1"
FREEZE = os.environ.get("INAHO_TEST_FREEZE_BYTES", "") == "1"
SECRET = "the secret of the shop"
DUE = 4_102_444_800.0  # the year 2100: nothing that is stored here becomes due in a test

# --- Values, each with the bytes that it had and how it is read.


class Cart(Struct):
    """State as a Struct."""

    items: dict[str, int] = {}  # noqa: RUF012  Structs copy mutable defaults
    note: str = ""


@dataclasses.dataclass
class Purse:
    """State as a dataclass."""

    cents: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


class Letterbox(pydantic.BaseModel):
    """State as a pydantic model."""

    letters: list[str] = []
    owner: str | None = None


class SoldOutError(GrainError):
    """A user's exception with a constructor of its own."""

    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"{left} of {sku} are left")
        self.sku = sku
        self.left = left


register_exception(SoldOutError, "golden.SoldOut")

MEMBER = Member("10.0.0.1:7700", "0123456789abcdef", 4_294_967_297, MemberStatus.UP, ("Cart",), 2.0, ("shop",))
GONE = Member("10.0.0.2:7700", "fedcba9876543210", 8_589_934_593, MemberStatus.REMOVED)
TOPOLOGY = TopologySnapshot(7, 2**63 + 5, (MEMBER,), ("10.0.0.3:7700",))
ENTRY = messages.Entry("0123456789abcdef", 3, GONE, "dead", ("aaaabbbbccccdddd",))
LINE = messages.OriginVersion("0123456789abcdef", 3)
BLOCK = messages.BlockNotice("10.0.0.3:7700", 2, True)
TABLE = messages.TableSnapshot(3, (LINE,), (ENTRY,), (BLOCK,))
MARK = messages.Mark(4_294_967_297, 3, 2**63 + 5, 0.25, 9, 1200)
NEWS = messages.News(
    (messages.MembershipDelta("0123456789abcdef", 1, 3, (ENTRY,)),),
    (messages.Accusation("10.0.0.2:7700", "fedcba9876543210", 8_589_934_593, "0123456789abcdef", "silent"),),
    (BLOCK,),
    (messages.LoadNotice("0123456789abcdef", 9, 1200),),
)
CONTROL: tuple[ControlMessage, ...] = (
    messages.JoinRequest(MEMBER),
    messages.JoinAccepted(MEMBER, TABLE),
    messages.JoinRefused("join_refused", "the authority is taken", True, "fedcba9876543210"),
    messages.Probe(5, "fedcba9876543210", MARK, NEWS),
    messages.ProbeAck(5, "fedcba9876543210", MARK, NEWS),
    messages.ProbeRequest(6, "10.0.0.2:7700", "fedcba9876543210", MARK),
    messages.ProbeResponse(6, "fedcba9876543210", False),
    messages.Gossip(MARK, NEWS, (LINE,)),
    messages.GossipAck(MARK, (LINE,)),
    messages.Digest(MARK, (LINE,)),
    messages.FullTable(MARK, TABLE, True),
    messages.ViewVerdict(MARK, GONE, ("10.0.0.1:7700",), ("10.0.0.1:7700", "10.0.0.2:7700"), "operator"),
)
CHAIN = (ChainLink("Cart", "alice", "0123456789abcdef", 12), ChainLink("Purse", "bob", "fedcba9876543210", 1))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEFINITION = Definition("Cart", "add", "(sku: str, n: int) -> int", 2, 5000, False)
RECORD = ActivationRecord(True, 4, 4_294_967_299, b"\x81\xa1a\x01", "10.0.0.1:7700", True)
REMINDERS = ReminderShard(
    64,
    [
        ReminderRecord("Alarm", "alice", "wake", DUE),
        ReminderRecord("Alarm", "bob", "daily", DUE, 86_400.0, "all", 3),
    ],
)
STATES: dict[str, Any] = {
    "struct": Cart({"apple": 2, "稲穂": 1}, "soon"),
    "struct_empty": Cart(),
    "dataclass": Purse(1234, ["a", "b"]),
    "pydantic": Letterbox(letters=["hello"], owner="ann"),
    "reminders": REMINDERS,
    "reminders_empty": ReminderShard(),
}
LETTERS: dict[str, Any] = {
    "none": None,
    "int": -7,
    "text": "hello",
    "bytes": b"\x00\x01",
    "list": [1, "two", None],
    "dict": {"a": [1.5, True]},
    "identity": ClusterIdentity("Cart", "alice"),
    "pid": Pid("10.0.0.1:7700", "0123456789abcdef", ClusterIdentity("Cart", "alice")),
    "member": MEMBER,
}
ARGUMENTS: dict[str, Any] = {
    "activation_record": RECORD,
    "activation_request": ActivationRequest("Cart", "alice", 4_294_967_299, 2**63 + 5, "0123456789abcdef", RECORD),
    "activation_response": ActivationResponse(4_294_967_299, "overloaded", "too many"),
    "reminder": Reminder("daily", DUE, 86_400.0, "all", 3, 2),
    "reminder_record": REMINDERS.records[1],
    "termination": Termination("Cart", "alice", "idle", DUE),
}


def raised(error: Exception) -> bytes:
    return encode_failure(error, identity="Cart/alice", authority="10.0.0.1:7700", executed=True)


FAILURES: dict[str, Exception] = {
    "ours": StateConflict("wrong version", identity="Cart/alice", maybe_executed=True),
    "builtin": ValueError("no such thing", 7),
    "registered": SoldOutError("apple", 3),
    "unregistered": type("Odd", (Exception,), {"__module__": "shop"})("odd"),
}


def make_frames() -> dict[str, bytes]:
    """One frame of each type; what has fields of its own with them."""
    flags, fields = pack_fields(1500, CHAIN, TRACE)
    letter = encode_letter("user/a", "user/b", "hello")
    path = b"user/a"
    named: dict[str, tuple[int, bytes, dict[str, int]]] = {
        "call": (frames.CALL, encode(("alice", "apple", 2)), {"method": 3, "correlation": 70_000}),
        "call_fields": (frames.CALL, fields + encode(("alice", "apple", 2)), {"flags": flags, "method": 3}),
        "reply": (frames.REPLY, encode(2), {"method": 3, "correlation": 70_000}),
        "error": (frames.ERROR, raised(FAILURES["ours"]), {"correlation": 70_000}),
        "cancel": (frames.CANCEL, b"", {"correlation": 70_000}),
        "items": (frames.ITEMS, encode([1, 2, 3]), {"correlation": 70_000}),
        "end": (frames.END, b"", {"correlation": 70_000}),
        "credit": (frames.CREDIT, b"", {"method": 64, "correlation": 70_000}),
        "define": (frames.DEFINE, encode(DEFINITION), {"method": 3}),
        "control": (frames.CONTROL, encode(CONTROL[3]), {}),
        "topology": (frames.TOPOLOGY, encode(TopologyPush(TOPOLOGY)), {}),
        "goodbye": (frames.GOODBYE, encode(Goodbye("shutting_down", "the node leaves")), {}),
        "tell": (frames.TELL, letter, {}),
        "ask": (frames.ASK, letter, {"correlation": 5}),
        "stop": (frames.STOP, path, {}),
        "acknowledge": (frames.ACKNOWLEDGE, b"", {"correlation": 17}),
        "answer": (frames.ANSWER, encode_value("fine"), {"correlation": 5}),
        "answer_failed": (frames.ANSWER, raised(FAILURES["builtin"]), {"flags": frames.FAILED, "correlation": 5}),
        "withdraw": (frames.WITHDRAW, b"", {"correlation": 5}),
        "watch": (frames.WATCH, path, {"correlation": 6}),
        "heartbeat": (frames.WATCH, b"inaho/heartbeat", {}),
        "unwatch": (frames.UNWATCH, b"", {"correlation": 6}),
        "terminated": (frames.TERMINATED, encode((StopReason.FAILED, True)), {"correlation": 6}),
    }
    return {name: frames.frame(kind, body, **header) for name, (kind, body, header) in named.items()}


def make_handshakes() -> dict[str, bytes]:
    """Each step of both sides with the nonces below, and every refusal that can be sent."""
    said: dict[str, bytes] = {}
    for secret, prefix in ((SECRET, "secret"), ("", "open")):
        for role in ("member", "client"):
            dialer, acceptor = pair(secret, role)
            hello = dialer.start()
            acceptor.start()
            answer, _, _ = acceptor.receive(hello)
            proof, _, _ = dialer.receive(answer)
            last, peer, _ = acceptor.receive(proof)
            assert peer is not None
            assert dialer.receive(last)[1] is not None
            said |= {
                f"{prefix}_{role}_1_dialer": hello,
                f"{prefix}_{role}_2_acceptor": answer,
                f"{prefix}_{role}_3_dialer": proof,
                f"{prefix}_{role}_4_acceptor": last,
            }
    for kind in (AuthenticationFailed, Overloaded, VersionMismatch, WrongCluster):
        _, acceptor = pair(SECRET, "member")
        acceptor.start()
        said[f"refusal_{kind.code}"] = acceptor.refuse(kind("why not"))
    return said


def pair(secret: str, role: Any) -> tuple[Handshake, Handshake]:
    authority = "10.0.0.2:7700" if role == "member" else ""
    dialer = HandshakeConfig(
        cluster="shop", node_id="fedcba9876543210", authority=authority, role=role, incarnation=9, secret=secret
    )
    acceptor = HandshakeConfig(
        cluster="shop", node_id="0123456789abcdef", authority="10.0.0.1:7700", incarnation=7, secret=secret
    )
    return Handshake("dialer", dialer, bytes(range(32))), Handshake("acceptor", acceptor, bytes(range(32, 64)))


WRITERS: dict[str, Callable[[], dict[str, bytes]]] = {
    "arguments": lambda: {name: encode(value) for name, value in ARGUMENTS.items()},
    "control": lambda: {type(message).__name__: encode(message) for message in CONTROL},
    "exceptions": lambda: {name: raised(error) for name, error in FAILURES.items()},
    "frames": make_frames,
    "handshakes": make_handshakes,
    "letters": lambda: {name: encode_letter("user/a", "user/b", value) for name, value in LETTERS.items()},
    "states": lambda: {name: encode(value) for name, value in STATES.items()},
}


def frozen(group: str) -> dict[str, bytes]:
    """What the code of 0.1 wrote, by name."""
    lines = (HERE / f"{group}.txt").read_text().splitlines()
    return {name: bytes.fromhex(data) for name, _, data in (line.partition(" ") for line in lines)}


def freeze(group: str) -> None:
    said = WRITERS[group]()
    (HERE / f"{group}.txt").write_text("".join(f"{name} {data.hex()}\n" for name, data in sorted(said.items())))


# --- What the code of today reads in them.


@pytest.mark.parametrize("group", WRITERS)
def test_all_that_was_written_has_its_record(group: str) -> None:
    assert sorted(frozen(group)) == sorted(WRITERS[group]())


@pytest.mark.parametrize("name", STATES)
def test_state_is_read(name: str) -> None:
    value = STATES[name]
    assert decoder(type(value))(unpack_state(frozen("states")[name])) == value


@pytest.mark.parametrize("name", LETTERS)
def test_letter_is_read(name: str) -> None:
    recipient, sender, kind, value = decode_letter(frozen("letters")[name])
    assert (recipient, sender) == ("user/a", "user/b")
    assert decode_value(kind, value, 100) == LETTERS[name]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_argument_of_a_system_call_is_read(name: str) -> None:
    value = ARGUMENTS[name]
    assert decoder(type(value))(frozen("arguments")[name]) == value


@pytest.mark.parametrize("message", CONTROL, ids=lambda message: type(message).__name__)
def test_control_message_is_read(message: ControlMessage) -> None:
    assert decode_control(memoryview(frozen("control")[type(message).__name__])) == message


def test_exceptions_are_read() -> None:
    read = {name: decode_failure(body) for name, body in frozen("exceptions").items()}
    ours, builtin, registered, odd = (read[name] for name in ("ours", "builtin", "registered", "unregistered"))
    assert type(ours) is StateConflict
    assert (ours.reason, ours.identity, ours.maybe_executed) == ("wrong version", "Cart/alice", True)
    assert type(builtin) is ValueError
    assert builtin.args == ("no such thing", 7)
    assert type(registered) is SoldOutError
    assert (registered.sku, registered.left) == ("apple", 3)
    assert type(odd) is inaho.RemoteError
    assert (odd.type_name, odd.message, odd.maybe_executed) == ("shop.Odd", "odd", True)


def test_frames_are_read() -> None:
    for name, data in frozen("frames").items():
        length, kind, flags, method, correlation = frames.HEADER.unpack_from(data)
        body = data[frames.HEADER_BYTES :]
        assert length == len(data) - 4, name
        assert frames.frame(kind, body, flags=flags, method=method, correlation=correlation) == data, name
    said = frozen("frames")
    fields, body = unpack_fields(said["call_fields"][5], memoryview(said["call_fields"])[frames.HEADER_BYTES :])
    assert fields == CallFields(1500, CHAIN, TRACE)
    assert msgspec.msgpack.decode(body) == ["alice", "apple", 2]
    for name, kind, value in (
        ("define", Definition, DEFINITION),
        ("topology", TopologyPush, TopologyPush(TOPOLOGY)),
        ("goodbye", Goodbye, Goodbye("shutting_down", "the node leaves")),
        ("terminated", tuple[StopReason, bool], (StopReason.FAILED, True)),
    ):
        assert decoder(kind)(said[name][frames.HEADER_BYTES :]) == value, name


def refusing(handshake: Handshake, data: bytes) -> VersionMismatch:
    with pytest.raises(VersionMismatch) as refused:
        handshake.receive(data)
    return refused.value


@pytest.mark.parametrize("secret", ["secret", "open"])
def test_a_member_of_0_1_that_dials_us_is_refused_by_name(secret: str) -> None:
    _, acceptor = pair(SECRET if secret == "secret" else "", "member")
    acceptor.start()
    error = refusing(acceptor, frozen("handshakes")[f"{secret}_member_1_dialer"])
    assert "the dialer, 10.0.0.2:7700 (inaho 0.1), speaks protocol [1]" in error.reason
    assert f"the acceptor, 10.0.0.1:7700 (inaho {RELEASE}), speaks protocol [2]" in error.reason
    assert "end all nodes before the first one of the new release starts" in str(error)
    # What it is told has both versions too, in the form of refusal that it reads.
    refusal = msgspec.msgpack.decode(acceptor.farewell[9:])
    assert refusal[0] == "version_mismatch"
    assert "(inaho 0.1), speaks protocol [1]" in refusal[1]
    assert f"(inaho {RELEASE}), speaks protocol [2]" in refusal[1]


def test_a_client_of_0_1_is_refused_by_name() -> None:
    _, acceptor = pair(SECRET, "client")
    acceptor.start()
    error = refusing(acceptor, frozen("handshakes")["secret_client_1_dialer"])
    assert "client fedcba9876543210 (inaho 0.1), speaks protocol [1]" in error.reason


def test_a_member_of_0_1_that_we_dial_refuses_and_is_named() -> None:
    dialer, _ = pair(SECRET, "member")
    dialer.start()
    error = refusing(dialer, frozen("handshakes")["refusal_version_mismatch"])
    assert "the peer, inaho 0.1, speaks protocol [1]" in error.reason
    assert f"this node, 10.0.0.2:7700 (inaho {RELEASE}), speaks protocol [2]" in error.reason


def test_a_hello_of_0_1_as_an_answer_is_refused_by_name() -> None:
    dialer, _ = pair(SECRET, "member")
    dialer.start()
    error = refusing(dialer, frozen("handshakes")["secret_member_2_acceptor"])
    assert "the acceptor, 10.0.0.1:7700 (inaho 0.1), speaks protocol [1]" in error.reason


@pytest.mark.parametrize("name", ["authentication_failed", "overloaded", "wrong_cluster"])
def test_a_refusal_of_0_1_is_read(name: str) -> None:
    dialer, _ = pair(SECRET, "member")
    dialer.start()
    with pytest.raises(InahoError, match="refused by the peer: why not") as raised_error:
        dialer.receive(frozen("handshakes")[f"refusal_{name}"])
    assert raised_error.value.code == name


# --- A whole file of SQLite.


class StructGrain(Grain[Cart], name="golden.struct"):
    """Its state is a Struct."""

    async def keep(self, value: Cart) -> None:
        self.state = value
        await self.save()

    async def drop(self) -> None:
        await self.clear()

    async def kept(self) -> Cart:
        return self.state


class DataclassGrain(Grain[Purse], name="golden.dataclass"):
    """Its state is a dataclass."""

    async def keep(self, value: Purse) -> None:
        self.state = value
        await self.save()

    async def kept(self) -> Purse:
        return self.state


class PydanticGrain(Grain[Letterbox], name="golden.pydantic"):
    """Its state is a pydantic model."""

    async def keep(self, value: Letterbox) -> None:
        self.state = value
        await self.save()

    async def kept(self) -> Letterbox:
        return self.state


class Alarm(Grain, name="golden.alarm"):
    """Has reminders."""

    async def on_reminder(self, reminder: Reminder) -> None:
        raise AssertionError(f"{reminder} is not due in this century")

    async def set(self) -> None:
        when = datetime.fromtimestamp(DUE, UTC)
        await self.remind("once", when)
        await self.remind("daily", when, 86_400.0, catch_up="all")

    async def listed(self) -> list[Reminder]:
        return await self.reminders()


GRAINS = [StructGrain, DataclassGrain, PydanticGrain, Alarm]
DUMP = HERE / "storage.sql"


async def freeze_file(folder: Path) -> None:
    path = folder / "state.db"
    async with inaho.join("127.0.0.1:0", grains=GRAINS, storage=f"sqlite:///{path}") as cluster:
        await cluster.grain(StructGrain, "a").keep(STATES["struct"])
        await cluster.grain(StructGrain, "a").keep(STATES["struct"])
        await cluster.grain(StructGrain, "gone").keep(STATES["struct"])
        await cluster.grain(StructGrain, "gone").drop()
        await cluster.grain(DataclassGrain, "a").keep(STATES["dataclass"])
        await cluster.grain(PydanticGrain, "a").keep(STATES["pydantic"])
        await cluster.grain(Alarm, "a").set()
    connection = sqlite3.connect(path)
    pragmas = [
        f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
        for name in ("application_id", "user_version")
    ]
    DUMP.write_text("\n".join([*pragmas, *connection.iterdump()]) + "\n")
    connection.close()


if FREEZE:

    async def test_freeze(tmp_path: Path) -> None:
        for group in WRITERS:
            freeze(group)
        await freeze_file(tmp_path)


async def test_a_file_of_0_1_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(DUMP.read_text())
    connection.close()
    struct = STATES["struct"]
    for again in (False, True):  # the second time what this code has written
        async with inaho.join("127.0.0.1:0", grains=GRAINS, storage=f"sqlite:///{path}") as cluster:
            assert await cluster.grain(StructGrain, "a").kept() == (Cart(note="new") if again else struct)
            assert await cluster.grain(StructGrain, "gone").kept() == Cart()
            assert await cluster.grain(DataclassGrain, "a").kept() == STATES["dataclass"]
            assert await cluster.grain(PydanticGrain, "a").kept() == STATES["pydantic"]
            listed = await cluster.grain(Alarm, "a").listed()
            assert [(each.name, each.due, each.period_s, each.catch_up) for each in listed] == [
                ("daily", DUE, 86_400.0, "all"),
                ("once", DUE, 0.0, "once"),
            ]
            await cluster.grain(StructGrain, "a").keep(Cart(note="new"))
            await cluster.grain(DataclassGrain, "a").keep(STATES["dataclass"])
            await cluster.grain(PydanticGrain, "a").keep(STATES["pydantic"])
            await cluster.grain(Alarm, "a").set()
