"""What a consumer hands out, and what its keepers are told."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inaho.core.pubsub.consumer_window import ConsumerWindow, DeliveryState, Held, Settled
from support.consumer_model import ACK_TIMEOUT_S, KEYS, ConsumerModel, Given, KeeperModel

NOW = 100.0


def window(*keys: str, partition: int = 0) -> ConsumerWindow[Given]:
    """A window with a message for each key."""
    made: ConsumerWindow[Given] = ConsumerWindow(ACK_TIMEOUT_S)
    made.arrived(partition, [Given(offset, 1, key) for offset, key in enumerate(keys)], NOW, 0)
    made.check()
    return made


def take(of: ConsumerWindow[Given], count: int = 100, now: float = NOW) -> list[Held[Given]]:
    taken = []
    while len(taken) < count and (held := of.take(now)):
        taken.append(held)
    of.check()
    return taken


def offsets(held: list[Held[Given]]) -> list[int]:
    return [each.delivery.offset for each in held]


def test_messages_without_a_key_are_handed_out_all_at_once():
    assert offsets(take(window("", "", ""))) == [0, 1, 2]


def test_messages_of_one_key_are_handed_out_one_at_a_time():
    made = window("a", "b", "a", "a")
    first = take(made)
    assert offsets(first) == [0, 1]
    assert made.ack(first[0])
    second = take(made)
    assert offsets(second) == [2]
    assert made.take_settled(0).acked == [(0, 1)]
    assert (made.waiting, made.out) == (1, 2)


def test_a_message_that_fails_takes_those_of_its_key_back_with_it():
    made = window("a", "b", "a", "a")
    first = take(made)
    assert made.retry(first[0], 2.0, "no")
    settled = made.take_settled(0)
    assert settled.retried == [(0, 1, 2.0, "no")] and settled.released == [(2, 1), (3, 1)]
    assert (made.waiting, made.out) == (0, 1)
    made.arrived(0, [Given(0, 2, "a"), Given(2, 1, "a")], NOW, 0)
    assert [(each.delivery.offset, each.delivery.attempt) for each in take(made)] == [(0, 2)]


def test_later_messages_of_a_key_that_were_sent_too_early_go_back():
    made = window("a")
    made.retry(take(made)[0], None, "no")
    made.arrived(0, [Given(1, 1, "a"), Given(2, 1, "b")], NOW, 0)
    assert offsets(take(made)) == [2]
    settled = made.take_settled(0)
    assert settled.released == [(1, 1)]
    made.confirmed(0, settled)
    made.arrived(0, [Given(1, 1, "a")], NOW, 0)  # it was sent before the answer, and arrives after it
    assert made.take_settled(0).released == [(1, 1)]
    made.arrived(0, [Given(0, 2, "a"), Given(1, 1, "a")], NOW, 1)
    assert offsets(take(made)) == [0]


def test_what_follows_a_message_that_went_back_too_early_goes_back_until_the_keeper_knows_of_that():
    made = window("a")
    made.retry(take(made)[0], None, "no")
    first = made.take_settled(0)
    made.arrived(0, [Given(1, 1, "a")], NOW, 0)
    made.arrived(0, [Given(2, 1, "a")], NOW, first.number)
    assert not take(made)
    second = made.take_settled(0)
    assert second.released == [(1, 1), (2, 1)]
    made.arrived(0, [Given(1, 1, "a"), Given(2, 1, "a")], NOW, second.number)
    assert offsets(take(made)) == [1]


@pytest.mark.parametrize("way", ["it knew", "another stream"])
def test_a_key_goes_on_when_another_consumer_has_the_message_that_failed(way: str):
    made = window("a")
    made.retry(take(made)[0], None, "no")
    number = made.take_settled(0).number
    if way == "another stream":
        made.opened(0)
    made.arrived(0, [Given(1, 1, "a")], NOW, number if way == "it knew" else 0)
    assert offsets(take(made)) == [1]


def test_a_process_that_was_stopped_does_not_begin_what_is_over():
    made = window("a", "a", "b")
    first, _ = take(made, 2)
    assert not take(made, now=NOW + ACK_TIMEOUT_S)
    made.ack(first)
    assert not take(made, now=NOW + ACK_TIMEOUT_S)
    made.check()


def test_partitions_take_turns():
    made = window("", "", "")
    made.arrived(1, [Given(0, 1, ""), Given(1, 1, "")], NOW, 0)
    assert [each.partition for each in take(made)] == [0, 1, 0, 1, 0]


def test_an_answer_counts_once_and_not_after_the_delivery_is_over():
    made = window("", "")
    one, other = take(made)
    assert made.ack(one) and made.ack(one) and made.retry(one, None, "")
    made.over(0, [(1, 1)])
    assert other.state is DeliveryState.OVER
    assert not made.ack(other) and not made.retry(other, None, "") and not made.extend(other, 1.0, NOW)
    assert made.take_settled(0) == Settled(acked=[(0, 1)], heard=True)


def test_what_is_worked_on_and_what_waits_is_prolonged_and_what_was_left_behind_is_not():
    made = window("", "a", "a")
    left, worked_on = take(made)
    made.left(left)
    made.tick(NOW + 3.5, 3.0)
    assert made.take_settled(0).extended == [(1, 1, ACK_TIMEOUT_S), (2, 1, ACK_TIMEOUT_S)]
    made.tick(NOW + 6.0, 3.0)
    assert (left.state, worked_on.state) == (DeliveryState.OVER, DeliveryState.OUT)
    made.check()


def test_what_waits_for_a_handler_too_long_goes_back_unhandled():
    made = window("a", "a", "")
    (first, _) = take(made, 2)
    made.arrived(0, [Given(3, 1, "a")], NOW + 5.0, 0)
    for second in range(1, 7):
        made.tick(NOW + second, 3.0)
    settled = made.take_settled(0)
    assert settled.released == [(1, 1), (3, 1)] and not settled.retried
    assert first.state is DeliveryState.OUT
    made.check()


def test_what_was_acknowledged_is_not_handed_out_again_while_the_keeper_does_not_know():
    made = window("a")
    (held,) = take(made)
    made.ack(held)
    lost = made.take_settled(0)
    assert made.numbers(0) == [(0, 1)]
    made.arrived(0, [Given(0, 2, "a")], NOW, 0)
    assert not take(made)
    again = made.take_settled(0)
    assert again.acked == [(0, 2)]
    made.confirmed(0, lost)
    assert made.numbers(0) == [(0, 2)]
    made.confirmed(0, again)
    assert made.numbers(0) == []


def test_a_repetition_is_taken_once():
    made = window("a", "")
    made.arrived(0, [Given(0, 1, "a"), Given(1, 1, "")], NOW, 0)
    assert offsets(take(made)) == [0, 1]


def test_a_newer_attempt_replaces_an_older_one():
    made = window("a", "a")
    (old,) = take(made)
    made.arrived(0, [Given(0, 2, "a")], NOW, 0)
    assert old.state is DeliveryState.OVER and not made.ack(old)
    assert made.take_settled(0).released == [(1, 1)]
    assert [each.delivery.attempt for each in take(made)] == [2]


def test_a_consumer_that_ends_gives_everything_back():
    made = window("a", "a", "", "")
    _, other = take(made, 2)
    made.ack(other)
    made.give_back()
    settled = made.take_settled(0)
    assert sorted(settled.released) == [(0, 1), (1, 1), (3, 1)] and settled.acked == [(2, 1)]
    assert (made.waiting, made.out) == (0, 0)
    made.check()


def test_a_subscription_that_is_lost_tells_nothing():
    made = window("a", "a", "")
    held = take(made)
    made.ack(held[1])
    made.end()
    assert not made.dirty and not made.ack(held[0]) and not take(made)
    made.check()


class ConsumerMachine(RuleBasedStateMachine):
    """Any order of deliveries, answers, pauses, lost streams and moved keepers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ConsumerModel(list(KEYS) * 6)

    @rule(count=st.integers(1, 12))
    def deliver(self, count: int) -> None:
        self.model.deliver(count)

    @rule()
    def take(self) -> None:
        self.model.take()

    @rule(which=st.integers(0, 20), step=st.sampled_from(("ack", "ack", "retry", "extend", "leave", "release")))
    def answer(self, which: int, step: str) -> None:
        getattr(self.model, step)(which)

    @rule(share=st.floats(0.1, 1.0))
    def wait(self, share: float) -> None:
        self.model.wait(share * ACK_TIMEOUT_S / 6)

    @rule()
    def sync(self) -> None:
        self.model.sync()

    @rule()
    def reopen(self) -> None:
        self.model.reopen()

    @rule(which=st.integers(0, 20))
    def take_back(self, which: int) -> None:
        self.model.take_back(which)

    @rule(which=st.integers(0, 20))
    def restart(self, which: int) -> None:
        self.model.restart(which)

    @invariant()
    def sound(self) -> None:
        self.model.check()

    def teardown(self) -> None:
        self.model.finish()


TestConsumerMachine = ConsumerMachine.TestCase
TestConsumerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def run(seeds: int) -> None:
    for seed in range(seeds):
        random = Random(seed)
        model = ConsumerModel.random(random)
        for _ in range(80):
            model.step(random)
        model.finish()


def test_any_history_ends_with_everything_handled_in_order():
    run(150)


Patch = Callable[[pytest.MonkeyPatch], None]
"""Breaks one rule of the window."""


def no_line(patch: pytest.MonkeyPatch) -> None:
    original = ConsumerWindow.arrived

    def arrived(self: ConsumerWindow[Given], number: int, deliveries: list[Given], now: float, settled: int) -> None:
        for each in deliveries:
            original(self, number, [each], now, settled)
            for held in self._partitions[number].held.values():
                if held.state is DeliveryState.WAITING and held not in self._partitions[number].ready:
                    self._make_ready(self._partitions[number], held)

    patch.setattr(ConsumerWindow, "arrived", arrived)


def the_rest_of_a_key_stays(patch: pytest.MonkeyPatch) -> None:
    def cut(self: ConsumerWindow[Given], partition: object, held: Held[Given], state: DeliveryState) -> None:
        self._forget(partition, held, state)  # type: ignore[arg-type]
        line = partition.lines.get(held.delivery.key)  # type: ignore[attr-defined]
        if line:
            line.remove(held)
            if line:
                self._make_ready(partition, line[0])  # type: ignore[arg-type]
            else:
                del partition.lines[held.delivery.key]  # type: ignore[attr-defined]

    patch.setattr(ConsumerWindow, "_cut", cut)


def nothing_is_prolonged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerWindow, "_say_extended", lambda self, held, seconds: None)


def nothing_expires(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerWindow, "over", lambda self, number, deliveries: None)


def the_next_of_a_key_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = ConsumerWindow.ack

    def ack(self: ConsumerWindow[Given], held: Held[Given]) -> bool:
        patch.setattr(ConsumerWindow, "_make_ready", lambda self, partition, held: None)
        try:
            return original(self, held)
        finally:
            patch.setattr(ConsumerWindow, "_make_ready", MAKE_READY)

    patch.setattr(ConsumerWindow, "ack", ack)


def acknowledgements_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = ConsumerWindow.arrived

    def arrived(self: ConsumerWindow[Given], number: int, deliveries: list[Given], now: float, settled: int) -> None:
        self._partition(number).unconfirmed.clear()
        original(self, number, deliveries, now, settled)

    patch.setattr(ConsumerWindow, "arrived", arrived)


def what_is_released_is_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerWindow, "_say_released", lambda self, partition, held: None)


def later_ones_of_a_key_are_taken(patch: pytest.MonkeyPatch) -> None:
    original = ConsumerWindow.arrived

    def arrived(self: ConsumerWindow[Given], number: int, deliveries: list[Given], now: float, settled: int) -> None:
        original(self, number, deliveries, now, 1 << 60)

    patch.setattr(ConsumerWindow, "arrived", arrived)


def confirmed_is_never_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerWindow, "confirmed", lambda self, number, settled: None)


def held_is_not_named(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerWindow, "numbers", lambda self, number: [])


MAKE_READY = ConsumerWindow._make_ready

MUTANTS: tuple[Patch, ...] = (
    no_line,
    the_rest_of_a_key_stays,
    nothing_is_prolonged,
    nothing_expires,
    the_next_of_a_key_is_forgotten,
    acknowledgements_are_forgotten,
    what_is_released_is_not_told,
    later_ones_of_a_key_are_taken,
    confirmed_is_never_heard,
    held_is_not_named,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_window_without_one_of_its_rules_is_found_out(mutant: Patch, monkeypatch: pytest.MonkeyPatch):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        run(150)


def test_the_model_keeper_delivers_in_order_of_the_keys():
    keeper = KeeperModel(["a", "b", "a"])
    assert [each.offset for each in keeper.deliver(2, NOW)] == [0, 1]
    assert not keeper.settle(Settled(acked=[(1, 1)], retried=[(0, 1, None, "")]), NOW)
    assert [(each.offset, each.attempt) for each in keeper.deliver(5, NOW)] == [(0, 2), (2, 1)]
