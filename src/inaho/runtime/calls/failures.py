"""Counts calls and streams of this node that failed for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from inaho.core.rpc.retry import MOVING
from inaho.errors import InahoError, LogConflict, SerializationFailed, StateConflict
from inaho.runtime.local.labelled_counter import LabelledCounter
from inaho.wire.exceptions import exception_name, is_expected

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["CallFailures"]

MOVED: Final = (*MOVING, LogConflict.code, StateConflict.code)
"""Codes of the refusals of a grain that ends, moves or has moved."""


class CallFailures:
    """Counts the failed calls of one node, without those of the runtime that it repeats because a grain moves.

    Args:
        local: the node.

    Attributes:
        codes: failed calls by kind and code of the error. Exceptions of user code have no code.
        exceptions: calls that ended with an exception that the program has registered, by kind and its name.
    """

    def __init__(self, local: LocalNode) -> None:
        self.codes: dict[tuple[str, str], int] = {}
        self.exceptions = LabelledCounter()
        self._local = local

    def count(self, host: KindHost, key: str, method: GrainMethod, error: BaseException) -> None:
        """A call or stream of `kind/key` has failed.

        The runtime repeats calls of its own kinds, so a refusal because the grain moves, or the end of this node, is
        no failure there.
        """
        if host.of_runtime and self._is_move(error):
            return
        if is_expected(error):
            host.exceptions += 1
            if not host.system:
                self.exceptions.add(host.name, exception_name(type(error)))
            return
        host.failures += 1
        if isinstance(error, InahoError):
            counted = (host.name, error.code)
            self.codes[counted] = self.codes.get(counted, 0) + 1
        if isinstance(error, SerializationFailed):  # the other side publishes its own event (SPEC CL-6.4)
            self._local.serialization_failed(host.name, key, method.name, "call", error.reason)

    def _is_move(self, error: BaseException) -> bool:
        if isinstance(error, asyncio.CancelledError):
            return self._local.shutting_down
        return isinstance(error, InahoError) and error.code in MOVED
