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
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from inaho.core.back_off import back_off_s
from inaho.core.inputs import Discovered, FoundCluster
from inaho.core.node.lifecycle import FAILED, LEFT, NEW, SEEKING
from inaho.core.provisioning.founding import ClusterRecord, Contact, Found, FoundingRule, Join, Wait
from inaho.core.provisioning.snapshot import ProviderMember, checked
from inaho.errors import ProviderError
from inaho.events import ClusterFounded, ClusterRecordLost, ClusterRecordTaken, SelfRemoved
from inaho.providers.answer import answer
from inaho.runtime.provisioning.contacts import contact_all

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.provisioning.ports import Contacts, RecordProvider, Search

__all__ = ["Founding"]

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
        if self.record is not None:
            await self._look_after(self.record)
        return self._config.read_period_s

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
        if self._rule is None:
            self._rule = FoundingRule(me, self._local.entropy.token(8).hex())
        step = self._rule.decide(record, members, await self._dial(me, record, members))
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
        self, me: ProviderMember, record: ClusterRecord | None, members: tuple[ProviderMember, ...]
    ) -> Mapping[str, Contact]:
        """Dials the founder, then all others, until there is a member."""
        contacts: dict[str, Contact] = {}
        if record is not None and record.authority != me.authority:
            contacts[record.authority] = await self._contacts.contact(record.authority)
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

    # After this node has founded.

    async def _look_after(self, record: ClusterRecord) -> None:
        """Compares the record with the one that this node has written; writes it again if there is none."""
        found, token = await self._answer(self._provider.read_record)
        if found is None:
            self._local.log.warning("provider %s has lost the record of the cluster; writing it again", self._name)
            self._local.publish(
                ClusterRecordLost(provider=self._name, cluster_id=record.cluster_id, generation=record.generation)
            )
            await self._answer(self._provider.write_record, record, token)
        elif found not in (record, self._taken_by):
            self._taken_by = found
            self._local.log.error(
                "node %s at %s has founded generation %d of the cluster although this node founded generation %d; "
                "both clusters merge when their members reach each other",
                found.node_id, found.authority, found.generation, record.generation,
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
