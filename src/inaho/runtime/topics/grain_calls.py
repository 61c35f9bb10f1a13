"""Calls the grain of a message: the key, the reference, and the delivering method of the kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inaho.core.identity.identity import validate_key
from inaho.errors import InvalidArguments
from inaho.errors.inspection import describe
from inaho.runtime.calls.reference import make_reference
from inaho.runtime.grains.activation import ONE_WAY

if TYPE_CHECKING:
    from inaho.core.pubsub.message import Message
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.subscribing import GrainSubscription
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["GrainCalls"]


class GrainCalls:
    """The calls of one subscription of a kind.

    Args:
        local: the node.
        context: makes the calls.
        host: the kind, which this node hosts.
        subscription: of the kind.

    Attributes:
        subscription: as given.
        runner: of the node.
    """

    def __init__(
        self, local: LocalNode, context: ClusterContext, host: KindHost, subscription: GrainSubscription
    ) -> None:
        self.subscription = subscription
        self.runner = context.runner
        self._local = local
        self._context = context
        self._host = host

    def key_of(self, message: Message[Any]) -> str:
        """Key of the grain that gets the message.

        Raises:
            InvalidArguments: the program's function raised, or it gave no key.
            InvalidPid: it gave a key that is not valid.
        """
        key_of, name = self.subscription.key_of, self.subscription.name
        if key_of is None:
            key = message.key
        else:
            try:
                key = key_of(message.value)
            except Exception as error:
                raise InvalidArguments(f"the key function of {name} raised: {describe(error)}") from error
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  programs may be untyped
            raise InvalidArguments(f"the key function of {name} returned {key!r}, which is no text")
        if not key:
            raise InvalidArguments(
                f"a message for {name} has no key: publish it with one, or subscribe with a key function"
                if key_of is None
                else f"the key function of {name} returned an empty text"
            )
        validate_key(key)
        return key

    async def deliver(self, key: str, message: Message[Any]) -> bool:
        """Delivers at most once. Returns False for a message that is older than one that the grain has got.

        Raises:
            Exception: raised by the grain, or the reason why it was not called.
        """
        return await self._call(key, message, self.subscription.deliver, ONE_WAY)

    async def redeliver(self, key: str, message: Message[Any]) -> None:
        """Delivers at least once. Raises as `deliver`."""
        await self._call(key, message, self.subscription.redeliver, None)

    async def _call(self, key: str, message: Message[Any], method: Any, scope: Any) -> bool:
        arguments = (
            self.subscription.topic, message.value, message.key, message.sequence, message.published_at,
            message.publisher, message.partition, message.attempt, message.missed,
        )  # fmt: skip
        reference = make_reference(self._context, self._host, key, timeout_s=None, retry=True)
        self._host.calls += 1
        delivered: bool = await self._context.request(reference, method, arguments, scope)
        return delivered
