"""Founds the cluster by the durable record of a provider, or finds the members there.

While this node looks for its cluster, each round renews its registration, reads the record and all registrations, dials
those that are registered, and lets `core.provisioning.founding` decide. Only a node that has written the record founds.
All others get the authorities to ask, the members first.

After it has founded, the node looks at the record from time to time. A record that was lost is written again, by
compare-and-set. If another node has written it, the members of both clusters find each other by the registrations and
merge; this node only says so.

Why the stream of the provider does not do this: there is one for each provider, and one provider decides who founds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from inaho.core.back_off import back_off_s
from inaho.core.inputs import Discovered, FoundCluster
from inaho.core.node.lifecycle import FAILED, LEFT, NEW, SEEKING
from inaho.core.provisioning.founding import MEMBERS_MAX, ClusterRecord, Contact, Found, FoundingRule, Join, Wait
from inaho.core.provisioning.snapshot import ProviderMember, checked
from inaho.errors import ProviderError
from inaho.events import ClusterFounded, ClusterRecordLost, ClusterRecordTaken, SelfRemoved
from inaho.providers.answer import answer
from inaho.runtime.provisioning.contacts import contact_all

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.provisioning.ports import Contacts, RecordProvider, Search

__all__ = ["Founding"]

PERIODS: Final = 6
"""A member that is not the first by authority, nor the founder, looks at the record in every sixth period only."""

CHANGE_S: Final = 1.0
"""The first member writes a change of the members into the record after so many seconds at the latest."""

P = ParamSpec("P")
T = TypeVar("T")


class Founding:
    """Decides for one node, by the record of one provider, whether it founds.

    Args:
        local: the node.
        provider: in use; it has a record.
        member: the entry of this node, as it is registered; None while there is none.
        contacts: dials registered authorities.
        search: the control plane, started with `by_record`.

    Attributes:
        record: the last one that this node has written; None before.
    """

    def __init__(
        self,
        local: LocalNode,
        provider: RecordProvider,
        member: Callable[[], ProviderMember | None],
        contacts: Contacts,
        search: Search,
    ) -> None:
        self.record: ClusterRecord | None = None
        self._local = local
        self._config = local.config.provisioning
        self._provider = provider
        self._member = member
        self._contacts = contacts
        self._search = search
        self._rule: FoundingRule | None = None
        self._woken = asyncio.Event()
        self._hurried = False
        self._said = ""
        self._taken_by: ClusterRecord | None = None
        self._known: ClusterRecord | None = None
        self._look_at = 0.0

    async def run(self) -> None:
        """Runs until it is cancelled, or until the node has left or has given up its search."""
        unsubscribe = self._local.events.subscribe_callback(SelfRemoved, self._removed)
        failed = 0
        try:
            while self._search.stage not in (LEFT, FAILED):
                self._woken.clear()
                try:
                    pause_s = await self._round()
                    failed = 0
                except ProviderError as error:
                    failed += 1
                    pause_s = back_off_s(self._config.retry_s, self._config.back_off_max_s, failed)
                    self._say(f"the record cannot be used, trying again: {error.reason}")
                await self._pause(pause_s)
        finally:
            unsubscribe()

    async def _round(self) -> float:
        """Looks at the back end once, if there is a reason to. Returns the pause until the next round, in seconds."""
        if self._search.stage == SEEKING:
            await self._seek()
            return self._config.retry_s
        if self._search.stage == NEW:
            return self._config.retry_s
        self._forget()
        me, up, now = self._member(), self._search.up, self._local.boot_time()
        keeps = me is not None and up[:1] == (me.authority,)
        outdated = keeps and (self._known is None or self._known.members != up[:MEMBERS_MAX])
        if me is not None and (outdated or now >= self._look_at):
            periods = 1 if keeps or self.record is not None else PERIODS
            self._look_at = now + periods * self._config.read_period_s
            await self._look_after(me, up)
        return min(CHANGE_S, self._config.read_period_s)

    def _removed(self, removed: SelfRemoved) -> None:
        self._forget()
        self._woken.set()

    def _forget(self) -> None:
        """This node is or was a member, so what it has written before is no permission to found again."""
        if self._rule is not None:
            self._rule.forget()

    async def _pause(self, at_most_s: float) -> None:
        try:
            async with asyncio.timeout(at_most_s):
                await self._woken.wait()
        except TimeoutError:
            return

    # While this node looks for its cluster.

    async def _seek(self) -> None:
        began = self._local.boot_time()
        me = self._member()
        if me is None or not await self._answer(self._provider.renew, me, self._config.ttl_s):
            return  # not registered yet, or no more; that is the task of the stream
        record, token = await self._answer(self._provider.read_record)
        members = await self._registrations()
        self._known = record or self._known
        if self._rule is None:
            self._rule = FoundingRule(me, self._local.entropy.token(8).hex())
        named = () if record is None else self._rule.named(record)
        step = self._rule.decide(record, members, await self._dial(me, named, members))
        if self._search.stage != SEEKING:
            return  # it was admitted meanwhile
        if isinstance(step, Found):
            await self._write(step.record, token, began)
            return
        self._hurried = isinstance(step, Wait) and step.soon and not self._hurried
        if self._hurried:  # at most every second round, so that nodes that come and go cause no endless dials
            self._woken.set()
        elif isinstance(step, Wait):
            self._say(f"waiting: {step.reason}")
        first = step.authorities if isinstance(step, Join) else ()
        self._search.feed(Discovered(tuple(dict.fromkeys((*first, *(member.authority for member in members))))))

    async def _registrations(self) -> tuple[ProviderMember, ...]:
        config = self._local.config
        found = await self._answer(self._provider.read)
        return checked(found.members, found.blocked_nodes, config.membership.members_max, config.name)[0]

    async def _dial(
        self, me: ProviderMember, named: tuple[str, ...], members: tuple[ProviderMember, ...]
    ) -> Mapping[str, Contact]:
        """Dials the founder, the others that the record names, then all others, until there is a member."""
        contacts = dict(await contact_all(self._contacts, named[:1]))
        if Contact.MEMBER not in contacts.values():
            contacts |= await contact_all(self._contacts, named[1:], until_member=True)
        if Contact.MEMBER not in contacts.values():
            others = [member.authority for member in members if member.authority not in (me.authority, *contacts)]
            contacts |= await contact_all(self._contacts, others, until_member=True)
        return contacts

    async def _write(self, record: ClusterRecord, token: str, began: float) -> None:
        """Writes the record, and founds if no other node was faster."""
        if not await self._answer(self._provider.write_record, record, token):
            self._woken.set()  # to read who was faster
            return
        self.record = record
        if self._search.stage != SEEKING:
            return
        if self._local.boot_time() - began >= self._config.ttl_s:
            return  # this process has paused: its entry may have expired, so others may take it for dead
        self._say(f"this node founds the cluster {record.cluster_id}, generation {record.generation}")
        self._local.publish(
            ClusterFounded(provider=self._name, cluster_id=record.cluster_id, generation=record.generation)
        )
        self._search.feed(FoundCluster())

    # While this node is a member.

    async def _look_after(self, me: ProviderMember, up: tuple[str, ...]) -> None:
        """Keeps the record up to date: who is up, and a founder that is. Writes it again if it was lost."""
        found, token = await self._answer(self._provider.read_record)
        ours = self.record or self._known
        if found is None:
            if ours is not None:
                await self._write_again(ours, token)
            return
        if self.record is not None and not found.is_of(self.record):
            self._tell_taken(found, self.record)
            return
        mine = found.names_any(up) or (self._known is not None and found.is_of(self._known))
        if not mine:
            return  # of another cluster, which this one merges with when their members reach each other
        kept = found.kept_by(me.authority, me.node_id, up)
        if kept == found or await self._answer(self._provider.write_record, kept, token):
            self._known = kept
            self.record = None if self.record is None else kept

    async def _write_again(self, record: ClusterRecord, token: str) -> None:
        self._local.log.warning("provider %s has lost the record of the cluster; writing it again", self._name)
        self._local.publish(
            ClusterRecordLost(provider=self._name, cluster_id=record.cluster_id, generation=record.generation)
        )
        await self._answer(self._provider.write_record, record, token)

    def _tell_taken(self, found: ClusterRecord, ours: ClusterRecord) -> None:
        """Another node has founded a later generation although this one lives."""
        if self._taken_by is not None and found.is_of(self._taken_by):
            return
        self._taken_by = found
        self._local.log.error(
            "node %s at %s has founded generation %d of the cluster although this node founded generation %d; "
            "both clusters merge when their members reach each other",
            found.node_id, found.authority, found.generation, ours.generation,
        )  # fmt: skip
        self._local.publish(
            ClusterRecordTaken(
                provider=self._name,
                cluster_id=found.cluster_id,
                generation=found.generation,
                authority=found.authority,
                node_id=found.node_id,
            )
        )

    # All.

    @property
    def _name(self) -> str:
        return self._provider.name

    async def _answer(self, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await answer(self._name, self._config.request_timeout_s, ask, *args, **kwargs)

    def _say(self, text: str) -> None:
        """Logs what this node does, once."""
        if text != self._said:
            self._said = text
            self._local.log.info("provider %s: %s", self._name, text)
