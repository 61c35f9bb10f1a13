"""The bytes of inaho 0.1, as its code wrote them, and what the code of today makes of them.

What is stored (states, reminders) must be read for good. What travels is read by those who have agreed on it in the
handshake, so the records here show that an addition has left the older form readable.

The files in `bytes_0_1/` were written once, by the code of 0.1, with `INAHO_TEST_FREEZE_BYTES=1`. They are never
written again: a difference is a change of a format, which needs a version of its own.
"""

from __future__ import annotations

import msgspec
import pytest

import inaho
from inaho.actor.ref import StopReason
from inaho.core.messages import ControlMessage
from inaho.errors import StateConflict
from inaho.runtime.control.driver import decode_control
from inaho.wire import frames
from inaho.wire.codec import decoder
from inaho.wire.exceptions import decode_failure
from inaho.wire.frames import CallFields, Definition, Goodbye, TopologyPush, unpack_fields
from inaho.wire.letters import decode_letter, decode_value
from inaho.wire.stored import unpack_state
from support.bytes_0_1 import (
    ARGUMENTS,
    CHAIN,
    CONTROL,
    DEFINITION,
    FREEZE,
    LETTERS,
    STATES,
    TOPOLOGY,
    TRACE,
    WRITERS,
    SoldOutError,
    freeze,
    frozen,
)


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


if FREEZE:

    def test_freeze() -> None:
        for group in WRITERS:
            freeze(group)
