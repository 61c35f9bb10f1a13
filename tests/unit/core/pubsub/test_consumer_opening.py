"""What a consumer says while its stream is opened again, when the keeper may know less than the consumer thinks."""

from __future__ import annotations

from inaho.core.pubsub.consumer_window import ConsumerWindow, DeliveryState, Held
from support.consumer_model import ACK_TIMEOUT_S, Given

NOW = 100.0


def window(*keys: str) -> ConsumerWindow[Given]:
    """A window with a message for each key."""
    made: ConsumerWindow[Given] = ConsumerWindow(ACK_TIMEOUT_S)
    made.arrived(0, [Given(offset, 1, key) for offset, key in enumerate(keys)], NOW, 0)
    return made


def take(of: ConsumerWindow[Given]) -> list[Held[Given]]:
    taken = []
    while held := of.take(NOW):
        taken.append(held)
    of.check()
    return taken


def test_what_is_answered_while_a_stream_opens_is_answered_again():
    made = window("a", "b", "a")
    failed, handled = take(made)
    made.opened(0)  # its request names all three as held
    assert made.retry(failed, 2.0, "no") and made.ack(handled)
    overtaken = made.take_settled(0)  # comes to the next keeper before the request, and is refused there
    made.confirmed(0, overtaken)
    made.confirmed_open(0)
    again = made.take_settled(0)
    assert again.number > overtaken.number
    assert again.acked == [(1, 1)] and again.retried == [(0, 1, 2.0, "no")] and again.released == [(2, 1)]
    made.arrived(0, [Given(3, 1, "a")], NOW, overtaken.number)  # the keeper thinks that the first one is here
    assert not take(made) and made.take_settled(0).released == [(3, 1)]
    made.confirmed_open(0)
    assert not made.take_settled(0)


def test_what_the_keeper_does_not_prolong_goes_back():
    made = window("a", "a")
    (held,) = take(made)
    assert made.extend(held, 5.0, NOW)
    extended = made.take_settled(0).extended
    made.refused(0, [(offset, attempt) for offset, attempt, _ in extended])
    assert held.state is DeliveryState.OVER and made.take_settled(0).released == [(0, 1), (1, 1)]
