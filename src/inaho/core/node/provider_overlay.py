"""Decides which of the members that gossip knows are members by the provider (`membership.source = "provider"`).

Gossip goes on as always: it finds out who is reachable, spreads loads and blocks, and keeps its table. The topology is
made from both. A member that the provider lists is up, although gossip may not reach it. One that it lists no more is
unreachable at once, so it owns nothing and holds no lease; then no member talks to it, so gossip removes it as any
other unreachable member. One that gossip knows and the provider has not listed yet is joining. A process that the
provider lists and that gossip has not heard of is up, if its entry says that a member has admitted it: the network
between may be cut.

Why gossip removes nobody who is listed: a split network would then have two memberships.

Why a member that is listed no more does not leave the topology at once: its registration may have run out for a moment,
and a member that left the topology never comes back in the same generation.
"""

from __future__ import annotations

from collections.abc import Callable

from inaho.core.bounded_map import BoundedMap
from inaho.core.membership.incarnation import generation_of
from inaho.core.membership.member import with_status
from inaho.types import Member, MemberStatus

__all__ = ["ProviderOverlay"]


class ProviderOverlay:
    """The members of one node by its provider, laid over those that gossip knows.

    Args:
        decides: whether the provider is the membership; without it nothing is changed.
        own: node id of this node.
        members_max: bound of the processes that are remembered as listed no more.
    """

    def __init__(self, *, decides: bool, own: str, members_max: int) -> None:
        self.decides = decides
        self._own = own
        self._listed: dict[str, Member] = {}
        # Node ids that were listed and are not any more.
        self._dropped: BoundedMap[str, None] = BoundedMap(members_max)
        # Processes that gossip did not know and that left the topology, with their incarnation at that time.
        self._ended: BoundedMap[str, int] = BoundedMap(members_max)
        self._made: tuple[Member, ...] = ()
        self._made_of: tuple[tuple[Member, ...], dict[str, Member]] | None = None

    def read(self, members: tuple[Member, ...]) -> None:
        """The provider lists these, and no others."""
        before, self._listed = self._listed, {member.node_id: member for member in members}
        for node_id in before:
            if node_id not in self._listed:
                self._dropped.renew(node_id, None)
        for node_id in self._listed:
            self._dropped.pop(node_id, None)

    def ended(self, member: Member) -> None:
        """A process that gossip does not know has left the topology: it does not come back in this generation."""
        self._ended.renew(member.node_id, member.incarnation)
        self._made_of = None

    def lists(self, node_id: str) -> bool:
        """Whether that process is a member by the provider."""
        return self.decides and node_id in self._listed

    def may_join(self, node_id: str) -> bool:
        """Whether that process may become a member now."""
        return not self.decides or node_id in self._listed

    def has_dropped(self, node_id: str) -> bool:
        """Whether that process was a member by the provider and is none any more."""
        return self.decides and node_id in self._dropped

    def members(self, live: tuple[Member, ...], removed: Callable[[str, int], bool]) -> tuple[Member, ...]:
        """The members of the topology, sorted by authority.

        Args:
            live: those that gossip knows, sorted.
            removed: whether gossip knows that generation of that node id to be removed.
        """
        if not self.decides:
            return live
        if self._made_of is not None and self._made_of[0] is live and self._made_of[1] is self._listed:
            return self._made
        found = {member.authority: self._as_listed(member) for member in live}
        known = {member.node_id: None for member in live}
        for node_id, member in self._listed.items():
            if node_id not in known and member.authority not in found and self._is_new(member, removed):
                found[member.authority] = member
        self._made_of = live, self._listed
        self._made = tuple(found[authority] for authority in sorted(found))
        return self._made

    def _is_new(self, member: Member, removed: Callable[[str, int], bool]) -> bool:
        """Whether a process that gossip has not heard of was admitted, and is not one that has left."""
        ended = self._ended.get(member.node_id, 0)
        admitted = generation_of(member.incarnation) > generation_of(ended)
        return admitted and not removed(member.node_id, member.incarnation)

    def _as_listed(self, member: Member) -> Member:
        if member.node_id in self._listed:
            return with_status(member, MemberStatus.UP) if member.status is MemberStatus.UNREACHABLE else member
        if member.status is not MemberStatus.UP or member.node_id == self._own:
            return member
        dropped = member.node_id in self._dropped
        return with_status(member, MemberStatus.UNREACHABLE if dropped else MemberStatus.JOINING)

    def check(self) -> None:
        """Asserts the invariants."""
        self._dropped.check()
        self._ended.check()
        assert all(node_id not in self._listed for node_id in self._dropped)
        assert all(node_id == member.node_id for node_id, member in self._listed.items())
