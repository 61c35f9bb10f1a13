"""Publishes the messages that the subscriptions of one partition have given up to the dead-letter topic.

A dead letter has the id `<partition>/<offset>/<subscription>`, so the keeper of that topic stores it once, though it is
published again by the next keeper if this one ends before it has saved.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from inaho.core.back_off import back_off_s
from inaho.core.pubsub.dead_letter import DeadLetter
from inaho.core.pubsub.definition import AT_LEAST_ONCE, TopicDefinition
from inaho.core.pubsub.partitioning import partition_of_message
from inaho.errors import InahoError, InvalidTopic, LogTrimmed
from inaho.errors.inspection import describe
from inaho.events import MessageDeadLettered
from inaho.runtime.topic_logs.keeper_messages import AppendBatch, NewMessage
from inaho.wire.codec import encode
from inaho.wire.portions import portion

if TYPE_CHECKING:
    from inaho.core.pubsub.delivery_entries import Entry
    from inaho.core.pubsub.stored_message import LoggedMessage
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.partition_group import PartitionGroup
    from inaho.runtime.topic_logs.partition_records import PartitionRecords
    from inaho.runtime.topic_logs.ports import Definitions, Keepers

__all__ = ["DeadLetters"]

BATCH_MAX: Final = 64
"""Dead letters that are published together."""

PAUSE_MAX_S: Final = 30.0
"""The longest pause after one could not be published. Its key waits meanwhile."""


class DeadLetters:
    """The dead letters of one partition.

    What cannot be published stays with its subscription, and its key waits; each attempt that fails is logged.

    Args:
        local: the node.
        definition: of the topic.
        partition: its number.
        records: reads the log of the partition.
        definitions: creates the dead-letter topic when it is first needed.
        keepers: of the dead-letter topic.
    """

    def __init__(
        self,
        local: LocalNode,
        definition: TopicDefinition,
        partition: int,
        records: PartitionRecords,
        definitions: Definitions,
        keepers: Keepers,
    ) -> None:
        self._local = local
        self._definition = definition
        self._partition = partition
        self._records = records
        self._definitions = definitions
        self._keepers = keepers
        self._publisher = f"{local.node_id}.{local.entropy.token(8).hex()}"  # its numbers begin with it
        self._number = 0
        self._one_at_a_time = asyncio.Lock()
        self._failed = 0

    async def bury(self, group: PartitionGroup, dead: list[Entry]) -> None:
        """Publishes dead letters of a subscription. Those that fail are given by `GroupDelivery.dead` again."""
        async with self._one_at_a_time:
            for first in range(0, len(dead), BATCH_MAX):
                portion = dead[first : first + BATCH_MAX]
                try:
                    await self._publish(group, portion)
                except InahoError as error:
                    self._failed += 1
                    self._local.log.warning(
                        "%d dead letters of subscription %r of %s/%d could not be published, retrying: %s",
                        len(dead) - first, group.name, self._definition.name, self._partition, describe(error),
                    )  # fmt: skip
                    for entry in dead[first:]:
                        group.group.burial_failed(entry)
                    await asyncio.sleep(back_off_s(0.5, PAUSE_MAX_S, self._failed))
                    return
                self._failed = 0

    async def _publish(self, group: PartitionGroup, dead: list[Entry]) -> None:
        letters = TopicDefinition(name=self._definition.dead_letters, delivery=AT_LEAST_ONCE)
        letters = await self._definitions.define(letters)
        if not letters.durable:  # created before such names were refused
            raise InvalidTopic(f"{letters.name!r} is {letters.delivery} and keeps nothing: delete that topic")
        batches: dict[int, list[tuple[Entry, NewMessage]]] = {}
        for entry in dead:
            try:
                found = await self._records.read(entry.offset, 1)
            except LogTrimmed:  # dropped by the quota
                group.group.buried(entry)
                continue
            stored = found[0].stored
            at = partition_of_message(stored.key or str(entry.offset), letters.partitions)
            batches.setdefault(at, []).append((entry, self._letter(group.name, entry, found[0])))
        bytes_max = self._local.config.transport.frame_bytes_max // 2
        for at in sorted(batches):
            left = batches[at]
            while left:
                together = portion(left, bytes_max, lambda letter: len(letter[1].value))
                left = left[len(together) :]
                self._number += 1
                messages = [message for _, message in together]
                await self._keepers(letters.name, at).append(AppendBatch(self._publisher, self._number, messages))
                for entry, message in together:
                    group.group.buried(entry)
                    self._tell(group.name, letters.name, entry, message.key)

    def _letter(self, subscription: str, entry: Entry, message: LoggedMessage) -> NewMessage:
        stored = message.stored
        letter = DeadLetter(
            self._definition.name, subscription, self._partition, entry.offset, stored.published_at, entry.failures,
            entry.reason, msgspec.Raw(stored.value),
        )  # fmt: skip
        id_ = f"{self._partition}/{entry.offset}/{subscription}"
        return NewMessage(stored.key, self._local.unix_time(), encode(letter), id_)

    def _tell(self, subscription: str, letters: str, entry: Entry, key: str) -> None:
        self._local.log.warning(
            "message %d of %s/%d was given up by subscription %r after %d attempts and is in %s: %s",
            entry.offset, self._definition.name, self._partition, subscription, entry.failures, letters, entry.reason,
        )  # fmt: skip
        self._local.publish(
            MessageDeadLettered(
                topic=self._definition.name, subscription=subscription, partition=self._partition, offset=entry.offset,
                key=key, attempts=entry.failures, dead_letters=letters, reason=entry.reason,
            )
        )  # fmt: skip
