"""One-way calls: `Cluster.send`.

A grain that waits for a call of itself would wait for ever, and a grain that needs no answer should not need a Task for
it. A send is a call that nobody waits for. It inherits neither deadline nor call chain, so it cannot close a cycle, and
one to a busy grain waits in its queue like any call. A failure goes to the log and to `CallFailed`, because there is no
caller. Why not a frame of its own on the wire: from the answer to the call the sender's node learns what was refused
and may be retried, and what has failed.

The first attempt is made in the step of `send`: before the sender makes its next call, the send is on its way, in the
queue of the activation, or in the line of its identity (`call_order`). A failure in that step is reported like any
failure of a send. No code of the callee runs in it: a chain of grains that send to each other has no end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from inaho.errors import InahoError, InvalidArguments, Overloaded, ShuttingDown
from inaho.errors.inspection import describe
from inaho.events import CallFailed
from inaho.runtime.calls.reference import Reference, tell_success
from inaho.runtime.grains.activation import ONE_WAY
from inaho.runtime.turns.inline import spawn_begun
from inaho.types import ClusterIdentity

if TYPE_CHECKING:
    from collections.abc import Callable

    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.turns.runner import TurnRunner

__all__ = ["Sends", "sent_method"]


def sent_method(function: Callable[..., Any]) -> tuple[Reference, GrainMethod]:
    """The reference of which `function` is a method, and what is known of it.

    Raises:
        InvalidArguments: it is no method of a reference, or is a stream.
    """
    reference = getattr(function, "__self__", None)
    if not isinstance(reference, Reference):
        raise InvalidArguments(f"send takes a method of a reference, as cluster.grain(…).add, not {function!r}")
    method = reference._inaho_host.kind.methods[function.__name__]
    if method.stream:
        raise InvalidArguments(
            f"{method.name} is a stream, which cannot be sent one way",
            identity=f"{reference._inaho_host.name}/{reference._inaho_key}",
        )
    return reference, method


class Sends:
    """The one-way calls of one node.

    Args:
        local: the node; `rpc.sends_max` bounds the running sends.
        runner: provides workers for the first steps.
        context: makes the attempts.

    Attributes:
        sent: one-way calls that were accepted.
        failed: of these, those that did not run, or raised.
        under_way: one-way calls whose outcome is not known yet.
    """

    def __init__(self, local: LocalNode, runner: TurnRunner, context: ClusterContext) -> None:
        self.sent = 0
        self.failed = 0
        self.under_way = 0
        self._local = local
        self._runner = runner
        self._context = context

    def send(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any], *, begun: bool = True
    ) -> None:
        """See `Cluster.send`.

        Args:
            function, arguments, named: method of a reference, and its arguments.
            begun: the first attempt is made in this step, if a loop runs; else in a step of its own.
        """
        reference, method = sent_method(function)
        host, key = reference._inaho_host, reference._inaho_key
        identity = f"{host.name}/{key}"
        if self._local.closing:
            raise ShuttingDown(
                "the node has left and sends nothing", identity=identity, authority=self._local.authority
            )
        given = method.copy_arguments(method.bind(reference, arguments, named), key, host)
        if self.under_way >= self._local.config.rpc.sends_max:
            raise Overloaded(f"{self.under_way} one-way calls are under way (rpc.sends_max)", identity=identity)
        self.sent += 1
        self.under_way += 1
        name = f"inaho-send-{host.name}"
        call = self._call(reference, method, given)
        if not begun or asyncio._get_running_loop() is None:  # no Task that makes further calls
            task = self._local.spawn(call, name=name)
        else:
            task = spawn_begun(self._runner, call, name=name)
        task.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self.under_way -= 1

    async def _call(self, reference: Reference, method: GrainMethod, arguments: tuple[Any, ...]) -> None:
        host, key = reference._inaho_host, reference._inaho_key
        host.calls += 1
        started = self._local.clock_ns()
        try:
            await self._context.request(reference, method, arguments, ONE_WAY)
            if self._local.successes_wanted:
                tell_success(reference, method, started)
        except Exception as error:
            self.failed += 1
            self._context.failures.count(host, key, method, error)
            identity = ClusterIdentity(host.name, key)
            reason = describe(error)
            self._local.log.warning("the one-way call %s of %s failed: %s", method.name, identity, reason)
            if not isinstance(error, InahoError) and self._local.events_wanted(
                CallFailed
            ):  # `request` reports the others
                self._local.publish(CallFailed(identity=identity, method=method.name, code="", reason=reason))
