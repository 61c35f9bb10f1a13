"""Counts calls and streams of this node that failed for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.rpc.retry import MOVING
from inaho.errors import InahoError, SerializationFailed
from inaho.runtime.local.labelled_counter import LabelledCounter
from inaho.wire.exceptions import exception_name, is_expected

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["CallFailures"]


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
        """A call or stream of `kind/key` has failed."""
        if is_expected(error):
            host.exceptions += 1
            if not host.system:
                self.exceptions.add(host.name, exception_name(type(error)))
            return
        if host.of_runtime and isinstance(error, InahoError) and error.code in MOVING:
            return  # what reads a log reads on at its next node: a leave must raise no alert
        host.failures += 1
        if isinstance(error, InahoError):
            counted = (host.name, error.code)
            self.codes[counted] = self.codes.get(counted, 0) + 1
        if isinstance(error, SerializationFailed):  # the other side publishes its own event (SPEC CL-6.4)
            self._local.serialization_failed(host.name, key, method.name, "call", error.reason)
