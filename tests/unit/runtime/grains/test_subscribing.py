"""`@subscribe`: what is read from a class, and which methods are refused, with the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import pytest

import inaho
from inaho import Grain, InvalidGrain, Message, Struct, stateless, subscribe

T = TypeVar("T")


class Price(Struct, frozen=True):
    owner: str
    amount: float


class Portfolio(Grain):
    @subscribe("prices", key=lambda price: price.owner)
    @subscribe("old-prices", start="latest")
    async def on_price(self, price: Price) -> None: ...

    @inaho.method(timeout=60.0)
    @subscribe("orders")
    async def on_order(self, message: Message[Price], note: str = "") -> None: ...

    @subscribe("anything")
    async def _on_any(self, value) -> None: ...  # type: ignore[no-untyped-def]

    async def total(self) -> float:
        return 0.0


def read(cls: type[Grain[Any]]) -> dict[tuple[str, str], Any]:
    return {(each.name, each.topic): each for each in cls.inaho_kind.subscriptions}


def test_subscriptions_are_read_with_their_names_types_and_keys():
    found = read(Portfolio)
    assert {place: each.value_type for place, each in found.items()} == {
        ("Portfolio.on_price", "prices"): Price,
        ("Portfolio.on_price", "old-prices"): Price,
        ("Portfolio.on_order", "orders"): Price,
        ("Portfolio._on_any", "anything"): Any,
    }
    prices, old = found["Portfolio.on_price", "prices"], found["Portfolio.on_price", "old-prices"]
    assert prices.key_of(Price("alice", 1.0)) == "alice"
    assert old.key_of is None
    assert (prices.start, old.start) == ("earliest", "latest")


def test_the_delivering_methods_are_hidden_and_have_the_options_of_the_method():
    kind = Portfolio.inaho_kind
    assert sorted(kind.methods) == ["on_price", "total"], "no caller can send a Message, which has a receipt"
    once, again = kind.hidden["inaho.deliver:on_order"], kind.hidden["inaho.redeliver:on_order"]
    assert (once.timeout_s, again.timeout_s) == (60.0, 60.0)
    assert (once.idempotent, again.idempotent) == (False, True)


def test_a_derived_class_is_subscribed_by_its_own_name_unless_it_overrides_the_method():
    class Quiet(Portfolio):
        async def on_price(self, price: Price) -> None: ...

    assert sorted(read(Quiet)) == [("Quiet._on_any", "anything"), ("Quiet.on_order", "orders")]


def test_type_variables_of_generic_bases_are_known():
    class Projection(Grain, Generic[T]):
        @subscribe("events")
        async def on_event(self, event: T) -> None: ...

        @subscribe("more")
        async def on_message(self, message: Message[T]) -> None: ...

    class Prices(Projection[Price]):
        pass

    assert [each.value_type for each in Prices.inaho_kind.subscriptions] == [Price, Price]
    assert [each.value_type for each in Projection.inaho_kind.subscriptions] == [Any, Any]


async def test_only_the_latest_messages_of_a_publisher_are_delivered():
    delivered: list[Any] = []

    class Noting(Grain):
        @subscribe("prices")
        async def on_price(self, price: Message[int]) -> None:
            delivered.append(price)

    seen: list[tuple[Any, ...]] = []

    class Host:
        def is_next(self, *place: Any) -> bool:
            seen.append(place)
            return len(seen) == 1

    grain: Any = object.__new__(Noting)
    grain._inaho_host, grain._inaho_key = Host(), "k"
    [subscription] = Noting.inaho_kind.subscriptions
    parts = ("prices", 5, "key", 3, 9.5, "node", 0, 1, 2)
    assert await subscription.deliver.function(grain, *parts)
    assert not await subscription.deliver.function(grain, *parts)
    assert await subscription.redeliver.function(grain, *parts), "the log has the order"
    assert seen == [("k", "prices", "node", 3, 9.5)] * 2
    assert delivered == [Message(5, "key", 3, 9.5, 0, 1, 2, "node")] * 2


@pytest.mark.parametrize("topic", ["", "two words", "x" * 201, 3])
def test_a_name_that_no_topic_has_is_refused(topic: Any):
    with pytest.raises(InvalidGrain, match="name of a topic"):
        subscribe(topic)


def test_options_are_checked_where_they_are_written():
    async def later(price: Price) -> str:
        return price.owner

    with pytest.raises(InvalidGrain, match="key is a plain function"):
        subscribe("prices", key=later)  # type: ignore[arg-type]
    with pytest.raises(InvalidGrain, match="key is a plain function"):
        subscribe("prices", key="owner")  # type: ignore[arg-type]
    with pytest.raises(InvalidGrain, match="earliest"):
        subscribe("prices", start="now")
    with pytest.raises(InvalidGrain, match="async def of a grain class"):
        subscribe("prices")(3)  # type: ignore[type-var]
    with pytest.raises(InvalidGrain, match="twice"):

        class Twice(Grain):
            @subscribe("prices")
            @subscribe("prices")
            async def on_price(self, price: Price) -> None: ...


def test_a_method_that_cannot_take_messages_is_refused_when_the_class_is_defined():
    with pytest.raises(InvalidGrain, match="one argument"):

        class Nothing(Grain):
            @subscribe("prices")
            async def on_price(self) -> None: ...

    with pytest.raises(InvalidGrain, match="one argument"):

        class Two(Grain):
            @subscribe("prices")
            async def on_price(self, price: Price, key: str) -> None: ...

    with pytest.raises(InvalidGrain, match="one argument"):

        class Named(Grain):
            @subscribe("prices")
            async def on_price(self, *, price: Price) -> None: ...

    with pytest.raises(InvalidGrain, match="no stream"):

        class Stream(Grain):
            @subscribe("prices")
            async def on_price(self, price: Price) -> AsyncIterator[int]:
                yield 1

    with pytest.raises(InvalidGrain, match="no stream"):

        class Plain(Grain):
            @subscribe("prices")
            def _on_price(self, price: Price) -> None: ...

    with pytest.raises(InvalidGrain, match="cannot cross the wire"):

        class Unknown(Grain):
            @subscribe("prices")
            async def on_price(self, price: object) -> None: ...

    with pytest.raises(InvalidGrain, match="Missing"):

        class Undefined(Grain):
            @subscribe("prices")
            async def on_price(self, price: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_a_stateless_kind_has_no_subscriptions():
    with pytest.raises(InvalidGrain, match="belong to one activation"):

        @stateless(max=4)
        class Workers(Grain):
            @subscribe("prices")
            async def on_price(self, price: Price) -> None: ...
