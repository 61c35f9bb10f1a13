"""The subscriptions of the grain kinds that this member hosts: who gets which messages, and when.

Nothing is registered anywhere. At most once, the member joins the group of each subscribed method, whether or not the
topic exists: the publisher's node chooses one member of the group, which calls the grain of the key. At least once, the
method is a named subscription, and the members that host the kind are its consumers. A topic may be created, deleted
and created again at any time, so this module follows its definition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from inaho.errors import InahoError, NoSuchTopic
from inaho.errors.inspection import describe
from inaho.runtime.topics.grain_calls import GrainCalls
from inaho.runtime.topics.grain_dispatch import DirectDispatch, LoggedDispatch
from inaho.runtime.topics.message_type import message_type

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.subscribing import GrainSubscription
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.at_least_once import AtLeastOnce
    from inaho.runtime.topics.at_most_once import AtMostOnce
    from inaho.runtime.topics.definitions import TopicDefinitions
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["GrainSubscriptions"]

LOOK_AGAIN_S: Final = 5.0
"""A topic that did not exist, or a subscription that has ended, is looked up again after this time at the latest."""

AGAIN_S: Final = 1.0
"""Pause after an error."""

CONCURRENCY: Final = 64
"""Grains that handle messages at least once of one subscription at the same time, on one member."""


class GrainSubscriptions:
    """The subscriptions of the kinds of one member.

    Args:
        local: the member.
        context: makes calls.
        hosts: kinds of the member, by name.
        definitions: of topics.
        at_most_once, at_least_once: the deliveries.
    """

    def __init__(
        self,
        local: LocalNode,
        context: ClusterContext,
        hosts: Mapping[str, KindHost],
        definitions: TopicDefinitions,
        at_most_once: AtMostOnce,
        at_least_once: AtLeastOnce,
    ) -> None:
        self._local = local
        self._context = context
        self._hosts = hosts
        self._definitions = definitions
        self._at_most_once = at_most_once
        self._at_least_once = at_least_once
        self._dispatches: list[DirectDispatch] = []
        self._followers: list[asyncio.Task[None]] = []
        self._changes: dict[str, asyncio.Event] = {}
        """By topic: set when it was created or deleted."""
        definitions.when_changed(self._changed)

    async def begin(self) -> None:
        """This member has joined. Returns when all live members know the groups that it is in now.

        It does not fail: a member that is silent for `pubsub.subscribe_timeout_s` may publish past the groups.
        """
        for host in list(self._hosts.values()):
            for each in host.kind.subscriptions if host.hosted else ():
                calls = GrainCalls(self._local, self._context, host, each)
                kind = message_type(each.value_type)
                dispatch = DirectDispatch(self._local, calls, self._at_most_once)
                self._dispatches.append(dispatch)
                self._at_most_once.join_group(each.topic, each.name, dispatch, kind)
                changed = self._changes.setdefault(each.topic, asyncio.Event())
                following = self._follow(each, LoggedDispatch(calls, kind), kind, changed)
                self._followers.append(self._local.spawn(following, name=f"inaho-subscribe-{each.name}"))
        if self._dispatches:
            await self._at_most_once.groups_joined([(each.topic, each.name) for each in self._dispatches])

    async def leave(self, left_s: Callable[[], float]) -> None:
        """This member leaves. Returns when other members get the messages, and grains have those that came here.

        Args:
            left_s: returns the seconds for which it may wait.
        """
        for follower in self._followers:
            follower.cancel()
        self._followers = []
        dispatches, self._dispatches = self._dispatches, []
        for dispatch in dispatches:
            self._at_most_once.leave_group(dispatch.topic, dispatch.name)
        if not dispatches:
            return
        try:
            async with asyncio.timeout(left_s()):
                await self._at_most_once.groups_left()
                for dispatch in dispatches:
                    await dispatch.finished()
        except TimeoutError as error:
            self._local.log.warning("grains may miss messages that were on their way here: %s", describe(error))

    def _changed(self, topic: str) -> None:
        if topic in self._changes:
            self._changes[topic].set()

    async def _follow(
        self, subscription: GrainSubscription, dispatch: LoggedDispatch, kind: MessageType[Any], changed: asyncio.Event
    ) -> None:
        """Consumes the topic of one subscription whenever it is one at least once."""
        while True:
            changed.clear()
            pause_s = LOOK_AGAIN_S
            try:
                topic = await self._definitions.get(subscription.topic, None, ())
                self._check_type(subscription, topic, kind)
                if topic.definition.durable:
                    await self._consume(subscription, topic, dispatch, changed)
                    pause_s = AGAIN_S
                else:
                    await changed.wait()
                    pause_s = 0.0
            except NoSuchTopic:
                pass
            except InahoError as error:
                self._local.log.warning(
                    "subscription %s of topic %r could not begin, retrying: %s",
                    subscription.name, subscription.topic, describe(error),
                )  # fmt: skip
                pause_s = AGAIN_S
            try:
                async with asyncio.timeout(pause_s):
                    await changed.wait()
            except TimeoutError:
                pass

    async def _consume(
        self, subscription: GrainSubscription, topic: KnownTopic, dispatch: LoggedDispatch, changed: asyncio.Event
    ) -> None:
        """Returns when the subscription has ended, or the topic was deleted.

        If it is cancelled, this member leaves: `AtLeastOnce` ends all subscriptions then, in their order.
        """
        consumer = self._at_least_once.subscribe_deliveries(
            topic,
            subscription.name,
            dispatch.handle,
            concurrency=CONCURRENCY,
            kind="grain",
            start=subscription.start,
        )
        await consumer.start()
        while consumer in self._at_least_once.subscriptions and not topic.deleted:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await changed.wait()
                changed.clear()
            except TimeoutError:
                pass
        await consumer.close()

    def _check_type(self, subscription: GrainSubscription, topic: KnownTopic, kind: MessageType[Any]) -> None:
        """Logs that the annotation of a method differs from the type of its topic: its messages may not decode."""
        wanted = topic.definition.message_type
        if wanted and kind.name and kind.name != wanted:
            self._local.log.warning(
                "%s takes %s, and the messages of topic %r are %s", subscription.name, kind.name, topic.name, wanted
            )
