"""The part of `Cluster` about durable sends that are stored already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from inaho.core.identity.identity import validate_key, validate_kind
from inaho.errors import InvalidArguments

if TYPE_CHECKING:
    from inaho.core.pubsub.send_records import DurableSend
    from inaho.runtime.topic_logs.durable_sends import DurableSends

__all__ = ["OfDurableSends"]

LISTED_MAX: Final = 200
"""Sends in one answer, which must fit into a frame."""


class OfDurableSends:
    """Durable sends, for programs. Each method raises `InahoError` as any call."""

    _durable: DurableSends

    async def durable_sends(self, kind: str | type[Any], key: str) -> list[DurableSend]:
        """The durable sends to one grain that have not ended, dead letters included: the first 200 that were stored.

        Args:
            kind: class of the grain, or its name.
            key: of the grain.
        """
        described = getattr(kind, "inaho_kind", None)
        name = kind if described is None else described.name
        validate_kind(name)
        validate_key(key)
        return await self._durable.keeper_of(name, key).listed(name, key, LISTED_MAX)

    async def cancel_send(self, send: DurableSend) -> bool:
        """Cancels a durable send, or removes a dead letter.

        Returns:
            True if it waited and does not run any more. False if there is none any more, or if its call is under way;
            that call is not repeated when it fails.
        """
        return await self._durable.keeper_of(send.kind, send.key).cancel(send.kind, send.key, send.id)

    async def dead_sends(self, count_max: int = LISTED_MAX) -> list[DurableSend]:
        """The dead letters of durable sends of the whole cluster, those of each partition from the oldest on.

        Args:
            count_max: at most so many, 1 to 200.
        """
        if not 1 <= count_max <= LISTED_MAX:
            raise InvalidArguments(f"count_max must be 1 to {LISTED_MAX}, not {count_max}")
        keepers = [self._durable.keeper(partition) for partition in self._durable.partitions]
        found = await asyncio.gather(*(keeper.dead_letters(count_max) for keeper in keepers))
        return [send for sends in found for send in sends][:count_max]

    async def send_again(self, send: DurableSend) -> bool:
        """Puts a dead letter behind the sends that wait for its grain, with all its attempts.

        Returns:
            Whether it was a dead letter.
        """
        return await self._durable.keeper_of(send.kind, send.key).send_again(send.kind, send.key, send.id)
