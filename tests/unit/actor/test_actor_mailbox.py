"""The queue of one actor: order, bound, policies, and what control messages are spared."""

from __future__ import annotations

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import DataObject, data, integers, sampled_from

from inaho.actor import MailboxConfig
from inaho.actor.mailbox import Mailbox
from inaho.actor.ref import Envelope
from inaho.errors import IllegalTransition, InvalidConfig, MailboxFull


def mailbox(capacity: int = 2, policy: str = "reject_new") -> Mailbox:
    return Mailbox(MailboxConfig(capacity=capacity, policy=policy), "inaho://test/user/a")


def test_reject_new_refuses_and_keeps_what_waits() -> None:
    box = mailbox()
    box.put(Envelope(1))
    box.put(Envelope(2))
    with pytest.raises(MailboxFull) as caught:
        box.put(Envelope(3))
    assert caught.value.identity == "inaho://test/user/a"
    assert not caught.value.maybe_executed
    assert [envelope.message for envelope in box.close()] == [1, 2]


def test_drop_oldest_gives_back_the_oldest_and_spares_control_messages() -> None:
    box = mailbox(policy="drop_oldest")
    box.put_control(Envelope("news", control=True))
    box.put(Envelope(1))
    box.put(Envelope(2))
    dropped = box.put(Envelope(3))
    assert dropped is not None
    assert dropped.message == 1
    taken = [envelope.message for envelope in iter(box.take, None)]
    assert taken == ["news", 2, 3]


def test_nothing_enters_behind_the_last_control_message() -> None:
    box = mailbox()
    box.put(Envelope(1))
    box.put(Envelope(2))
    box.put_control(Envelope("pill", control=True), last=True)
    box.put_control(Envelope("pill", control=True), last=True)
    assert not box.accepting
    assert len(box) == 2
    with pytest.raises(IllegalTransition):
        box.put(Envelope(3))
    taken = [envelope.message for envelope in iter(box.take, None)]
    assert taken == [1, 2, "pill"]


def test_a_withdrawn_place_is_free_at_once_and_husks_do_not_collect() -> None:
    box = mailbox(capacity=4)
    for _ in range(1000):
        envelope = Envelope("asked")
        box.put(envelope)
        box.withdraw(envelope)
        box.check()
        assert len(box._queue) <= 20  # pyright: ignore[reportPrivateUsage]  the bound is the point
        with pytest.raises(IllegalTransition):
            box.withdraw(envelope)
    assert box.take() is None


@pytest.mark.parametrize("bad", [{"capacity": 0}, {"policy": "block"}, {"batch_max": -1}])
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidConfig):
        MailboxConfig(**bad)  # type: ignore[arg-type]


class MailboxMachine(RuleBasedStateMachine):
    """The mailbox against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.box = mailbox(capacity=3, policy="drop_oldest")
        self.model: list[Envelope] = []

    @precondition(lambda self: self.box.accepting)
    @rule(message=integers())
    def put(self, message: int) -> None:
        envelope = Envelope(message)
        users = [kept for kept in self.model if not kept.control]
        dropped = self.box.put(envelope)
        assert (dropped is not None) == (len(users) == 3)
        if dropped is not None:
            assert dropped is users[0]
            self.model.remove(dropped)
        self.model.append(envelope)

    @precondition(lambda self: self.box.accepting)
    @rule(last=sampled_from([False, False, False, True]))
    def put_control(self, last: bool) -> None:
        envelope = Envelope("control", control=True)
        self.box.put_control(envelope, last=last)
        self.model.append(envelope)

    @rule()
    def take(self) -> None:
        assert self.box.take() is (self.model.pop(0) if self.model else None)

    @precondition(lambda self: any(not kept.control for kept in self.model))
    @rule(choice=data())
    def withdraw(self, choice: DataObject) -> None:
        envelope = choice.draw(sampled_from([kept for kept in self.model if not kept.control]))
        self.box.withdraw(envelope)
        self.model.remove(envelope)

    @rule()
    def close(self) -> None:
        assert self.box.close() == [kept for kept in self.model if not kept.control]
        self.model.clear()

    @invariant()
    def holds(self) -> None:
        self.box.check()
        assert len(self.box) == sum(not kept.control for kept in self.model)


TestMailboxMachine = MailboxMachine.TestCase
