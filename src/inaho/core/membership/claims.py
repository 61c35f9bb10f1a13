"""Counts which members have told this node directly that a member left, is unreachable or was removed.

A statement travels through other members, and nothing in it proves who made it: its origin and its `sources` are only
what the sender writes. Only the sender itself is proved, because the transport authenticates connections. So a
statement that ends a life (left, unreachable, removed, replaced by another node) is accepted only when two members have
sent it over their own connections, or one has and this node has observed the same. The subject itself may send it
alone. Until then the statement is held back and investigated, and peers offer it again.

Why this is enough against one member that lies: a correct member passes on only what it has accepted or observed. Of
two members that send the same statement one is correct. The first correct member that accepted it got it from another
one that had observed it. So a lie needs a second lying member, and a broken link needs a second observer. Why no
signatures: they need asymmetric keys per node and a library, and prove more than the cluster needs. (The same argument
is used for "certified propagation": Koo, "Broadcast in Radio Networks Tolerating Byzantine Adversarial Behavior", 2004,
with one liar.)

What one lying member can still do: make others probe a member, which then refutes, as often as it likes; be the second
source when a correct member cannot reach another one; mislead nodes that join through it, until they meet other
members; invent members, up to the bound; and block authorities, since an operator may use any member. It cannot take
another member's place away by itself. A process that has the secret and joins under two names counts as two sources:
this protects against members that are wrong, not against the owner of the secret.
"""

from __future__ import annotations

import msgspec

from inaho.core.bounded_map import BoundedMap
from inaho.core.membership.incarnation import generation_of
from inaho.core.membership.member import is_live
from inaho.core.membership.precedence import stronger
from inaho.core.messages import SOURCES_MAX
from inaho.types import Member, MemberStatus

__all__ = ["Claim", "Claims", "ends_life", "new_life"]


def new_life(before: Member, after: Member) -> bool:
    """Whether `after` is another node, or another generation, than the live `before`."""
    return before.node_id != after.node_id or generation_of(before.incarnation) != generation_of(after.incarnation)


def ends_life(before: Member | None, after: Member) -> bool:
    """Whether `after` takes its place, or its status as reachable, from a live member."""
    if before is None or not is_live(before):
        return False
    return new_life(before, after) or (after.status >= MemberStatus.LEAVING and after.status > before.status)


class Claim(msgspec.Struct):
    """What one member has reported about one authority.

    Attributes:
        member: the strongest record that it sent.
        since: when it sent the first one, seconds.
        told_at: when it sent the last one.
        look_at: when to check whether the claim can be accepted by now, or is known to be wrong.
        answered: whether the sender was notified that it is wrong.
    """

    member: Member
    since: float
    told_at: float
    look_at: float
    answered: bool = False


class Claims:
    """Claims by authority and sender.

    Args:
        size_max: authorities about which claims are kept; beyond it the oldest are dropped.
        keep_s: how long a claim waits for a second source.
        look_s: time between two checks of a claim that waits.
    """

    def __init__(self, size_max: int, keep_s: float, look_s: float) -> None:
        self._keep_s = keep_s
        self._look_s = look_s
        self._claims: BoundedMap[str, dict[str, Claim]] = BoundedMap(size_max)

    def __bool__(self) -> bool:
        return bool(self._claims)

    def record(self, now: float, sender: str, member: Member) -> bool:
        """Records that the member sent this record; True when it claims more than before."""
        claims = self._claims.get(member.authority)
        if claims is None:
            claims = self._claims[member.authority] = {}
        claim = claims.get(sender)
        if claim is not None:
            claim.told_at = now
            if not stronger(member, claim.member):
                return False
            claim.member = member
            return True
        if len(claims) >= SOURCES_MAX:
            return False
        claims[sender] = Claim(member, now, now, now + self._look_s)
        return True

    def senders(self, member: Member) -> tuple[str, ...]:
        """Node ids of the members that sent this record or a worse one of the same generation, in order."""
        claims = self._claims.get(member.authority, {})
        return tuple(
            sender
            for sender, claim in claims.items()
            if not new_life(claim.member, member) and not stronger(member, claim.member)
        )

    def record_changed(self, member: Member) -> None:
        """This record holds now: drops claims that do not exceed it, since they were accepted or refuted."""
        claims = self._claims.get(member.authority, {})
        for sender in [sender for sender, claim in claims.items() if not stronger(claim.member, member)]:
            del claims[sender]
        if not claims:
            self._claims.pop(member.authority, None)

    def withdraw(self, sender: str) -> None:
        """Drops the claims of a member that has joined again with the view of others, or is gone."""
        for authority, claims in list(self._claims.items()):
            claims.pop(sender, None)
            if not claims:
                del self._claims[authority]

    def clear(self) -> None:
        """Forgets all."""
        self._claims.clear()

    def due(self, now: float) -> list[tuple[str, Claim]]:
        """Claims to check now, with their senders."""
        due: list[tuple[str, Claim]] = []
        for claims in self._claims.values():
            for sender, claim in claims.items():
                if now >= claim.look_at:
                    claim.look_at = now + self._look_s
                    due.append((sender, claim))
        return due

    def expire(self, now: float) -> list[tuple[str, Claim]]:
        """Drops claims that found no second source in time; returns them with their senders."""
        lapsed: list[tuple[str, Claim]] = []
        for authority, claims in list(self._claims.items()):
            for sender, claim in list(claims.items()):
                if now >= claim.since + self._keep_s:
                    lapsed.append((sender, claim))
                    del claims[sender]
            if not claims:
                del self._claims[authority]
        return lapsed

    def next_deadline(self) -> float | None:
        """When the next claim is checked or dropped."""
        times = [
            min(claim.look_at, claim.since + self._keep_s)
            for claims in self._claims.values()
            for claim in claims.values()
        ]
        return min(times) if times else None

    def check(self) -> None:
        """Asserts the invariants."""
        self._claims.check()
        for authority, claims in self._claims.items():
            assert 0 < len(claims) <= SOURCES_MAX
            assert all(claim.member.authority == authority for claim in claims.values())
            assert all(claim.since <= claim.told_at for claim in claims.values())
