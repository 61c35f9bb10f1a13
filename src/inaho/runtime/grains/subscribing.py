"""`@subscribe`: methods of grains that get the messages of topics. Everything is read when the class is defined.

A subscribed method has one parameter: the value of a message, or the `Message`. It is delivered by a method of the
runtime, which belongs to the kind but not to its interface, so references do not have it. That method takes the parts
of a message, typed as the user's parameter: so arguments are checked, and kept apart, as those of any call.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from inaho.core.pubsub.definition import check_name
from inaho.core.pubsub.message import Message
from inaho.errors import InvalidGrain, InvalidTopic
from inaho.runtime.grains.method import GrainMethod
from inaho.runtime.grains.method_options import OPTIONS, MethodOptions

if TYPE_CHECKING:
    from inaho.runtime.grains.interface import Found

__all__ = ["GrainSubscription", "is_for_messages", "read_subscriptions", "subscribe", "subscribed_methods"]

SUBSCRIPTIONS: Final = "__inaho_subscriptions__"
"""Attribute of a function in which `@subscribe` stores what it subscribes to."""

DELIVER: Final = "inaho.deliver:"
REPEAT: Final = "inaho.redeliver:"
"""Names of the delivering methods on the wire begin with these; no user's method can have them. The second is for
messages at least once: it may run twice."""

Function = TypeVar("Function", bound=Callable[..., Any])

KeyOf = Callable[[Any], str]


class DeliveryHost(Protocol):
    """The node on which a message is delivered."""

    def is_next(self, key: str, topic: str, publisher: str, sequence: int, published_at: float) -> bool:
        """Whether no later message of that publisher was delivered to the grain here; notes this one."""
        ...


class Subscribed(Protocol):
    """What a grain with subscriptions has."""

    _inaho_host: DeliveryHost

    @property
    def key(self) -> str:
        """See `Grain.key`."""
        ...


class _Asked(NamedTuple):
    """What one `@subscribe` has asked for."""

    topic: str
    key: KeyOf | None
    start: str


class GrainSubscription:
    """One topic that one method of a kind is subscribed to.

    Attributes:
        name: of the subscription: `Kind.method`.
        topic: name of the topic.
        key_of: from a value to the key of the grain that gets it; None takes the key of the message.
        start: where the subscription begins, at least once: `earliest` or `latest`.
        value_type: of the messages, by the annotation of the method.
        deliver: delivers a message at most once.
        redeliver: delivers a message at least once.
    """

    __slots__ = ("deliver", "key_of", "name", "redeliver", "start", "topic", "value_type")

    def __init__(
        self,
        name: str,
        asked: _Asked,
        value_type: Any,
        deliver: GrainMethod,
        redeliver: GrainMethod,
    ) -> None:
        self.name = name
        self.topic, self.key_of, self.start = asked
        self.value_type = value_type
        self.deliver = deliver
        self.redeliver = redeliver


def subscribe(topic: str, *, key: KeyOf | None = None, start: str = "earliest") -> Callable[[Function], Function]:
    """Subscribes a method of a grain class to a topic: every message goes to the grain of its key, which it activates.

        class Portfolio(Grain[Positions]):
            @inaho.subscribe("prices", key=lambda price: price.owner)
            async def on_price(self, price: Price) -> None: ...

    There is nothing to register: members that host the class subscribe while they run, also to a topic that is created
    later; they are effective when `join` of the member returns. Messages of one publisher for one grain arrive in their
    order.

    A topic at most once: a message that the grain did not get, or that made it raise, is lost, and counted; one that
    comes after a later one of its publisher is dropped, and counted. Each member knows only what it has delivered
    itself. So there is one exception to the order: the member that passes messages on has changed, the grain has moved,
    and a message that the previous one had under way arrives after later ones. A topic at
    least once: the method is a subscription of its own, named `Kind.method`. A message is acknowledged when the method
    returns, and delivered again when it raises, by the policies of the topic.

    Args:
        topic: its name. A method may have several subscriptions.
        key: takes the value of a message and returns the key of the grain, 1 to 1,024 bytes of text; it must not wait.
            None takes the key that the message was published with.
        start: where the subscription begins when the topic is at least once and has none of that name: at the
            `earliest` message that is kept, or at the `latest`.

    Raises:
        InvalidGrain: the name or the key is not valid; and, when the class is defined, what the method is not fit for.
    """
    try:
        check_name(topic)
    except InvalidTopic as error:
        raise InvalidGrain(f"@subscribe: {error.reason}") from error
    if key is not None and (not callable(key) or inspect.iscoroutinefunction(key)):
        raise InvalidGrain(f"@subscribe({topic!r}): key is a plain function of a message's value, not {key!r}")

    if start not in ("earliest", "latest"):
        raise InvalidGrain(f"@subscribe({topic!r}): start must be 'earliest' or 'latest', not {start!r}")

    def decorate(function: Function) -> Function:
        if not callable(function) or not hasattr(function, "__code__"):
            raise InvalidGrain(f"@subscribe({topic!r}) is for an async def of a grain class, not {function!r}")
        asked: list[_Asked] = getattr(function, SUBSCRIPTIONS, [])
        if any(topic == other.topic for other in asked):
            raise InvalidGrain(f"{function.__qualname__} is subscribed to topic {topic!r} twice")
        setattr(function, SUBSCRIPTIONS, [*asked, _Asked(topic, key, start)])
        return function

    return decorate


def subscribed_methods(cls: type[Any]) -> Iterator[tuple[str, type[Any], Callable[..., Any]]]:
    """The subscribed methods of a class, inherited ones included, sorted: name, class in which it is written, function.

    A method that is overridden without `@subscribe` is not subscribed any more.
    """
    for name in sorted({name for base in cls.__mro__ for name in vars(base)}):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        function = vars(owner)[name]
        if hasattr(function, SUBSCRIPTIONS):
            yield name, owner, function


def read_subscriptions(kind: str, found: Found, hints: dict[str, Any]) -> list[GrainSubscription]:
    """The subscriptions of one method.

    Args:
        kind: name of the kind.
        found: the method.
        hints: its annotations, complete.

    Raises:
        InvalidGrain: it cannot take messages.
    """
    name, function = found.name, found.function
    where = f"{kind}.{name}"
    if not inspect.iscoroutinefunction(function):
        raise InvalidGrain(f"{where} has @subscribe and must be an async def that is no stream")
    parameters = list(inspect.signature(function).parameters.values())[1:]
    needed = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if not parameters or len(needed) > 1 or parameters[0].kind not in _POSITIONAL:
        raise InvalidGrain(
            f"{where} has @subscribe, so it takes one argument: the value of a message, as `price: Price`, or the "
            "message, as `message: inaho.Message[Price]`; further parameters need defaults"
        )
    annotation = hints.get(parameters[0].name, Any)
    is_message = is_for_messages(annotation)
    value_type = next(iter(typing.get_args(annotation)), Any) if is_message else annotation
    if isinstance(value_type, TypeVar):
        value_type = Any
    options: MethodOptions | None = getattr(function, OPTIONS, None)
    deliver, redeliver = (
        _delivering(kind, prefix + name, function, value_type, options, is_message=is_message, repeats=repeats)
        for prefix, repeats in ((DELIVER, False), (REPEAT, True))
    )
    return [
        GrainSubscription(where, asked, value_type, deliver, redeliver) for asked in getattr(function, SUBSCRIPTIONS)
    ]


def is_for_messages(annotation: Any) -> bool:
    """Whether a parameter gets the message, and not its value."""
    return annotation is Message or typing.get_origin(annotation) is Message


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _delivering(
    kind: str,
    name: str,
    function: Callable[..., Any],
    value_type: Any,
    options: MethodOptions | None,
    *,
    is_message: bool,
    repeats: bool,
) -> GrainMethod:
    """A method that calls `function` with the value, or with the message, of which it gets the parts.

    It returns False for a message that came too late: a later one of its publisher was there before. Another node has
    delivered that one, because the hosts of the kind have changed meanwhile. At least once (`repeats`) the log has the
    order, and nothing is too late.
    """

    async def deliver(
        grain: Subscribed, topic: str, value: Any, key: str, sequence: int, published_at: float, publisher: str,
        partition: int, attempt: int, missed: int,
    ) -> bool:  # fmt: skip
        if not repeats and not grain._inaho_host.is_next(grain.key, topic, publisher, sequence, published_at):
            return False
        if is_message:
            value = Message(value, key, sequence, published_at, partition, attempt, missed, publisher)
        await function(grain, value)
        return True

    hints = {
        "topic": str, "value": value_type, "key": str, "sequence": int, "published_at": float, "publisher": str,
        "partition": int, "attempt": int, "missed": int, "return": bool,
    }  # fmt: skip
    given = options or MethodOptions(read_only=False, idempotent=False, timeout_s=None)
    own = MethodOptions(read_only=given.read_only, idempotent=repeats, timeout_s=given.timeout_s)
    return GrainMethod(kind, name, deliver, own, hints)
