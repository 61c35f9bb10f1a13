"""Two nodes that lost sight of each other agree that it is over.

A member that was unreachable and is back may still run what it took over meanwhile, and so may this node. Each asks the
other until the other confirms three things: it sees the asker as a member again, it has handed back what the asker
owns, and it has ended what it began for placed kinds while it doubted somebody. After that confirmation nothing of the
time of doubt is left there that could save, so one last proof here is final.

The question also tells the other node that it was found unreachable. It may not know that: its answer to the accusation
may have overtaken the news (SPEC CL-7.3).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError, Pending
from inaho.errors.inspection import describe
from inaho.runtime.activation.leases import SILENT
from inaho.runtime.placement.placement_actor import PlacementActor

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubt
    from inaho.runtime.freshness.doubts import Freshness
    from inaho.runtime.node.node import Node
    from inaho.types import Member

__all__ = ["Reconciliation"]

ASK_AGAIN_S: Final = 0.25
"""Pause before a member that did not confirm is asked again; a new topology cuts it short."""

ASKED_TO_INHERIT: Final = 3
"""Members that a node that joins asks whom they doubt; the answer of one is enough."""

ASKED_AT_ONCE: Final = 16
"""Members asked at the same time."""


class Reconciliation:
    """Asks doubted members that are back, and answers them.

    Args:
        node: the node.
        freshness: whose doubts these are.
    """

    def __init__(self, node: Node, freshness: Freshness) -> None:
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._freshness = freshness
        self._asking: asyncio.Task[None] | None = None
        self._found_unreachable = -1
        """Highest incarnation of this node under which others found it unreachable, as far as they told."""

    # This node asks.

    def begin(self) -> None:
        """Asks the doubted members that are back, until all have confirmed."""
        if self._asking is None and not self._local.closing and self._back():
            self._asking = self._local.spawn(self._ask_all(), name="inaho-reconcile")
            self._asking.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._local.log.error("asking members whether they are through failed", exc_info=error)

    def _back(self) -> list[tuple[Doubt, Member]]:
        found: list[tuple[Doubt, Member]] = []
        for doubt in self._freshness.doubts.open():
            member = self._member(doubt.node_id)
            if member is not None:
                found.append((doubt, member))
        return found

    def _member(self, node_id: str) -> Member | None:
        topology = self._topology.snapshot
        for member in () if topology is None else topology.members:
            if member.node_id == node_id:
                return None if member.status in SILENT else member
        return None

    async def _ask_all(self) -> None:
        while not self._local.closing and (back := self._back()):
            asked = back[:ASKED_AT_ONCE]
            confirmed = await asyncio.gather(*(self._ask(doubt, member) for doubt, member in asked))
            for (doubt, _), through in zip(asked, confirmed, strict=True):
                if through and self._freshness.doubts.get(doubt.node_id) is doubt:
                    self._freshness.is_harmless(doubt.node_id, "confirmed")
            if not all(confirmed):
                await self._topology.wait(ASK_AGAIN_S)

    async def _ask(self, doubt: Doubt, member: Member) -> bool:
        try:
            through = await self._node.placement_calls.ask(
                member, PlacementActor.reconcile, self._local.node_id, doubt.incarnation
            )
        except InahoError as error:
            self._local.log.debug("%s did not confirm that it is through: %s", member.authority, describe(error))
            return False
        return through or self._is_blocked(
            self._local.authority
        )  # then nothing stays active here; an end of that is told

    async def doubted_by_others(self) -> list[tuple[str, str]]:
        """Node ids and authorities that some other members doubt. Those that do not answer are asked for a while."""
        deadline = self._local.loop.time() + self._local.timeout_s
        while not self._local.closing and self._local.loop.time() < deadline:
            topology = self._topology.snapshot
            others = (
                []
                if topology is None
                else [
                    member
                    for member in topology.members
                    if member.node_id != self._local.node_id and member.status not in SILENT
                ]
            )
            asked = (self._ask_whom(member) for member in others[:ASKED_TO_INHERIT])
            answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
            if answers:  # one of them may have met somebody whom another has not
                return sorted({(node_id, authority) for answer in answers for node_id, authority in answer})
            await self._topology.wait(ASK_AGAIN_S)
        return []

    async def _ask_whom(self, member: Member) -> list[tuple[str, str]] | None:
        """Whom that member doubts; None where it does not say."""
        calls = self._node.placement_calls
        try:
            found = await calls.ask(member, PlacementActor.doubted, timeout_s=ASK_AGAIN_S * 4)
        except InahoError as error:
            self._local.log.debug("%s did not say whom it doubts: %s", member.authority, describe(error))
            return None
        return found

    # This node is asked.

    def doubted(self) -> list[tuple[str, str]]:
        """See `PlacementActor.doubted`. Raises `Pending` while this node has just joined and asks others itself."""
        if self._freshness.inherits:
            raise Pending("this node has just joined and does not know yet", authority=self._local.authority)
        return [(doubt.node_id, doubt.authority) for doubt in self._freshness.doubts.open()]

    def asked(self, node_id: str, incarnation: int) -> bool:
        """See `PlacementActor.reconcile`."""
        if incarnation > self._found_unreachable:
            self._found_unreachable = incarnation
            self._freshness.was_away("another member found this node unreachable")
        member = self._member(node_id)
        if member is None or self._is_blocked(member.authority):  # this node may take over from it yet
            return False
        return self._has_let_go()

    def _is_blocked(self, authority: str) -> bool:
        topology = self._topology.snapshot
        return topology is not None and authority in topology.blocked

    def _has_let_go(self) -> bool:
        """Whether nothing is active here that this node does not own, or that it began in doubt for a placed kind."""
        through = True
        begun = self._freshness.begun
        for (kind, _), grain in list(begun.items()):
            self._node.hosts[kind].deactivate_soon(grain, "moved")
            through = False
        for host in self._node.hosts.values():
            if host.hosted and not host.system and (host.draining.walking or host.draining.moving):
                through = False
        return through
