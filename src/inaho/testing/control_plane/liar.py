"""A member that sends false statements over its own connections, drawn from a seed.

The false statements are sent in addition to those of the member's real control plane, which is unchanged: the others
exchange messages with a correct node that also sends these. No other member may be removed because of any of them, and
a member that really dies meanwhile is still removed (`core.membership.claims` says why).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from inaho.core.effects import Effect, Publish
from inaho.core.inputs import Input, Received
from inaho.core.membership.incarnation import next_generation
from inaho.core.messages import (
    Accusation,
    ControlMessage,
    Entry,
    FullTable,
    Gossip,
    Mark,
    MembershipDelta,
    News,
    OriginVersion,
    TableSnapshot,
    ViewVerdict,
)
from inaho.core.node import ControlNode
from inaho.events import MemberRemoved, MemberUnreachable, SelfRemoved
from inaho.testing.control_plane.checker import Checker
from inaho.testing.control_plane.checkers import BoundedConvergence, all_checkers
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import Member, MemberStatus

__all__ = ["Liar", "LiarScenario", "NobodyByALie"]

REASONS: Final = ("dead", "silent", "wedged", "replaced", "left")
LIES_S: Final = 20.0


class NobodyByALie(Checker):
    """No correct node calls a running member unreachable or removed, and no correct member leaves its cluster.

    Args:
        liar: authority of the member that lies; nothing is required about it.
    """

    name = "nobody by a lie"

    def __init__(self, liar: str) -> None:
        self._liar = liar

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        for effect in effects:
            event = effect.event if isinstance(effect, Publish) else None
            if isinstance(event, MemberUnreachable | MemberRemoved | SelfRemoved):
                subject = event.member.authority
                process = simulation.nodes.get(subject)
                alive = process is not None and process.member.node_id == event.member.node_id
                if alive and self._liar not in (authority, subject):
                    raise self.fail(f"{authority}: {type(event).__name__} of {subject}, which is well ({event.reason})")


class Liar:
    """A member that lies.

    Args:
        simulation: in which it is a member.
        authority: which one.
        chance: seeded.
    """

    def __init__(self, simulation: ControlSimulation, authority: str, chance: random.Random) -> None:
        self._simulation = simulation
        self._authority = authority
        self._chance = chance
        self._lies: tuple[Callable[[Member], ControlMessage], ...] = (
            self._accuses,
            self._condemns,
            self._replaces,
            self._says_it_left,
            self._shows_a_table,
            self._refutes_for_it,
            self._passes_a_verdict,
        )
        # The false statements that were sent, with times, for the report of a failure.
        self.told: list[tuple[float, str]] = []

    def lie(self) -> None:
        """Sends one false statement about one member to some of the others."""
        chance, simulation = self._chance, self._simulation
        subject = simulation.nodes[chance.choice(self._others())].member
        telling = chance.choice(self._lies)
        message = telling(subject)
        listeners = [subject.authority] if isinstance(message, ViewVerdict) else self._others()
        for listener in chance.sample(listeners, chance.randint(1, len(listeners))):
            self.told.append((simulation.now, f"{telling.__name__} {subject.authority} to {listener}"))
            simulation.give(listener, Received(self._authority, self._me.node_id, message))

    @property
    def _me(self) -> Member:
        return self._simulation.nodes[self._authority].member

    def _others(self) -> list[str]:
        return [authority for authority in self._simulation.nodes if authority != self._authority]

    def _mark(self) -> Mark:
        table = self._simulation.nodes[self._authority].table
        return Mark(self._me.incarnation, table.version, table.content_hash())

    def _names(self) -> tuple[str, ...]:
        """Every node id, in a random order, as the claimed origin of a statement."""
        names = [node.member.node_id for node in self._simulation.nodes.values()]
        self._chance.shuffle(names)
        return tuple(names)

    def _ended(self, subject: Member) -> Member:
        status = self._chance.choice((MemberStatus.UNREACHABLE, MemberStatus.REMOVED))
        return Member(subject.authority, subject.node_id, subject.incarnation, status, subject.kinds)

    def _state(self, origin: str, member: Member, reason: str) -> Gossip:
        """A statement in the name of `origin`, just beyond its last one."""
        covered = self._simulation.nodes[self._authority].table.covered(origin)
        entry = Entry(origin, covered + 1, member, reason, self._names()[:4])
        return Gossip(self._mark(), News((MembershipDelta(origin, covered, covered + 1, (entry,)),)))

    def _accuses(self, subject: Member) -> ControlMessage:
        accusations = tuple(
            Accusation(
                subject.authority,
                subject.node_id,
                subject.incarnation,
                accuser,
                self._chance.choice(("dead", "silent")),
            )
            for accuser in self._names()
            if accuser != subject.node_id
        )
        return Gossip(self._mark(), News(accusations=accusations))

    def _condemns(self, subject: Member) -> ControlMessage:
        return self._state(self._names()[0], self._ended(subject), self._chance.choice(REASONS))

    def _replaces(self, subject: Member) -> ControlMessage:
        node_id = self._chance.choice((subject.node_id, "f" * 16))
        status = self._chance.choice((MemberStatus.JOINING, MemberStatus.UP))
        successor = Member(subject.authority, node_id, next_generation(subject.incarnation), status, subject.kinds)
        return self._state(self._chance.choice((node_id, self._me.node_id)), successor, "admitted")

    def _says_it_left(self, subject: Member) -> ControlMessage:
        status = self._chance.choice((MemberStatus.LEAVING, MemberStatus.REMOVED))
        gone = Member(subject.authority, subject.node_id, subject.incarnation, status, subject.kinds)
        return self._state(subject.node_id, gone, "left")

    def _shows_a_table(self, subject: Member) -> ControlMessage:
        table = self._simulation.nodes[self._authority].table
        entries = tuple(
            Entry(self._me.node_id, table.covered(self._me.node_id) + 1 + index, self._ended(node.member), "dead")
            for index, node in enumerate(self._simulation.nodes.values())
            if node.member.node_id != self._me.node_id
        )
        lines = tuple(OriginVersion(name, table.covered(name)) for name in sorted(self._names()))
        return FullTable(self._mark(), TableSnapshot(table.version, lines, entries), reply=self._chance.random() < 0.5)

    def _refutes_for_it(self, subject: Member) -> ControlMessage:
        raised = Member(subject.authority, subject.node_id, subject.incarnation + 1, MemberStatus.UP, ("Other",))
        return self._state(subject.node_id, raised, "refuted")

    def _passes_a_verdict(self, subject: Member) -> ControlMessage:
        members = tuple(sorted({*self._others(), self._authority, "10.9.9.9:1"} - {subject.authority}))
        rule = self._chance.choice(("", "operator"))
        return ViewVerdict(self._mark(), self._ended(subject), members, members[:1], rule)


class LiarScenario:
    """One history: five members, of which one lies for a while, and one may die.

    Args:
        seed: of everything.
        checked: whether to check every step; the end is always checked.
    """

    def __init__(self, seed: int, checked: bool = True) -> None:
        chance = random.Random(f"liar/{seed}")
        self._chance = chance
        count = chance.choice((3, 4, 5, 5, 6))
        cast = ControlSimulation(seed)
        self._liar_at, self._victim = chance.sample([cast.authority(index) for index in range(count)], 2)
        self._count = count
        self._kill = count > 3 and chance.random() < 0.5
        observers = [NobodyByALie(self._liar_at), *all_checkers()[:1]] if checked else []
        network = Network(evidence=chance.random() < 0.7)
        self.simulation = ControlSimulation(seed, network=network, check_every=0, observers=observers)
        self.liar = Liar(self.simulation, self._liar_at, chance)

    def run(self) -> None:
        """Runs it all. Raises `CheckFailed`."""
        simulation = self.simulation
        simulation.start_many(self._count, 2)
        if not simulation.run_until(simulation.converged, 20.0):
            raise BoundedConvergence().fail("not formed")
        simulation.run(2.0)
        ends, dies = simulation.now + LIES_S, simulation.now + 5.0
        while simulation.now < ends:
            simulation.run(self._chance.expovariate(5.0))
            if self._kill and simulation.now >= dies:
                self._kill = False
                simulation.crash(self._victim)
            self.liar.lie()
        if self._victim not in simulation.nodes:
            self._check_removed()
        BoundedConvergence().settle(simulation, 45.0)

    def _check_removed(self) -> None:
        """A member died fifteen seconds ago: all others know."""
        for authority, node in self.simulation.nodes.items():
            record = node.table.get(self._victim)
            if record is not None and record.status < MemberStatus.UNREACHABLE:
                raise BoundedConvergence().fail(f"{authority} still has {record}, which died long ago")
