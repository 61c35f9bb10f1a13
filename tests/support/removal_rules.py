"""Any history of a provider that is the membership and forgets its members, and the guard against mass removals."""

from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine, rule
from hypothesis.strategies import booleans, frozensets, integers

from inaho.core.provisioning.mass_removal import MassRemovalGuard
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot, snapshot_hash

__all__ = ["RemovalRules", "WronglyRemoved"]

ME = "10.0.0.1:0"
PORTS = integers(0, 6)


class WronglyRemoved(AssertionError):  # noqa: N818  what has happened
    """A member that answers was removed although the snapshot had to be doubted, or a dead one stays."""


class RemovalRules(RuleBasedStateMachine):
    """A node that applies snapshots as the guard allows."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = MassRemovalGuard(ME)
        self.listed = frozenset(range(7))
        self.members = tuple(self.name(port) for port in range(7))
        self.alive = frozenset(self.members)
        self.answered: dict[str, None] = {}
        """Members that have answered a probe and were not listed since."""
        self.reads: dict[str, int] = {}
        """By member that the newest read lacks, for how many reads."""
        self.probed: dict[str, None] = {}
        """Those of them that were probed."""
        self.let_go: list[str] = []
        """Members that were removed without a probe since the last doubt, and are not listed again."""
        self.doubted = False
        """The newest snapshot was not applied."""

    @staticmethod
    def name(port: int) -> str:
        return f"10.0.0.1:{port}"

    @rule(lost=frozensets(PORTS))
    def list_shrinks(self, lost: frozenset[int]) -> None:
        self.listed = self.listed - lost

    @rule(found=frozensets(PORTS))
    def list_grows(self, found: frozenset[int]) -> None:
        self.listed = self.listed | {port for port in found if self.name(port) in self.alive}

    @rule(port=integers(1, 6))
    def die(self, port: int) -> None:
        self.alive = self.alive - {self.name(port)}

    @rule(steady=booleans(), probes=integers(0, 7))
    def read(self, steady: bool, probes: int) -> None:
        """One full read; then so many of the probes have a result."""
        entries = tuple(ProviderMember(self.name(port)) for port in sorted(self.listed))
        snapshot = ProviderSnapshot("etcd", 1, snapshot_hash(entries, ()), entries)
        there = [entry.authority for entry in entries]
        members = self.members
        missing = [one for one in members if one not in there]
        is_open = self.doubted and any(
            reads < 2 or (one not in self.probed and one != ME) for one, reads in self.reads.items()
        )
        fresh = [one for one in missing if one not in self.reads and one != ME]
        self.let_go = [one for one in self.let_go if one not in there]
        many = 2 * (len(fresh) + len(self.let_go)) >= len(members) + len(self.let_go)
        lies = any(one in self.answered for one in missing)
        must_doubt = not steady or is_open or ME in missing or many or lies
        if fresh:
            self.let_go = [] if must_doubt else self.let_go + fresh
        self.reads = {one: self.reads.get(one, 0) + 1 for one in missing}
        self.probed = {one: None for one in self.probed if one not in there}
        self.answered = {one: None for one in self.answered if one not in there}
        self.doubted = self.guard.doubts(snapshot, members, steady=steady)
        self.guard.check()
        if not self.doubted:
            stay = set(self.guard.alive)
            self.members = tuple(sorted({*there, *(one for one in members if one in stay)}))
        if must_doubt and fresh and not self.doubted:
            raise WronglyRemoved(f"one read removes {', '.join(fresh)}")
        removed = [one for one in members if one not in self.members]
        if ME in removed:
            raise WronglyRemoved("this node has removed itself")
        for one in removed:
            if one in self.answered:
                raise WronglyRemoved(f"{one} answers and was removed")
        for one in self.guard.to_probe[:probes]:
            self.probe(one)

    def probe(self, one: str) -> None:
        self.guard.probed(one, alive=one in self.alive)
        self.probed[one] = None
        self.answered.pop(one, None)
        if one in self.alive:
            self.answered[one] = None

    def teardown(self) -> None:
        """A list that stays is applied after a few reads whose probes have all had a result."""
        for _ in range(4):
            self.read(True, 7)
        self.read(True, 7)
        stays = [one for one in self.members if one != ME and one not in self.alive]
        dead = [one for one in stays if int(one.rpartition(":")[2]) not in self.listed]
        if self.doubted or dead:
            raise WronglyRemoved(f"doubted: {self.doubted}; dead, not listed and members: {dead}")
