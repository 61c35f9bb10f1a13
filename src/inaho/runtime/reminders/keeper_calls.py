"""Calls by keepers of reminders, and calls that start them: ordinary calls, with deadline, retries and order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inaho.core.activation.reminders import Reminder, ReminderRecord
from inaho.errors.inspection import describe
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.calls.cluster_context import ClusterContext
from inaho.runtime.calls.reference import invoke, make_reference
from inaho.runtime.grains.grain import unknown_kind
from inaho.runtime.grains.kind import GrainKind
from inaho.runtime.grains.reminder_delivery import ANSWER_S, delivery_method
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.reminders.shard import KEEPER

__all__ = ["KeeperCalls"]


class KeeperCalls:
    """Calls to grains that have reminders, and to keepers.

    Args:
        local: the node.
        context: through which calls go.
        hosts: kinds of the node, by name.
        learn: makes a kind known to this node that it does not host.
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

    async def deliver(self, record: ReminderRecord, reminder: Reminder) -> None:
        """Calls `on_reminder` on the node of the grain; this node need not host its kind, nor have its class.

        Raises:
            Exception: raised by the grain, or the reason why it was not called.
        """
        host = self._hosts.get(record.kind)
        if host is None:
            host = self._learn(unknown_kind(record.kind))
        timeout_s = self._local.timeout_s + ANSWER_S
        reference = make_reference(self._context, host, record.key, timeout_s=timeout_s, retry=True)
        await invoke(reference, delivery_method(record.kind), (reminder,), plain=False)

    async def wake(self, key: str) -> Exception | None:
        """Starts the keeper of that shard if there is none, and makes sure that it has what was saved.

        Returns:
            The error if that failed, otherwise None.
        """
        try:
            await make_reference(self._context, self._hosts[KEEPER], key, timeout_s=None, retry=True).verify()
        except Exception as error:
            self._local.log.debug("the keeper of reminder shard %s could not be started: %s", key, describe(error))
            return error  # `ReminderWatch` tries again, and logs it
        return None
