"""Keeper and consumers whose words cross each other: the order of a key is kept, and nobody waits for ever."""

from __future__ import annotations

from random import Random

import pytest

from inaho.core.pubsub.consumer_window import ConsumerWindow, Settled
from inaho.core.pubsub.deliveries_in_flight import DeliveryPolicy
from inaho.core.pubsub.group_delivery import GroupDelivery
from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from support.consumer_model import ACK_TIMEOUT_S, Given
from support.delivery_conversation import DeliveryConversation

STEPS_MAX = 40_000
NAME = "c"


def loaded(count: int, credit: int) -> GroupDelivery:
    """A keeper with messages of one key, and one consumer, to whom they were given and not sent."""
    group = GroupDelivery(DeliveryPolicy(ack_timeout_s=ACK_TIMEOUT_S), SubscriptionPositions(0, []), {})
    group.attach(NAME, credit, 0.0)
    stored = StoredMessage("a", 0.0, "p", 1, "", b"")
    group.load([LoggedMessage(offset, 1, stored) for offset in range(count)], 0.0)
    group.deliver(0.0)
    return group


@pytest.mark.parametrize("consumers", [1, 2])
@pytest.mark.parametrize("seed", range(60))
def test_the_order_of_a_key_is_kept_and_everything_is_handled(seed: int, consumers: int) -> None:
    conversation = DeliveryConversation(Random(seed), consumers)
    for _ in range(STEPS_MAX):
        if conversation.over:
            return
        conversation.step()
    missing = set(range(len(conversation.keys))) - conversation.acked
    pytest.fail(f"{sorted(missing)} are not acknowledged after {STEPS_MAX} steps")


def test_what_is_taken_back_before_it_was_sent_is_not_sent_in_its_old_place() -> None:
    group = loaded(3, credit=3)
    (consumer,) = group.consumers
    group.take(consumer, 1)
    assert [entry.sent for entry in group.unsettled] == [True, False, False]
    assert group.release(NAME, 0, 1, 0.0)
    assert consumer.outbox == []


def test_a_consumer_that_read_what_is_over_gets_messages_again() -> None:
    group = loaded(1, credit=1)
    (consumer,) = group.consumers
    window: ConsumerWindow[Given] = ConsumerWindow(ACK_TIMEOUT_S)
    group.take(consumer, 1)
    window.arrived(0, [Given(0, 1, "a")], 1.0, 0)
    group.expire(ACK_TIMEOUT_S)
    assert consumer.credit_left == 0
    window.over(0, group.take(consumer, 1)[1])
    assert 0 in window.dirty and window.take_settled(0)
    group.heard(NAME)
    assert consumer.credit_left == 1


def test_a_message_whose_time_has_passed_at_the_consumer_first_goes_back_as_failed() -> None:
    window: ConsumerWindow[Given] = ConsumerWindow(ACK_TIMEOUT_S)
    window.arrived(0, [Given(0, 1, "a"), Given(1, 1, "a")], 0.0, 0)
    held = window.take(0.0)
    assert held is not None
    window.left(held)
    window.tick(ACK_TIMEOUT_S, 1.0)
    expected = Settled(retried=[(0, 1, None, "not acknowledged in time")], released=[(1, 1)])
    assert window.take_settled(0) == expected
