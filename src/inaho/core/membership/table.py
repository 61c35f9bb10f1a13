"""The membership table: merges the statements of all nodes about the members.

Each node numbers its own statements. Of all statements about an authority the table keeps the one that wins by
`precedence`, and for each origin the number up to which its statements are covered (the digest). Two tables with the
same coverage are equal, whatever the order, loss and repetition of messages. Two tables that differ, differ by ranges,
which deltas carry. Statements that a later one replaced are not kept, because the later one is sent too. So ranges have
gaps, and the table is as large as the cluster, not as its history.

Why no vector clocks per record: a record has one natural owner, and its incarnation orders the statements about it. Why
versions in addition to the records: a digest of versions shows what a peer lacks without a list of the whole table.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

import msgspec
import xxhash

from inaho.config import MembershipConfig
from inaho.core.membership.block_list import BlockList
from inaho.core.membership.contents import HASH_MASK, Contents, hash_of, version_of
from inaho.core.membership.delta import Applied, Change, MissingRange, Refusal, to_digest
from inaho.core.membership.incarnation import generation_of
from inaho.core.membership.member import advance, is_live
from inaho.core.membership.plausibility import impossible, jump
from inaho.core.membership.precedence import stronger
from inaho.core.membership.tombstones import Tombstones
from inaho.core.messages import SEQUENCE_MAX, VERSION_MAX, BlockNotice, Entry, MembershipDelta, TableSnapshot
from inaho.errors import IllegalTransition
from inaho.types import Member, MemberStatus

__all__ = ["Credible", "MembershipTable"]

_encode = msgspec.msgpack.Encoder().encode

Credible = Callable[[Member | None, Entry], bool]
"""Whether a statement that would win over a record is accepted now; else it is held back."""


def _believe(before: Member | None, entry: Entry) -> bool:
    return True


class MembershipTable:
    """The merged table of one node.

    Args:
        node_id: of this node: the origin of the statements that `author` makes.
        config: bounds and periods.
    """

    def __init__(self, node_id: str, config: MembershipConfig) -> None:
        self.node_id = node_id
        self.blocks = BlockList(config.members_max)
        self.tombstones = Tombstones(config.tombstone_s, config.tombstones_max)
        self._config = config
        # Winning statement per authority, tombstones included.
        self._entries: dict[str, Entry] = {}
        # The same statements by their origin, without empty maps.
        self._by_origin: dict[str, dict[str, Entry]] = {}
        # The coverage of each origin, and its sum.
        self._covered: dict[str, int] = {}
        self._covered_sum = 0
        # What forgotten origins had contributed to `version`, so that it never falls.
        self._base = 0
        # Sum of the hashes of live records, modulo 2**64: updated with each change instead of computed again.
        self._hash = 0
        # Hash of the block list, and the notices of which it was computed.
        self._blocks_hash = 0
        self._blocks_hashed: tuple[BlockNotice, ...] = ()
        self._live: dict[str, Member] = {}
        # Authority of each live node id.
        self._authority_of: dict[str, str] = {}
        # Authorities of live members, kept in order, and how many of them are unreachable.
        self._order: list[str] = []
        self._unreachable = 0
        self._sorted: tuple[Member, ...] | None = ()
        # All statements of an origin, as last sent: rumours ask for them once per round.
        self._told: dict[str, MembershipDelta] = {}
        # A copy of the contents that `check` has found valid last.
        self._sound: Contents | None = None

    # What others read.

    @property
    def version(self) -> int:
        """Grows with every change; equal on nodes that have converged."""
        return self._base + self._covered_sum + self.blocks.version

    @property
    def live(self) -> tuple[Member, ...]:
        """All that are not removed, sorted by authority."""
        if self._sorted is None:
            self._sorted = tuple(map(self._live.__getitem__, self._order))
        return self._sorted

    @property
    def authorities(self) -> tuple[str, ...]:
        """Authorities of all that are not removed, sorted."""
        return tuple(self._order)

    @property
    def unreachable(self) -> int:
        """How many of them are unreachable."""
        return self._unreachable

    def __len__(self) -> int:
        return len(self._live)

    def get(self, authority: str) -> Member | None:
        """The record that holds for that authority, removed ones included."""
        entry = self._entries.get(authority)
        return None if entry is None else entry.member

    def entry(self, authority: str) -> Entry | None:
        """The statement that holds for that authority."""
        return self._entries.get(authority)

    def records(self) -> Iterator[Member]:
        """All records that hold, removed ones included, in the order in which their authorities were first heard of."""
        return (entry.member for entry in self._entries.values())

    def find(self, node_id: str) -> Member | None:
        """The live member of that node id."""
        authority = self._authority_of.get(node_id)
        return None if authority is None else self._live[authority]

    def removed(self, node_id: str, incarnation: int) -> bool:
        """Whether that generation of that node is known to be removed or replaced."""
        member = self.find(node_id)
        if member is not None:
            return generation_of(incarnation) < generation_of(member.incarnation)
        return self.tombstones.removed(node_id, incarnation)

    def covered(self, origin: str) -> int:
        """The coverage of `origin`: the number of its last statement that is known."""
        return self._covered.get(origin, 0)

    def digest(self, now: float) -> dict[str, int]:
        """The coverage of each origin, without origins that are about to be forgotten, so that they do not return."""
        stale = self.tombstones.fading(now)
        if not stale:
            return dict(self._covered)
        return {origin: version for origin, version in self._covered.items() if origin not in stale}

    def content_hash(self) -> int:
        """xxh3_64 over the canonical msgpack of each live record and of the block list, summed modulo 2**64.

        Equal on two tables exactly when they have the same members and blocks (except for hash collisions). Tombstones
        do not count, since each node forgets them by its own clock.
        """
        notices = self.blocks.notices
        if not notices:
            return self._hash
        if notices is not self._blocks_hashed:
            self._blocks_hashed, self._blocks_hash = notices, xxhash.xxh3_64_intdigest(_encode(notices))
        return (self._hash + self._blocks_hash) & HASH_MASK

    # What is sent to others.

    def delta(self, now: float, origin: str, from_version: int) -> MembershipDelta:
        """All statements of `origin` after `from_version` that still hold."""
        stale = self.tombstones.fading(now)
        if from_version == 0 and not stale:
            told = self._told.get(origin)
            if told is None:
                entries = sorted(self._by_origin.get(origin, {}).values(), key=version_of)
                told = self._told[origin] = MembershipDelta(origin, 0, self.covered(origin), tuple(entries))
            return told
        kept = self._by_origin.get(origin, {})
        entries = [
            entry
            for entry in kept.values()
            if entry.version > from_version
            and not (entry.member.status is MemberStatus.REMOVED and entry.member.node_id in stale)
        ]
        entries.sort(key=version_of)
        return MembershipDelta(origin, from_version, max(from_version, self.covered(origin)), tuple(entries))

    def snapshot(self, now: float) -> TableSnapshot:
        """The whole table, for a joiner (SPEC CL-1.5) or a peer with which deltas did not settle a difference."""
        stale = self.tombstones.fading(now)
        entries = tuple(
            self._entries[authority]
            for authority in sorted(self._entries)
            if is_live(self._entries[authority].member) or self._entries[authority].member.node_id not in stale
        )
        return TableSnapshot(self.version, to_digest(self.digest(now)), entries, self.blocks.notices)

    # What changes it.

    def author(self, now: float, member: Member, reason: str = "", sources: tuple[str, ...] = ()) -> Change:
        """Makes a statement about a subject, as this node.

        Raises:
            IllegalTransition: not allowed after what holds now; nothing changed.
        """
        before = self.get(member.authority)
        advance(before, member)
        if before is not None and not stronger(member, before):
            raise IllegalTransition("a stronger record holds", authority=member.authority)
        reason_against = self._out_of_bounds(before, member)
        if reason_against:
            raise IllegalTransition(reason_against, authority=member.authority)
        entry = Entry(self.node_id, self.covered(self.node_id) + 1, member, reason, sources)
        self._cover(self.node_id, entry.version, now)
        self._store(now, entry)
        return Change(before, entry)

    def apply(self, now: float, delta: MembershipDelta, credible: Credible = _believe) -> Applied:
        """Merges a range of one origin; a stale range changes nothing, a gap is reported."""
        applied = Applied()
        covered = self.covered(delta.origin)
        if delta.to_version <= covered:
            return applied
        if delta.from_version > covered:
            applied.gaps.append(MissingRange(delta.origin, covered, delta.from_version))
            return applied
        if not self._knowable(delta.origin):
            return applied
        reach = delta.to_version
        for entry in sorted(delta.entries, key=version_of):
            if entry.origin != delta.origin or not covered < entry.version <= delta.to_version:
                continue
            if not self._merge(now, entry, applied, credible):
                # Covered only up to the first statement that was refused or held back: it is offered again, and may be
                # accepted then.
                reach = min(reach, entry.version - 1)
        self._advance(now, delta.origin, reach, applied)
        return applied

    def merge(self, now: float, snapshot: TableSnapshot, credible: Credible = _believe) -> Applied:
        """Merges a whole table."""
        applied = Applied()
        held_back: dict[str, int] = {}
        for entry in snapshot.entries:
            if not self._merge(now, entry, applied, credible):
                held_back[entry.origin] = min(held_back.get(entry.origin, entry.version), entry.version)
        for line in snapshot.versions:
            reach = min(line.version, held_back.get(line.origin, line.version + 1) - 1)
            if self._knowable(line.origin):
                self._advance(now, line.origin, reach, applied)
        return applied

    def adopt_version(self, version: int) -> None:
        """Raises `version` to that of a peer with an equal table whose forgotten origins counted for more.

        A version beyond the sum that origins can reach is refused: it is false, and would leave no room for correct
        ones.
        """
        if version <= VERSION_MAX * SEQUENCE_MAX:
            self._base += max(0, version - self.version)

    def continue_from(self, covered: int, version: int) -> None:
        """Carries this node's own numbering and version over into a new table, when it joins again."""
        self._cover(self.node_id, max(covered, self.covered(self.node_id)))
        self.adopt_version(version)

    def expire(self, now: float) -> None:
        """Forgets tombstones and origins that are old enough."""
        for node_id in self.tombstones.expire(now):
            if node_id in self._authority_of:
                continue
            covered = self._covered.pop(node_id, 0)
            self._told.pop(node_id, None)
            self._covered_sum -= covered
            self._base += covered
            for authority, entry in [*self._entries.items()]:
                if entry.member.node_id == node_id and entry.member.status is MemberStatus.REMOVED:
                    self._unlink(entry)
                    del self._entries[authority]

    def next_deadline(self) -> float | None:
        """When the next tombstone is to be forgotten."""
        return self.tombstones.next_deadline()

    # The parts of a merge.

    def _merge(self, now: float, entry: Entry, applied: Applied, credible: Credible) -> bool:
        """Takes over one statement if it wins; False when it is out of bounds, or held back."""
        member = entry.member
        before = self.get(member.authority)
        if before is not None and not stronger(member, before):
            return True
        reason = impossible(entry) or self._out_of_bounds(before, member)
        if reason:
            applied.refused.append(Refusal(entry, reason))
            return False
        if not credible(before, entry):
            applied.deferred.append(entry)
            return False
        self._store(now, entry)
        applied.changes.append(Change(before, entry))
        return True

    def _out_of_bounds(self, before: Member | None, member: Member) -> str:
        if jump(before, member) > self._config.incarnation_jump_max:
            known = "any" if before is None else before.incarnation
            return f"incarnation {member.incarnation} is too far above {known}"
        holder = self._authority_of.get(member.node_id, member.authority)
        if holder != member.authority:
            # A process has one authority. Otherwise an invented second authority, which is silent, could have both
            # removed.
            return f"node {member.node_id} is a member at {holder}"
        if is_live(member) and not is_live(before) and len(self._live) >= self._config.members_max:
            return "the table is full (membership.members_max)"
        return ""

    def _store(self, now: float, entry: Entry) -> None:
        authority, member = entry.member.authority, entry.member
        held = self._entries.get(authority)
        if held is not None:
            self._unlink(held)
            if held.member.node_id != member.node_id:
                self.tombstones.bury(now, held.member)
        self._entries[authority] = entry
        self._told.pop(entry.origin, None)
        self._by_origin.setdefault(entry.origin, {})[authority] = entry
        if is_live(member):
            self._live[authority] = member
            insort(self._order, authority)
            self._unreachable += member.status is MemberStatus.UNREACHABLE
            self._authority_of[member.node_id] = authority
            self._sorted = None
            self._hash = (self._hash + hash_of(member)) & HASH_MASK
            self.tombstones.lift(member)
        else:
            self.tombstones.bury(now, member)

    def _unlink(self, entry: Entry) -> None:
        """Takes a statement out of the indexes and the hash; `_entries` is the caller's."""
        authority = entry.member.authority
        self._told.pop(entry.origin, None)
        kept = self._by_origin[entry.origin]
        del kept[authority]
        if not kept:
            del self._by_origin[entry.origin]
        if self._live.pop(authority, None) is not None:
            del self._order[bisect_left(self._order, authority)]
            self._unreachable -= entry.member.status is MemberStatus.UNREACHABLE
            self._hash = (self._hash - hash_of(entry.member)) & HASH_MASK
            if self._authority_of.get(entry.member.node_id) == authority:
                del self._authority_of[entry.member.node_id]
            self._sorted = None

    def _advance(self, now: float, origin: str, reach: int, applied: Applied) -> None:
        covered = self.covered(origin)
        if reach > covered:
            applied.advanced[origin] = covered
            self._cover(origin, reach, now)

    def _cover(self, origin: str, version: int, now: float | None = None) -> None:
        self._covered_sum += version - self._covered.get(origin, 0)
        self._covered[origin] = version
        self._told.pop(origin, None)
        if now is not None and origin != self.node_id and self.find(origin) is None:
            self.tombstones.orphan(now, origin)

    def _knowable(self, origin: str) -> bool:
        """Whether there is room for one more origin."""
        bound = self._config.members_max + self._config.tombstones_max
        return origin in self._covered or len(self._covered) < bound

    def check(self) -> None:
        """Asserts the invariants. Conditions of the contents alone are checked only when the contents have changed."""
        by_origin = self._by_origin
        kept: list[Entry] = []
        for said in by_origin.values():
            kept += said.values()
        assert len(kept) == len(self._entries)
        for authority, entry in self._entries.items():
            assert by_origin[entry.origin][authority] is entry
        maps = (self._entries, self._live, self._covered, self._told, self._authority_of)
        held = (*maps, self._order, kept, self._covered_sum, self._hash, self._unreachable)
        if held != self._sound:
            contents = Contents(*held)
            contents.check(self._config.members_max)
            self._sound = contents.copy()
        self.tombstones.check()
        self.blocks.check()
