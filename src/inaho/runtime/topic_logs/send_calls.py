"""Calls by keepers of durable sends, and calls that start keepers: ordinary calls, with deadline, retries and order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.core.pubsub.stored_sends import StoredSends
from inaho.errors import InahoError, RemoteError
from inaho.errors.inspection import describe
from inaho.events import DurableSendFailed
from inaho.runtime.calls.reference import invoke, make_reference
from inaho.runtime.grains.grain import unknown_kind
from inaho.runtime.grains.method import GrainMethod
from inaho.runtime.topic_logs.send_partition import KEEPER
from inaho.types import ClusterIdentity
from inaho.wire.codec import DECODE_ERRORS

if TYPE_CHECKING:
    from inaho.core.pubsub.send_records import StoredSend
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["SendCalls", "SendCounts", "is_attempt"]

_decode_parts: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
"""A body as the key and the arguments, each still encoded."""

USELESS: Final = (
    "call_cycle", "frame_too_large", "invalid_arguments", "no_such_method", "schema_mismatch", "serialization_failed",
)  # fmt: skip
"""Refusals that are the same next time. They count as attempts, though the call did not run."""


def is_attempt(error: BaseException) -> bool:
    """Whether a call that failed counts as an attempt: it may have run, or trying again cannot help."""
    if not isinstance(error, InahoError) or isinstance(error, RemoteError):
        return True
    return error.maybe_executed or error.code in USELESS


class SendCounts(msgspec.Struct):
    """Counts of the keepers of one node, for metrics.

    Attributes:
        stored: sends that were taken over and are in the log.
        ran, failed, refused: calls that ended well, that failed, and that certainly did not run.
        given_up: sends that became dead letters.
        keepers: the sends of the keepers that are active here, by partition.
    """

    stored: int = 0
    ran: int = 0
    failed: int = 0
    refused: int = 0
    given_up: int = 0
    keepers: dict[str, StoredSends] = {}


class SendCalls:
    """Calls to grains that somebody has sent a durable call, and to keepers.

    Args:
        local: the node.
        context: through which calls go.
        hosts: kinds of the node, by name.
        learn: makes a kind known to this node that it does not host.

    Attributes:
        counts: of the keepers of this node.
    """

    def __init__(
        self,
        local: LocalNode,
        context: ClusterContext,
        hosts: Mapping[str, KindHost],
        learn: Callable[[GrainKind], KindHost],
    ) -> None:
        self._local = local
        self._context = context
        self._hosts = hosts
        self._learn = learn
        self.counts = SendCounts()

    async def deliver(self, send: StoredSend) -> None:
        """Makes the call, on the node of the grain; this node need not host its kind, nor have its class.

        Raises:
            Exception: raised by the grain, or the reason why it was not called.
        """
        host = self._hosts.get(send.kind)
        if host is None:
            host = self._learn(unknown_kind(send.kind))
        if host.hosted:
            method = host.kind.find(send.method, stream=False)
            arguments = _decoded(method, send)
        else:  # the arguments go on as they are
            declared = host.kind.methods.get(send.method)
            if declared is None or declared.arity != send.arity or declared.stream:
                declared = GrainMethod.untyped(send.kind, send.method, send.arity, stream=False)
            method = declared
            arguments = tuple(_decode_parts(send.body)[1:])
        reference = make_reference(self._context, host, send.key, timeout_s=None, retry=True)
        await invoke(reference, method, arguments, plain=True)

    def report_failure(self, send: StoredSend, reason: str, *, counts: bool, given_up: bool) -> None:
        """The call of a send failed.

        Args:
            send: as it was before the call.
            reason: why.
            counts: it is an attempt, see `is_attempt`.
            given_up: the call is not made again.
        """
        self.counts.failed += counts
        self.counts.refused += not counts
        self.counts.given_up += given_up
        owner, attempt = ClusterIdentity(send.kind, send.key), send.attempts + 1
        self._local.log.warning(
            "the durable send %s of %s to %s failed (attempt %d) and %s: %s",
            send.method, send.name, owner, attempt, "was given up" if given_up else "will be tried again", reason,
        )  # fmt: skip
        self._local.publish(
            DurableSendFailed(
                identity=owner, method=send.method, id=send.name, attempt=attempt, reason=reason, given_up=given_up
            )
        )

    def keeper(self, kind: GrainKind, partition: str) -> Any:
        """A reference to the keeper of that partition; `kind` is that of keepers, which this node may not host."""
        host = self._hosts.get(KEEPER) or self._learn(kind)
        timeout_s = self._local.config.pubsub.publish_timeout_s
        return make_reference(self._context, host, partition, timeout_s=timeout_s, retry=True)

    async def wake(self, key: str) -> Exception | None:
        """Starts the keeper of that partition if there is none, and makes sure that it writes its log.

        Returns:
            The error if that failed, otherwise None.
        """
        try:
            await make_reference(self._context, self._hosts[KEEPER], key, timeout_s=None, retry=True).verify()
        except Exception as error:
            self._local.log.debug("the keeper of durable sends %s could not be started: %s", key, describe(error))
            return error  # `SendWatch` tries again, and logs it
        return None


def _decoded(method: GrainMethod, send: StoredSend) -> tuple[Any, ...]:
    """The arguments, in the order of the parameters. Raises what a caller would get."""
    decode = method.arguments_decoder(send.arity)
    try:
        arguments: tuple[Any, ...] = decode(send.body)[1:]
    except DECODE_ERRORS as error:
        raise method.invalid_arguments(error, send.key) from error
    return arguments if len(arguments) == method.arity else method.complete(arguments)
