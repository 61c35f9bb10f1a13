"""Operations on a cluster: ask where grains are, make a member leave, block a member, settle views.

All operations go through the `OperatorActor` of single members, so clients can do what members can. A member that does
not answer is named in the answer; the other answers are still returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

from inaho.authority import parse_authority
from inaho.core.identity.identity import validate_key, validate_kind
from inaho.errors import InahoError, InvalidArguments, TopologyUnavailable
from inaho.runtime.control.shutdown import DrainReport
from inaho.runtime.local.storage_access import StorageReport
from inaho.runtime.operators.event_feed import EventRecord
from inaho.runtime.operators.explain import Explanation, Silent, explain
from inaho.runtime.operators.operator_actor import DRAIN_S_MAX, OperatorActor, QuarantineRecord
from inaho.runtime.operators.reports import LISTED_MAX, KindReport
from inaho.runtime.operators.topic_bottlenecks import TopicBottlenecks, gather_bottlenecks
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.types import ClusterIdentity, Member, MemberStatus, Struct

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node

__all__ = ["Activations", "Operations", "Storages", "ask_members"]

AnswerT = TypeVar("AnswerT")

ASKED_AT_ONCE_MAX: Final = 32
"""Number of members that are asked at the same time."""

ASKED_S: Final = 2.0
"""Seconds for a member to answer a question that all members are asked; a wedged member must not delay the others."""

ACCEPTED_S: Final = 10.0
"""Seconds for a member to accept its storage, which it may have to open first."""

DRAIN_MARGIN_S: Final = 10.0
"""Seconds that a drain may take besides its two waiting steps: for the messages, and for the end of turns."""


class Activations(Struct, frozen=True):
    """The activations of all members (`inaho grains`).

    Attributes:
        kinds: one report per kind and member, sorted by kind and authority.
        silent: members that did not answer.
    """

    kinds: tuple[KindReport, ...]
    silent: tuple[Silent, ...]

    @property
    def count(self) -> int:
        """Number of all activations on the members that answered."""
        return sum(report.count for report in self.kinds)


class Storages(Struct, frozen=True):
    """The reports of members about their storages (`inaho storage`).

    Attributes:
        reports: one for each member that answered, sorted by authority.
        silent: members that did not answer.
    """

    reports: tuple[StorageReport, ...]
    silent: tuple[Silent, ...]

    @property
    def lost(self) -> tuple[StorageReport, ...]:
        """Reports of members that have found a loss."""
        return tuple(report for report in self.reports if report.lost)


async def ask_members(
    members: Sequence[Member], ask: Callable[[Member], Awaitable[AnswerT]], within_s: float
) -> tuple[list[tuple[Member, AnswerT]], list[Silent]]:
    """Asks all members at once, within bounds.

    Returns:
        The answers, and the members that gave none; both in the order of the members.
    """
    places = asyncio.Semaphore(ASKED_AT_ONCE_MAX)

    async def one(member: Member) -> tuple[Member, AnswerT] | Silent:
        async with places:
            try:
                async with asyncio.timeout(within_s):
                    return member, await ask(member)
            except InahoError as error:
                return Silent(member.authority, error.code, error.reason)
            except TimeoutError:
                return Silent(member.authority, "timeout", f"no answer within {within_s:g} s")

    results = await asyncio.gather(*(one(member) for member in members))
    answers = [result for result in results if not isinstance(result, Silent)]
    return answers, [result for result in results if isinstance(result, Silent)]


class Operations:
    """The operator's part of `Cluster`."""

    _node: Node
    _operators: SystemCalls

    def members(self) -> tuple[Member, ...]:
        """All members that are not removed, sorted by authority, as this node sees them now."""
        topology = self._node.topology.snapshot
        return () if topology is None else topology.members

    def blocked(self) -> tuple[str, ...]:
        """Authorities that an operator has blocked, sorted."""
        topology = self._node.topology.snapshot
        return () if topology is None else topology.blocked

    @property
    def ready(self) -> bool:
        """Whether calls should be sent to this process, for a health check.

        A member is ready from when it is up until it begins to leave, except while an operator blocks it. A client is
        ready while it is connected to a member.
        """
        node = self._node
        if node.local.shutting_down or node.local.closing or node.topology.snapshot is None:
            return False
        if node.control.driver is None:
            return bool(node.peers.connections)
        member = node.control.driver.control.member
        return (
            node.control.driver.joined.done()
            and member.status is MemberStatus.UP
            and not node.block_list.has(node.local.authority)
        )

    # Asking.

    async def where(self, kind: str | type[Any], key: str) -> Explanation:
        """Where an identity is, what it does, and why it is there. Asks all members.

        Args:
            kind: its class, or the name of its kind.
            key: within the kind.

        Raises:
            InvalidPid: the kind or the key is not valid.
            InvalidArguments: `kind` is a class that is not a grain class.
        """
        name = _name_of(kind)
        validate_kind(name)
        validate_key(key)
        answers, silent = await ask_members(
            self.members(), lambda member: self._operators.ask(member, OperatorActor.explain, name, key), ASKED_S
        )
        partition = self._node.topology.lookup.partition(name, key)
        return explain(ClusterIdentity(name, key), partition, [told for _, told in answers], silent)

    async def grains(self, kind: str | type[Any] = "", *, limit: int = 20) -> Activations:
        """What is active in the cluster: all activations are counted, and some are listed.

        Args:
            kind: its class, or the name of its kind; empty for all kinds.
            limit: activations listed of each kind and member, 0 to 400.

        Raises:
            InvalidArguments: the limit is out of range.
        """
        if not 0 <= limit <= LISTED_MAX:
            raise InvalidArguments(f"limit must be 0 to {LISTED_MAX}, not {limit}")
        name = _name_of(kind)
        answers, silent = await ask_members(
            self.members(), lambda member: self._operators.ask(member, OperatorActor.activations, name, limit), ASKED_S
        )
        reports: list[KindReport] = [report for _, told in answers for report in told]
        return Activations(tuple(sorted(reports, key=lambda told: (told.kind, told.authority))), tuple(silent))

    async def events_at(self, member: Member, *names: str) -> AsyncIterator[EventRecord]:
        """Events of that member as they happen, until it leaves or the iteration is closed.

        Args:
            member: its authority.
            names: classes of `inaho.events`; all when none is given.

        Raises:
            InvalidArguments: there is no such class.
            InahoError: as any call; `Unreachable` when the member is lost.
        """
        async with aclosing(self._operators.stream(member, OperatorActor.events, list(names))) as feed:
            async for record in feed:
                yield record

    async def quarantine_at(self, member: Member) -> tuple[QuarantineRecord, ...]:
        """The quarantines of that member, sorted by authority: each member decides for itself. Clients may ask too.

        Raises:
            Unreachable: the member cannot be reached.
            InahoError: as any call.
        """
        found: list[QuarantineRecord] = await self._operators.ask(member, OperatorActor.quarantined)
        return tuple(found)

    async def storages(self) -> Storages:
        """What the members know about their storages, and whether acknowledged data was lost."""
        answers, silent = await ask_members(
            self.members(), lambda member: self._operators.ask(member, OperatorActor.storage), ASKED_S
        )
        return Storages(tuple(told for _, told in answers), tuple(silent))

    async def bottlenecks(self, topic: str) -> TopicBottlenecks:
        """What limits a topic: its publishers, the network, its log or its subscribers. Asks all members.

        A member knows it of its first `pubsub.labels_max` topics. It decides once a second, as for the metric
        `inaho.topic.bottleneck`.

        Args:
            topic: its name.
        """
        answers, silent = await ask_members(
            self.members(), lambda member: self._operators.ask(member, OperatorActor.bottleneck, topic), ASKED_S
        )
        return gather_bottlenecks([(member.authority, told) for member, told in answers], silent)

    # Orders.

    async def accept_storage(self) -> Storages:
        """Makes every member accept what the storage has now, after `StorageLost` (see `inaho.storage.instances`).

        Activations with a state end without saving, and begin again from what is stored. Each member writes a line to
        its audit log and publishes `StorageAccepted`. It can be repeated safely: do so if members did not answer.

        Returns:
            The reports from before, of the members that have accepted; and the members that did not accept, or did
            not answer.
        """
        answers, silent = await ask_members(
            self.members(), lambda member: self._operators.ask(member, OperatorActor.accept_storage), ACCEPTED_S
        )
        return Storages(tuple(told for _, told in answers), tuple(silent))

    async def release_at(self, member: Member, authority: str) -> bool:
        """Makes that member end a quarantine at once (SPEC CL-4.4). Returns whether it had one. Clients may ask too.

        Raises:
            Unreachable: the member cannot be reached.
            InahoError: as any call.
        """
        released: bool = await self._operators.ask(member, OperatorActor.release, authority)
        return released

    async def resolve_conflict_at(self, member: Member, authority: str, *, keep: bool) -> bool:
        """Settles a `ViewConflict` that the member has published and that no rule can settle (SPEC CL-7.4).

        Args:
            member: whose view it is.
            authority: of the other side of the conflict, as in the event.
            keep: the member's view stays, and the other side joins it. Otherwise the member gives way and joins the
                other.

        Returns:
            Whether there can be a conflict. False if that authority is a member or unknown; with `keep=False` also if
            it has not recently reported another view, as during a split.

        Raises:
            Unreachable: the member cannot be reached.
            InahoError: as any call.
        """
        settled: bool = await self._operators.ask(member, OperatorActor.resolve_conflict, authority, keep)
        return settled

    async def drain_at(self, member: Member, *, drain_s: float | None = None) -> DrainReport:
        """Makes that member leave gracefully, as at SIGTERM; returns when it has handed over everything.

        Its `inaho up` ends; in a program that called `join`, `wait_left` returns, and the program closes.

        Args:
            member: authority of the member that is to leave.
            drain_s: seconds for its activations to finish, above 0; None takes the member's
                `activation.drain_s`.

        Raises:
            InvalidArguments: `drain_s` is out of range.
            Unreachable: the member cannot be reached.
            InahoError: as any call.
        """
        if drain_s is not None and not 0 < drain_s <= DRAIN_S_MAX:
            raise InvalidArguments(f"drain_s must be above 0 and at most {DRAIN_S_MAX:g}, not {drain_s}")
        longest_s = self._node.local.config.activation.drain_s if drain_s is None else drain_s
        report: DrainReport = await self._operators.ask(
            member, OperatorActor.drain, drain_s, timeout_s=2 * longest_s + DRAIN_MARGIN_S
        )
        return report

    async def block(self, authority: str) -> bool:
        """Blocks an authority: it holds no activations until `unblock`. It need not be a member now (SPEC VA-1.4).

        Its leases end at once everywhere, and other members take over its identities. It stays a member, and may call.

        Returns:
            True if it was not blocked before. Returns once the topology of this node, or of the asked member, has the
            block.

        Raises:
            InvalidConfig: `authority` is not valid.
            Overloaded: the block list is full.
            InahoError: as any call.
        """
        return await self._set_blocked(authority, blocked=True)

    async def unblock(self, authority: str) -> bool:
        """Ends a block: the authority may hold activations again. Raises as `block`.

        Returns:
            Whether it was blocked.
        """
        return await self._set_blocked(authority, blocked=False)

    async def _set_blocked(self, authority: str, *, blocked: bool) -> bool:
        canonical = str(parse_authority(authority, allow_port_zero=False))
        block_list = self._node.block_list
        if self._node.control.driver is not None:
            return await block_list.set_blocked(canonical, blocked=blocked)
        failure: InahoError = TopologyUnavailable("no member is known")
        # The member that is to be blocked is asked last: it may be wedged.
        for member in sorted(self.members(), key=lambda member: member.authority == canonical):
            try:
                changed: bool = await self._operators.ask(member, OperatorActor.set_blocked, canonical, blocked)
            except InahoError as error:
                failure = error
                continue
            await block_list.seen(canonical, blocked=blocked)
            return changed
        raise failure

    async def wait_gone(self, member: Member, within_s: float) -> bool:
        """Waits until that process is no longer a member in the view of this node. Returns whether that happened.

        A client without a connection cannot know it; it returns True.
        """
        node = self._node

        def gone() -> bool:
            alone = node.control.driver is None and not node.peers.connections
            return alone or all(other.node_id != member.node_id for other in self.members())

        return await node.topology.wait_until(gone, within_s, each_s=0.1)

    # The end of this node.

    async def wait_left(self) -> None:
        """Returns when this node has left, on any request (`leave`, `drain_at`, `inaho drain`), or was stopped.

        Call `close` then, if the program does not end anyway.
        """
        await asyncio.shield(self._node.shutdown.left)


def _name_of(kind: str | type[Any]) -> str:
    if isinstance(kind, str):
        return kind
    described = getattr(kind, "inaho_kind", None)
    if described is None:
        raise InvalidArguments(f"{kind!r} is neither a Grain class nor the name of a kind")
    name: str = described.name
    return name
