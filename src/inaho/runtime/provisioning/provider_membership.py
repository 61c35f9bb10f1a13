"""Decides which members a node has by the snapshots of its provider (`membership.source = "provider"`).

Who is listed is a member at once. Who is listed no more is removed, unless the snapshot is doubted
(`core.provisioning.mass_removal`): then this module reads again and dials those that are missing. Those that answer
stay members until they are listed again or answer no more.

This node cannot dial itself. If the provider has been up for a while, and lists most members but not this node, the
others have removed it: after the second read it gives up its place, and comes back when it is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from inaho.core.provisioning.founding import Contact
from inaho.core.provisioning.mass_removal import SHARE, MassRemovalGuard
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.events import SnapshotDoubted

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.provisioning.ports import MemberContacts

__all__ = ["ProviderMembership"]


class ProviderMembership:
    """The members of one node, by its provider.

    Args:
        local: the node.
        contacts: dials members that are missing.
        steady: whether the provider has been up for long enough that registrations were renewed.
        read_soon: has the provider read again.
        apply: takes the members, sorted by authority, when they have changed.
    """

    def __init__(
        self,
        local: LocalNode,
        contacts: MemberContacts,
        *,
        steady: Callable[[], bool],
        read_soon: Callable[[], None],
        apply: Callable[[tuple[ProviderMember, ...]], None],
    ) -> None:
        self._local = local
        self._contacts = contacts
        self._steady = steady
        self._read_soon = read_soon
        self._apply = apply
        self._guard: MassRemovalGuard | None = None
        self._provider = ""
        """The one of the newest snapshot. Another one may lack a member that cannot reach it."""
        self._members: dict[str, ProviderMember] = {}
        self._listed: tuple[ProviderMember, ...] = ()
        self._dialled: dict[str, None] = {}
        self._told: tuple[str, ...] = ()

    def read(self, snapshot: ProviderSnapshot) -> None:
        """The provider in use was read in full, and this is its snapshot: a new one, or the same one again."""
        if self._guard is None:  # made late: this node knows its authority when it listens
            self._guard = MassRemovalGuard(self._local.authority)
        guard, self._listed = self._guard, snapshot.members
        replaced = [member.authority for member in snapshot.members if self._replaces(member)]
        steady = self._steady() and snapshot.provider == (self._provider or snapshot.provider)
        self._provider = snapshot.provider
        if guard.doubts(snapshot, self._members, steady=steady, replaced=replaced):
            self._read_soon()
            if guard.missing != self._told:
                self._tell(snapshot, guard.missing)
        else:
            self._told = ()
        for authority in guard.to_probe:
            if authority not in self._dialled:
                self._dialled[authority] = None
                dial = self._dial(guard, authority, self._members[authority].node_id)
                self._local.spawn(dial, name=f"inaho-provider-probe-{authority}")
        self._settle(guard)

    def _replaces(self, listed: ProviderMember) -> bool:
        """Whether it is another process at the authority of a member."""
        member = self._members.get(listed.authority)
        return member is not None and member.node_id != listed.node_id

    def _tell(self, snapshot: ProviderSnapshot, missing: tuple[str, ...]) -> None:
        self._told = missing
        self._local.log.warning(
            "snapshot %d of provider %s lacks %d of %d members; they stay until it is read again and they are dialled",
            snapshot.seq_no, snapshot.provider, len(missing), len(self._members),
        )  # fmt: skip
        self._local.publish(SnapshotDoubted(provider=snapshot.provider, seq_no=snapshot.seq_no, missing=missing))

    async def _dial(self, guard: MassRemovalGuard, authority: str, node_id: str) -> None:
        """Dials a missing member. One that answers and is a member has not left its place."""
        try:
            found = await self._contacts.contact(authority, node_id)
        finally:
            del self._dialled[authority]
        guard.probed(authority, alive=found is Contact.MEMBER)
        self._settle(guard)

    def _settle(self, guard: MassRemovalGuard) -> None:
        """Applies who is listed and who stays although it is not."""
        listed = {member.authority: member for member in self._listed}
        kept = {authority: self._members[authority] for authority in self._kept(guard) if authority in self._members}
        members = listed | kept
        if members != self._members:
            self._members = members
            self._apply(tuple(members[authority] for authority in sorted(members)))

    def _kept(self, guard: MassRemovalGuard) -> tuple[str, ...]:
        if not guard.settled:
            return guard.missing
        own, missing = self._local.authority, guard.missing
        others_have_removed_it = own in missing and len(missing) < SHARE * len(self._members) and self._steady()
        return tuple(each for each in guard.alive if each != own or not others_have_removed_it)
