"""Counts which members have told this node directly that a member left, is unreachable or was removed.

A statement travels through others, and nothing in it proves who made it: its origin and its `voices` are what the
sender says they are. The one thing that is proved is who sends, because the transport authenticates connections. So a
statement that ends a life (left, unreachable, removed, replaced by another) is taken over only when two members have
told it over their own connections, or one has and this node has seen the same with its own eyes. Its subject may say
it alone. Until then it is held back, looked into, and asked for again.

Why that is enough against one member that lies: an honest member passes on only what it has taken over or seen. Of two
that tell the same, one is honest; whoever of the honest was the first to take it over had it from another who had seen
it. So a lie needs an accomplice, and a broken link needs a witness. Why not signatures: they would need asymmetric keys
per node, and a library for them, to tell more than the cluster needs to know. (The same argument carries "certified
propagation": Koo, "Broadcast in Radio Networks Tolerating Byzantine Adversarial Behavior", 2004, with one liar.)

What one member that lies can still do: have others look at a member and have that one refute, as often as it likes; be
the second voice where somebody honestly cannot reach a member; mislead those who join through it, until they meet the
others; invent members, up to the bound, and block authorities, since an operator may speak through any member. What no
member can do is take another one's place away by itself. A process that holds the secret and joins under two names
has two voices: this guards against members that err, not against whoever owns the secret.
"""

from __future__ import annotations

import msgspec

from inaho.core.bounded_map import BoundedMap
from inaho.core.membership.incarnation import generation_of
from inaho.core.membership.member import is_live
from inaho.core.membership.precedence import stronger
from inaho.core.messages import VOICES_MAX
from inaho.types import Member, MemberStatus

__all__ = ["Claim", "Claims", "ends_life", "new_life"]


def new_life(before: Member, after: Member) -> bool:
    """Whether `after` is another node, or another generation, than the live `before`."""
    return before.node_id != after.node_id or generation_of(before.incarnation) != generation_of(after.incarnation)


def ends_life(before: Member | None, after: Member) -> bool:
    """Whether taking over `after` takes something from a live member: its place, or the trust in its answer."""
    if before is None or not is_live(before):
        return False
    return new_life(before, after) or (after.status >= MemberStatus.LEAVING and after.status > before.status)


class Claim(msgspec.Struct):
    """What one member has told about one authority.

    Attributes:
        member: the strongest record that it told.
        since: when it told so first, seconds.
        told_at: when it told so last.
        look_at: when to look whether it can be believed by now, or is known to be wrong.
        answered: whether the teller was told that it is.
    """

    member: Member
    since: float
    told_at: float
    look_at: float
    answered: bool = False


class Claims:
    """Claims by authority and teller.

    Args:
        size_max: authorities about which claims are kept; beyond it the oldest are dropped.
        keep_s: how long a claim waits for a second voice.
        look_s: between two looks at one that waits.
    """

    def __init__(self, size_max: int, keep_s: float, look_s: float) -> None:
        self._keep_s = keep_s
        self._look_s = look_s
        self._claims: BoundedMap[str, dict[str, Claim]] = BoundedMap(size_max)

    def __bool__(self) -> bool:
        return bool(self._claims)

    def hear(self, now: float, teller: str, member: Member) -> bool:
        """That member tells us this record; True when it tells more than it did before."""
        claims = self._claims.get(member.authority)
        if claims is None:
            claims = self._claims[member.authority] = {}
        claim = claims.get(teller)
        if claim is not None:
            claim.told_at = now
            if not stronger(member, claim.member):
                return False
            claim.member = member
            return True
        if len(claims) >= VOICES_MAX:
            return False
        claims[teller] = Claim(member, now, now, now + self._look_s)
        return True

    def tellers(self, member: Member) -> tuple[str, ...]:
        """Node ids of those who have told this record or a worse one of the same life, in that order."""
        claims = self._claims.get(member.authority, {})
        return tuple(
            teller
            for teller, claim in claims.items()
            if not new_life(claim.member, member) and not stronger(member, claim.member)
        )

    def settled(self, member: Member) -> None:
        """This record holds now: claims that do not go beyond it were taken over, or outdone by their subject."""
        claims = self._claims.get(member.authority, {})
        for teller in [teller for teller, claim in claims.items() if not stronger(claim.member, member)]:
            del claims[teller]
        if not claims:
            self._claims.pop(member.authority, None)

    def withdraw(self, teller: str) -> None:
        """That member has begun a new life, with the view of those who admitted it, or is gone."""
        for authority, claims in list(self._claims.items()):
            claims.pop(teller, None)
            if not claims:
                del self._claims[authority]

    def clear(self) -> None:
        """Forgets all."""
        self._claims.clear()

    def due(self, now: float) -> list[tuple[str, Claim]]:
        """Claims to look at now, with their tellers."""
        due: list[tuple[str, Claim]] = []
        for claims in self._claims.values():
            for teller, claim in claims.items():
                if now >= claim.look_at:
                    claim.look_at = now + self._look_s
                    due.append((teller, claim))
        return due

    def expire(self, now: float) -> list[tuple[str, Claim]]:
        """Drops claims that found no second voice in time; returns them with their tellers."""
        lapsed: list[tuple[str, Claim]] = []
        for authority, claims in list(self._claims.items()):
            for teller, claim in list(claims.items()):
                if now >= claim.since + self._keep_s:
                    lapsed.append((teller, claim))
                    del claims[teller]
            if not claims:
                del self._claims[authority]
        return lapsed

    def next_deadline(self) -> float | None:
        """When the next claim is looked at or dropped."""
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
            assert 0 < len(claims) <= VOICES_MAX
            assert all(claim.member.authority == authority for claim in claims.values())
            assert all(claim.since <= claim.told_at for claim in claims.values())
