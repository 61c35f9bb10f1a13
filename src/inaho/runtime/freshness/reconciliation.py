"""Ends the doubt between two nodes that could not reach each other: each confirms that it has released activations.

A member that was unreachable and is back may still run activations that it took over meanwhile, and so may this node.
Each asks the other until the other confirms three things: it sees the asker as a member again, it has handed back the
identities that the asker owns, and it has ended the placed activations that it began while it doubted a member. After
that, no activation of the time of doubt is left there that could save, so one last proof here is final.

The question also tells the other node that it was found unreachable. It may not know that: its refutation may have
overtaken the accusation (SPEC CL-7.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.activation.leases import SILENT
from inaho.runtime.placement.placement_actor import PlacementActor

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubt, Doubts
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.types import Member

__all__ = ["Reconciliation", "audible_member", "is_blocked"]

ASK_AGAIN_S: Final = 0.25
"""Pause before a member that did not confirm is asked again; a new topology cuts it short."""

ASKED_TO_INHERIT: Final = 3
"""Number of members that a joining node asks for their doubts; one answer is enough."""

ASKED_AT_ONCE: Final = 16
"""Members asked at the same time."""


class Reconciliation:
    """Asks doubted members that can be reached again.

    Args:
        local: the node.
        topology: of the node.
        doubts: the members that it doubts.
        calls: of placement actors.
    """

    def __init__(self, local: LocalNode, topology: Topology, doubts: Doubts, calls: SystemCalls) -> None:
        self._local = local
        self._topology = topology
        self._doubts = doubts
        self._calls = calls
        self._asking: asyncio.Task[None] | None = None

    def begin(self, confirmed: Callable[[str], None]) -> None:
        """Asks doubted members that can be reached again, until all have confirmed. Does nothing if it runs already.

        Args:
            confirmed: called with the node id of each member that has confirmed.
        """
        if self._asking is None and not self._local.closing and self._back():
            self._asking = self._local.spawn(self._ask_all(confirmed), name="inaho-reconcile")
            self._asking.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._local.log.error(
                "asking members whether they have released what they took over failed", exc_info=error
            )

    def _back(self) -> list[tuple[Doubt, Member]]:
        found: list[tuple[Doubt, Member]] = []
        for doubt in self._doubts.open():
            member = audible_member(self._topology, doubt.node_id)
            if member is not None:
                found.append((doubt, member))
        return found

    async def _ask_all(self, confirmed: Callable[[str], None]) -> None:
        while not self._local.closing and (back := self._back()):
            asked = back[:ASKED_AT_ONCE]
            answers = await asyncio.gather(*(self._ask(doubt, member) for doubt, member in asked))
            for (doubt, _), through in zip(asked, answers, strict=True):
                if through and self._doubts.get(doubt.node_id) is doubt:
                    confirmed(doubt.node_id)
            if not all(answers):
                await self._topology.wait(ASK_AGAIN_S)

    async def _ask(self, doubt: Doubt, member: Member) -> bool:
        try:
            through = await self._calls.ask(member, PlacementActor.reconcile, self._local.node_id, doubt.incarnation)
        except InahoError as error:
            self._local.log.debug(
                "%s did not confirm that it has released what it took over: %s", member.authority, describe(error)
            )
            return False
        # A blocked node keeps no activations. `BlockListChanged` begins new doubts when the block ends.
        return through or is_blocked(self._topology, self._local.authority)

    async def doubted_by_others(self) -> list[tuple[str, str]]:
        """Node ids and authorities that some other members doubt. If none answers, it asks again for a while."""
        deadline = self._local.loop.time() + self._local.timeout_s
        while not self._local.closing and self._local.loop.time() < deadline:
            others = [
                member
                for member in self._topology.members
                if member.node_id != self._local.node_id and member.status not in SILENT
            ]
            asked = (self._ask_whom(member) for member in others[:ASKED_TO_INHERIT])
            answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
            if answers:  # members may doubt different members
                return sorted({(node_id, authority) for answer in answers for node_id, authority in answer})
            await self._topology.wait(ASK_AGAIN_S)
        return []

    async def _ask_whom(self, member: Member) -> list[tuple[str, str]] | None:
        """The members that `member` doubts; None if it does not answer."""
        try:
            found = await self._calls.ask(member, PlacementActor.doubted, timeout_s=ASK_AGAIN_S * 4)
        except InahoError as error:
            self._local.log.debug("%s did not answer which members it doubts: %s", member.authority, describe(error))
            return None
        return found


def audible_member(topology: Topology, node_id: str) -> Member | None:
    """The member with that node id; None if there is none, or if it is unreachable."""
    for member in topology.members:
        if member.node_id == node_id:
            return None if member.status in SILENT else member
    return None


def is_blocked(topology: Topology, authority: str) -> bool:
    """Whether an operator has blocked that authority."""
    return topology.snapshot is not None and authority in topology.snapshot.blocked
