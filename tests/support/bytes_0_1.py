"""The values whose bytes inaho 0.1 wrote, how they are written, and what it wrote (`tests/golden/bytes_0_1/`)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic

from inaho import Struct
from inaho.actor.ref import StopReason
from inaho.core import messages
from inaho.core.activation.reminders import Reminder, ReminderRecord
from inaho.core.messages import ControlMessage
from inaho.errors import AuthenticationFailed, Overloaded, StateConflict, VersionMismatch, WrongCluster
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.operators.terminations import Termination
from inaho.runtime.placement.activation_requests import ActivationRequest, ActivationResponse
from inaho.runtime.reminders.shard import ReminderShard
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot
from inaho.wire import frames
from inaho.wire.codec import encode
from inaho.wire.exceptions import GrainError, encode_failure, register_exception
from inaho.wire.frames import ChainLink, Definition, Goodbye, TopologyPush, pack_fields
from inaho.wire.handshake import Handshake, HandshakeConfig
from inaho.wire.letters import encode_letter, encode_value

HERE = Path(__file__).parents[1] / "golden/bytes_0_1"
FREEZE = os.environ.get("INAHO_TEST_FREEZE_BYTES", "") == "1"
SECRET = "the secret of the shop"
DUE = 4_102_444_800.0  # the year 2100: nothing that is stored here becomes due in a test


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
