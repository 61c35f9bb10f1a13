"""Bad arguments of topics and durable sends: a typed error that names argument and value, and no effect.

One table has all methods that take arguments. It runs on a member and on a client.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from inaho import Cluster, DurableSend, Message, Topic
from inaho.errors import InahoError, InvalidArguments, InvalidGrain, InvalidPid, InvalidTopic
from support.durable_sends import Cart
from support.durable_topics import Order, make
from support.waiting import until

Bad = tuple[str, type[InahoError], str, Callable[["World"], Any]]

NAN, INF = float("nan"), float("inf")
LONE = "\udc80"
"""Text that has no UTF-8, as the name of a file may be."""


class World:
    """What the table is about.

    Attributes:
        cluster: a member or a client.
        logged, direct: topics, at least and at most once.
        message: of `logged`, not acknowledged.
        cart: a grain.
        sent: a durable send.
    """

    cluster: Cluster
    logged: Topic[Order]
    direct: Topic[Order]
    message: Message[Order]
    cart: Cart
    sent: DurableSend


def topic(**settings: Any) -> Callable[[World], Any]:
    return lambda world: world.cluster.topic("new", Order, delivery="at_least_once", **settings)


def send(**options: Any) -> Callable[[World], Any]:
    return lambda world: world.cluster.send(world.cart.add, "bad", durable=True, **options)


def publish(**options: Any) -> Callable[[World], Any]:
    return lambda world: world.logged.publish(Order("a", 1), **options)


def publish_direct(**options: Any) -> Callable[[World], Any]:
    return lambda world: world.direct.publish(Order("a", 1), **options)


def subscribe(*name: Any, **options: Any) -> Callable[[World], Any]:
    return lambda world: world.logged.subscribe(*(name or ("n",)), **options).start()


def subscribe_direct(**options: Any) -> Callable[[World], Any]:
    return lambda world: world.direct.subscribe(**options).start()


def replay(**options: Any) -> Callable[[World], Any]:
    return lambda world: world.logged.replay(**options).start()


async def handle(_: Message[Order]) -> None: ...


STARTS: list[tuple[Any, str]] = [
    ("bogus", "bogus"),
    (3, "3"),
    (None, "None"),
    (b"latest", "latest"),
    (datetime(2026, 5, 1), "time zone"),
    ({0: -1}, "-1"),
    ({0: "x"}, "'x'"),
    ({0: True}, "True"),
    ({7: 1}, "7"),
    ({"0": 1}, "'0'"),
]

TABLE: list[Bad] = [
    # Cluster: topics.
    *[
        (f"topic({name!r})", InvalidTopic, repr(name), lambda world, name=name: world.cluster.topic(name, Order))
        for name in (3, None, "", "a b", LONE, b"a", "x" * 201)
    ],
    ("a type", InvalidTopic, "3", lambda world: world.cluster.topic("new", 3)),
    *[
        (f"{setting}={value!r}", InvalidTopic, f"{setting}.*{value!r}", topic(**{setting: value}))
        for setting, values in {
            "when_cut_off": ("bogus", 3, ["drop"]),
            "backlog_policy": ("bogus", True),
            "allow_no_subscribers": ("yes", 1, 0.0),
            "partitions": (0, 257, "3", 2.5, 2.0, True, NAN),
            "retention_s": (-1, "3", NAN, INF, True),
            "backlog_max": (0, "3", 1.5, INF),
            "backlog_bytes_max": (0, "3", 1e6),
            "attempts_max": ("3", 0, 2.5, True, INF),
            "ack_timeout_s": (0, "3", NAN, INF),
            "retry_base_s": (0, "3", NAN),
            "retry_max_s": (0, "3", NAN),
            "dedup_s": (-1, "3", NAN),
        }.items()
        for value in values
    ],
    ("delivery", InvalidTopic, "delivery.*'twice'", lambda world: world.cluster.topic("new", Order, delivery="twice")),
    *[
        (f"delete_topic({name!r})", InvalidTopic, repr(name), lambda world, name=name: world.cluster.delete_topic(name))
        for name in (None, 3, "")
    ],
    # Publishing.
    *[
        (f"{where.__name__}(key={key!r})", InvalidTopic, "key", where(key=key))
        for where in (publish, publish_direct)
        for key in (3, 0, None, b"a", LONE, "x" * 2000)
    ],
    *[
        (f"{where.__name__}(id={id!r})", InvalidTopic, "id", where(id=id))
        for where in (publish, publish_direct)
        for id in (3, 0, None, b"a", LONE, "x" * 201)
    ],
    # Subscribing.
    *[
        (f"subscribe({name!r})", InvalidTopic, repr(name), subscribe(name))
        for name in (3, None, "a b", LONE, "x" * 201)
    ],
    ("subscribe()", InvalidTopic, "name", subscribe("")),
    *[
        (f"{where.__name__}(window={window!r})", InvalidTopic, f"window.*{window!r}", where(window=window))
        for where in (subscribe, subscribe_direct)
        for window in ("x", 0, -1, 2.5, True, NAN, 1 << 30)
    ],
    *[
        (f"{where.__name__}(slow={slow!r})", InvalidTopic, "slow", where(slow=slow))
        for where in (subscribe, subscribe_direct)
        for slow in ("bogus", 3, None, ["drop_new"])
    ],
    ("slow at least once", InvalidTopic, "slow", subscribe(slow="drop_new")),
    ("start at most once", InvalidTopic, "start", subscribe_direct(start="earliest")),
    *[
        (f"subscribe(concurrency={count!r})", InvalidTopic, repr(count), subscribe(handler=handle, concurrency=count))
        for count in ("x", 0, 2.5, True, NAN, 10_001)
    ],
    ("concurrency without handler", InvalidTopic, "concurrency", subscribe(concurrency=2)),
    ("a handler that is none", InvalidTopic, "handler.*3", subscribe(handler=3)),
    ("a handler at most once", InvalidTopic, "handler", subscribe_direct(handler=handle)),
    *[
        (f"{what}({start!r})", InvalidTopic, text, call)
        for start, text in STARTS
        for what, call in {
            "subscribe": subscribe(start=start),
            "replay": replay(start=start),
            "seek": lambda world, start=start: world.logged.seek("here", start),
        }.items()
    ],
    ("follow", InvalidTopic, "follow.*'x'", replay(follow="x")),
    ("replay at most once", InvalidTopic, "at_most_once", lambda world: world.direct.replay().start()),
    *[
        (f"{method}({name!r})", InvalidTopic, repr(name), lambda world, call=call, name=name: call(world, name))
        for method, call in {
            "seek": lambda world, name: world.logged.seek(name, "latest"),
            "delete_subscription": lambda world, name: world.logged.delete_subscription(name),
        }.items()
        for name in (3, None, "", LONE, "x" * 201)
    ],
    *[
        (f"partition({number!r})", InvalidTopic, repr(number), lambda world, at=number: world.logged.partition(at))
        for number in (-1, 2, "0", True, 0.0, None)
    ],
    ("deliver_to", InvalidTopic, "'x'", lambda world: world.direct.deliver_to("x")),  # type: ignore[arg-type]
    # Messages.
    *[
        (f"retry({after!r})", InvalidArguments, repr(after), lambda world, after=after: world.message.retry(after))
        for after in ("x", -1, NAN, INF, True, [1])
    ],
    ("retry: reason", InvalidArguments, "reason.*3", lambda world: world.message.retry(reason=3)),  # type: ignore[arg-type]
    *[
        (f"extend({value!r})", InvalidArguments, repr(value), lambda world, value=value: world.message.extend(value))
        for value in ("x", 0, -1, NAN, INF, True, None)
    ],
    # Durable sends.
    *[
        (f"send(after={after!r})", InvalidArguments, f"after.*{after!r}", send(after=after))
        for after in ("x", -1, NAN, INF, None, True, [1])
    ],
    *[(f"send(id={id!r})", InvalidArguments, "id", send(id=id)) for id in (3, None, b"a", LONE, "x" * 201)],
    *[
        (
            f"{method}({value!r})",
            InvalidArguments,
            repr(value),
            lambda world, call=call, given=value: call(world, given),
        )
        for method, call in {
            "cancel_send": lambda world, value: world.cluster.cancel_send(value),
            "send_again": lambda world, value: world.cluster.send_again(value),
        }.items()
        for value in ("x", None, 3, ("a", "b"))
    ],
    *[
        (f"dead_sends({count!r})", InvalidArguments, repr(count), lambda world, n=count: world.cluster.dead_sends(n))
        for count in ("x", 0, -1, 201, 1.5, True, None)
    ],
    ("durable_sends(3, 4)", InvalidGrain, "3", lambda world: world.cluster.durable_sends(3, "4")),  # type: ignore[arg-type]
    ("durable_sends(int)", InvalidGrain, "int", lambda world: world.cluster.durable_sends(int)),  # type: ignore[arg-type]
    ("durable_sends(' ')", InvalidPid, "kind", lambda world: world.cluster.durable_sends(" ")),
    ("durable_sends('', 'a')", InvalidPid, "kind", lambda world: world.cluster.durable_sends("", "a")),
    *[
        (f"durable_sends(Cart, {key!r})", InvalidPid, "key", lambda world, k=key: world.cluster.durable_sends(Cart, k))
        for key in (4, 0, None, LONE)
    ],
]


async def raised(call: Callable[[World], Any], world: World) -> BaseException | None:
    try:
        outcome = call(world)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("place", ["member", "client"])
async def test_a_bad_argument_raises_a_typed_error_and_has_no_effect(fleet: Any, place: str):
    _, member = await fleet.members(2, Cart)
    world = World()
    world.cluster = cluster = member if place == "member" else await fleet.client()
    world.logged = await make(cluster, partitions=2)
    world.direct = await cluster.topic("direct", Order, allow_no_subscribers=True)
    world.cart = cluster.grain(Cart, "a")
    world.sent = await cluster.send(world.cart.add, "good", durable=True)
    received: list[Any] = []
    async with world.direct.subscribe() as direct, world.logged.subscribe("here", start="earliest") as here:
        await world.logged.publish(Order("a", 0))
        world.message = await anext(here)
        wrong: list[str] = []
        for what, kind, text, call in TABLE:
            error = await raised(call, world)
            parts = text.split(".*")
            if type(error) is not kind or any(part not in str(error) for part in parts) or len(str(error)) > 3000:
                wrong.append(f"{what}: {type(error).__name__}: {str(error)[:150]}")
        assert not wrong, "\n".join([f"{len(wrong)} of {len(TABLE)}", *wrong])
        await world.message.ack()
        await world.direct.publish(Order("a", 9))
        received.append((await anext(direct)).value)
        assert received == [Order("a", 9)], "a refused message was published"
        await until(lambda: not direct.missed)
    assert {each.name for each in await cluster.topics()} == {"direct", "orders"}
    for number in range(2):
        partition = await world.logged.partition(number)
        assert [each.name for each in partition.subscriptions] == ["here"]
        assert sum(each.lag for each in partition.subscriptions) == 0
    assert partition.topic == "orders"
    assert await cluster.durable_sends() == [] == await cluster.dead_sends()
