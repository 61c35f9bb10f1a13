"""The part of `Cluster` about one-way calls: sent at once, or stored first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, overload

from inaho.core.identity.identity import validate_key, validate_kind
from inaho.core.pubsub.arguments import is_whole
from inaho.core.pubsub.send_records import DurableSend
from inaho.errors import InvalidArguments, InvalidGrain
from inaho.runtime.grains.kind import GrainKind
from inaho.runtime.topic_logs.send_options import SendOptions, take_options

if TYPE_CHECKING:
    from inaho.runtime.calls.sends import Sends
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.topic_logs.durable_sends import DurableSends

__all__ = ["OfSends"]

P = ParamSpec("P")

LISTED_MAX: Final = 200
"""Sends in one answer."""


class OfSends:
    """One-way calls, for programs. Each method raises `InahoError` as any call."""

    _sends: Sends
    _durable: DurableSends

    @overload
    def send(self, method: Callable[P, Awaitable[Any]], /, *args: P.args, **kwargs: P.kwargs) -> None: ...

    @overload
    def send(  # type: ignore[overload-cannot-match]  # to mypy, a ParamSpec has any keyword here, but not in calls
        self,
        method: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        durable: Literal[True],
        after: float = ...,
        id: str = ...,
        **kwargs: Any,
    ) -> asyncio.Future[DurableSend]: ...

    def send(
        self, method: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any
    ) -> asyncio.Future[DurableSend] | None:
        """Calls a method of a grain without waiting for it: `cluster.send(cart.add, "apple", n=2)`. It is not awaited.

        A grain may send to itself: the call runs after the turns that run or wait, while `await` on such a call would
        be refused as a cycle. The call inherits nothing: it has its own deadline, that of the reference, the method or
        `rpc.timeout_s`, and no call chain. Arguments are copied now.

        **Delivery** is at most once: the call runs once, or not at all if the process ends, the node leaves, or no
        owner takes it before the deadline. A call that was certainly refused is tried again until then, as any call. An
        `idempotent` method may run more than once. No caller gets a failure: it is logged, published as `CallFailed`,
        and counted.

        **Order** is that of any call: the sends and calls of one process to one grain begin in the order in which they
        were made, also when the grain moves. `cluster.send(cart.add, 1)` comes before an `await cart.total()` that
        follows. The order is not kept across a broken connection, for stateless kinds, or for streams. In a method that
        another grain has called, a call may overtake a send while the node of the grain is unknown. No code of the
        grain runs before `send` returns.

        **Durable**: `await cluster.send(cart.add, "apple", durable=True, after=30.0)` returns a `DurableSend` when the
        call is stored. Without the `await` it is stored, too, but nobody is told. From then on it runs at least once,
        whatever dies; make the method safe to repeat. Durable sends to one grain run one after another, in the order in
        which they were stored: those of one process in the order in which it made them. One with `after` takes its
        place when it is due. There is no order between durable sends and other calls. A call that fails is tried again
        with growing pauses, and later durable sends to that grain wait for it, those to others do not. After
        `pubsub.send_attempts_max` attempts it becomes a dead letter; each failure is published as `DurableSendFailed`.
        A call that certainly did not run, as while no node hosts the kind, is tried again for ever and is no attempt.

        `durable`, `after` and `id` are arguments of `send`, unless the method has a parameter of that name that is not
        given by position: then they are arguments of the method, as without `durable`. To send such a method durably,
        give its own parameters of these names by position.

        Args:
            method: a method of a reference, not a stream.
            args, kwargs: its arguments.
            durable: stores the call; needs a storage that outlives this process and has logs.
            after: of a durable send: seconds until it is due, by the clock of the node that stores it.
            id: of a durable send: at most 200 characters. A send to the same grain with the same id is not stored again
                until `pubsub.send_dedup_s` after the end of the first one; the first one is returned.

        Raises:
            TypeError: the arguments do not fit the method.
            InvalidArguments: `method` is no method of a reference or is a stream, or an argument has a wrong type.
            SerializationFailed, FrameTooLarge: an argument cannot be encoded, or the arguments are too large.
            Overloaded: `rpc.sends_max` one-way calls, or durable sends, of this node are under way.
            ShuttingDown: this node has left.
            MessageTooLarge: the arguments of a durable send exceed `pubsub.message_bytes_max`.
            InvalidConfig: when it is awaited: the storage of the cluster is private to a node, or has no logs.
            InahoError: when it is awaited: as any call. It says whether the call may have been stored.
        """
        if "durable" in kwargs:
            options = take_options(method, args, kwargs)
            if options is not None:
                return self._send_durably(method, args, kwargs, options)
        self._send(method, args, kwargs)
        return None

    def _send(self, method: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._sends.send(method, arguments, named)

    def _send_durably(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any], options: SendOptions
    ) -> asyncio.Future[DurableSend]:
        return self._durable.send(method, arguments, named, after_s=options.after, name=options.id)

    async def durable_sends(self, kind: str | type[Grain[Any]] = "", key: str = "") -> list[DurableSend]:
        """The durable sends that have not ended, dead letters included: at most 200.

        They are fewer if their ids, keys and reasons are long: what one keeper answers fits into a frame.

        Those to one grain are the first that were stored. To a kind or to all grains there is no order.

        Args:
            kind: class of the grain, or its name; all kinds unless given.
            key: of the grain; all grains of the kind unless given.
        """
        described = kind if isinstance(kind, str) else getattr(kind, "inaho_kind", None)
        if not isinstance(described, str | GrainKind):
            raise InvalidGrain(f"{kind!r} is neither a Grain class nor the name of one")
        name = described if isinstance(described, str) else described.name
        if name or key != "":
            validate_kind(name)
        if key != "":
            validate_key(key)
            return await self._durable.keeper_of(name, key).listed(name, key, LISTED_MAX)
        keepers = [self._durable.keeper(partition) for partition in self._durable.partitions]
        found = await asyncio.gather(*(keeper.listed(name, "", LISTED_MAX) for keeper in keepers))
        return [send for sends in found for send in sends][:LISTED_MAX]

    async def cancel_send(self, send: DurableSend) -> bool:
        """Cancels a durable send, or removes a dead letter. Raises `InvalidArguments` if `send` is no `DurableSend`.

        Returns:
            True if it waited and does not run any more. False if there is none any more, or if its call is under way;
            that call is not repeated when it fails.
        """
        _check_send(send)
        return await self._durable.keeper_of(send.kind, send.key).cancel(send.kind, send.key, send.id)

    async def dead_sends(self, count_max: int = LISTED_MAX) -> list[DurableSend]:
        """The dead letters of durable sends of the whole cluster, those of each partition from the oldest on.

        Args:
            count_max: at most so many, 1 to 200. They are fewer if their ids, keys and reasons are long: what one
                keeper answers fits into a frame. Cancel them or send them again to see the next ones.
        """
        if not is_whole(count_max, 1, LISTED_MAX):
            raise InvalidArguments(f"count_max must be a whole number in 1..{LISTED_MAX}, not {count_max!r}")
        keepers = [self._durable.keeper(partition) for partition in self._durable.partitions]
        found = await asyncio.gather(*(keeper.dead_letters(count_max) for keeper in keepers))
        return [send for sends in found for send in sends][:count_max]

    async def send_again(self, send: DurableSend) -> bool:
        """Puts a dead letter behind the sends that wait for its grain, with all its attempts.

        Raises `InvalidArguments` if `send` is no `DurableSend`.

        Returns:
            Whether it was a dead letter.
        """
        _check_send(send)
        return await self._durable.keeper_of(send.kind, send.key).send_again(send.kind, send.key, send.id)


def _check_send(send: object) -> None:
    if not isinstance(send, DurableSend):
        raise InvalidArguments(f"a DurableSend is needed, as `send` and `durable_sends` return it, not {send!r}")
