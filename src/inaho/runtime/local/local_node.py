"""What all parts of one node share: its settings, identity, loop, clocks, randomness, events and Tasks.

Parts of a node get this object instead of the node. So a part that needs the time cannot reach another part by way of
the node, and a test can build one part with a `LocalNode` and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from inaho.actor import EventStream
from inaho.config import ClusterConfig
from inaho.errors import ShuttingDown
from inaho.events import CallSucceeded, Event, SerializationFailure
from inaho.runtime.local.clock import Entropy, boot_time, clock_ns, unix_time
from inaho.runtime.local.pauses import Pauses
from inaho.runtime.local.slices import Slices
from inaho.runtime.local.tasks import NodeTasks
from inaho.types import ClusterIdentity

__all__ = ["LocalNode"]


class LocalNode:
    """The shared objects of one member or client.

    Args:
        config: settings.
        events: the event stream.
        entropy: randomness.
        loop: the event loop on which the node runs.
        client: it hosts nothing and joins nothing.
        storage_is_private: no other node sees its storage, and it ends with the process.
        boot_time: seconds, monotonic, suspension of the machine included: for decisions; never mixed with the loop's.
        unix_time: seconds since 1970, for reminders and events.
        clock_ns: nanoseconds, for how long calls take.

    Attributes:
        node_id: 16 hexadecimal digits, new at every start.
        authority: under which peers reach this node, once it listens; empty for a client.
        timeout_s: of a call that names none (`rpc.timeout_s`), in seconds.
        now: the loop's time, as of the last tick.
        pauses: notices that the process was stopped for a while.
        tasks: the background Tasks.
        slices: waiting work, done in small steps in each loop iteration.
        successes_wanted: there is a subscriber to `CallSucceeded`. The call path reads this.
        shutting_down: no new activations.
        placement_paused: why there are no new activations for now; empty if there are (SPEC PR-2.4, PR-5.3).
        closing: no new connections.
        left: nothing is published, subscribed or stored from here any more: this node has left, or has stopped.
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        events: EventStream,
        entropy: Entropy,
        loop: asyncio.AbstractEventLoop,
        client: bool = False,
        storage_is_private: bool = False,
        boot_time: Callable[[], float] = boot_time,
        unix_time: Callable[[], float] = unix_time,
        clock_ns: Callable[[], int] = clock_ns,
    ) -> None:
        self.config = config
        self.events = events
        self.entropy = entropy
        self.loop = loop
        self.client = client
        self.storage_is_private = storage_is_private
        self.boot_time = boot_time
        self.unix_time = unix_time
        self.clock_ns = clock_ns
        self.log = logging.getLogger("inaho.node")
        self.tasks = NodeTasks(loop)
        self.slices = Slices(loop)
        self.node_id = entropy.token(8).hex()
        self.authority = ""
        self.timeout_s = config.rpc.timeout_s
        self.now = loop.time()
        clock = lambda: self.boot_time()  # noqa: E731, PLW0108  tests give a node another clock
        self.pauses = Pauses(loop, clock, config.detection.lag_wedged_s)
        self.successes_wanted = False
        events.watch_interest(CallSucceeded, self._want_successes)
        self.shutting_down = False
        self.placement_paused = ""
        self.closing = False
        self.left = False

    def _want_successes(self, wanted: bool) -> None:
        self.successes_wanted = wanted

    def check_here(self, identity: str = "") -> None:
        """Raises `ShuttingDown` if programs can publish, subscribe and store nothing from here any more."""
        if self.left:
            reason = "this client is closed" if self.client else "this node has left the cluster"
            raise ShuttingDown(reason, identity=identity, authority=self.authority)

    def publish(self, event: Event) -> None:
        """Publishes an event."""
        self.events.publish(event)

    def events_wanted(self, kind: type[Event]) -> bool:
        """Whether there is a subscriber to events of `kind`: events of the call path are made only then."""
        return self.events.wants(kind)

    def serialization_failed(self, kind: str, key: str, method: str, direction: str, reason: str) -> None:
        """A message of one call could not be encoded or decoded (SPEC CL-6.4)."""
        if self.events_wanted(SerializationFailure):
            self.publish(
                SerializationFailure(
                    identity=ClusterIdentity(kind, key), method=method, direction=direction, reason=reason
                )
            )

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str, drives: bool = False, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Starts a Task that this node ends when it stops, see `NodeTasks.spawn`."""
        return self.tasks.spawn(coroutine, name=name, drives=drives, context=context)
