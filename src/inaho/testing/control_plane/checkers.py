"""Checks the invariants of simulated control planes after every step.

Each checker has a name and one condition, and raises `CheckFailed` with both when the condition is broken. Checkers
share no code with what they check: the order of records is written here a second time, removed generations are
remembered here, and sources are counted from the messages that were really sent. Otherwise a checker would repeat a
mistake of the merge rule and not find it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from inaho.core.effects import Effect, Joined, Publish, StopActivations
from inaho.core.inputs import Input
from inaho.core.node import ControlNode
from inaho.events import MemberRemoved, SelfRemoved
from inaho.testing.control_plane.checker import Checker, CheckFailed, life_of
from inaho.testing.control_plane.removal_checkers import NoFalseRemoval, TwoSources
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member, MemberStatus

__all__ = [
    "BoundedConvergence",
    "CheckFailed",
    "Checker",
    "Conservation",
    "Invariants",
    "MonotonicViews",
    "NoFalseRemoval",
    "NoReturn",
    "OneContent",
    "StopsBeforeReturn",
    "TwoSources",
    "all_checkers",
]

_GENERATION_BITS: Final = 20
_SEVERITY: Final = {
    MemberStatus.JOINING: 0,
    MemberStatus.UP: 1,
    MemberStatus.LEAVING: 2,
    MemberStatus.UNREACHABLE: 3,
    MemberStatus.REMOVED: 4,
}


class Invariants(Checker):
    """Every machine's own `check()` holds after every step."""

    name = "invariants"

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        try:
            node.check()
        except AssertionError as error:
            raise self.fail(f"{authority} after {type(happening).__name__}: {error!r}") from error


class MonotonicViews(Checker):
    """A table's version never falls, and its record of an authority is only replaced by one that wins over it."""

    name = "monotonic views"

    def __init__(self) -> None:
        self._seen: dict[str, _View] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        table = node.table
        seen = self._seen.get(node.member.node_id)
        if seen is None:
            seen = self._seen[node.member.node_id] = _View(table)
        elif table.version == seen.version and table is seen.table:
            return
        if table.version < seen.version:
            raise self.fail(f"the version of {authority} fell from {seen.version} to {table.version}")
        if table is not seen.table:
            # It was removed and joined again; only its numbering continues.
            seen.table, seen.records = table, {}
        seen.version = table.version
        for record in table.records():
            before = seen.records.get(record.authority)
            if before is record:
                continue
            if before is not None and _rank(record) < _rank(before):
                raise self.fail(f"{authority} replaced {before} by {record}")
            seen.records[record.authority] = record


class _View:
    """The last view of one process."""

    def __init__(self, table: object) -> None:
        self.table = table
        self.version = 0
        self.records: dict[str, Member] = {}


class NoReturn(Checker):
    """A removed generation never comes back: not on a node that knew of its removal, and in the end on no node.

    A node that was removed takes the table of the other view, so what it knew in the refused view does not count.
    """

    name = "no return"

    def __init__(self) -> None:
        self._seen: dict[str, _Removals] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        table = node.table
        seen = self._seen.get(node.member.node_id)
        if seen is None:
            seen = self._seen[node.member.node_id] = _Removals(table)
        elif seen.table is not table:
            # Effects of this step about the former table do not concern the new one.
            seen, effects = _Removals(table), []
            self._seen[node.member.node_id] = seen
        elif seen.version == table.version:
            return
        seen.version = table.version
        for effect in effects:
            # Remembered here even if the node forgets it at once.
            if isinstance(effect, Publish) and isinstance(effect.event, MemberRemoved):
                seen.lives[life_of(effect.event.member)] = None
        for record in table.records():
            life = life_of(record)
            if record.status is MemberStatus.REMOVED:
                seen.lives[life] = None
            elif life in seen.lives:
                raise self.fail(f"{authority} had removed {record}")

    def at_end(self, simulation: ControlSimulation) -> None:
        running = [self._seen[node.member.node_id] for node in simulation.nodes.values()]
        gone = {life: None for seen in running for life in seen.lives}
        for authority, node in simulation.nodes.items():
            for record in node.table.live:
                if life_of(record) in gone:
                    raise self.fail(f"{authority} shows {record}, which was removed")


class _Removals:
    """Generations that one table has shown as removed."""

    def __init__(self, table: object) -> None:
        self.table = table
        self.version = -1
        self.lives: dict[tuple[str, int], None] = {}


class StopsBeforeReturn(Checker):
    """A node is up in one generation at a time, and ends its activations before it is up in another."""

    name = "stops before return"

    def __init__(self) -> None:
        # Generation in which each process was last up, and whether it has stopped its activations since.
        self._up: dict[str, int] = {}
        self._stopped: dict[str, bool] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        me = node.member
        stopped = self._stopped.get(me.node_id, False)
        joined = removed = stops = False
        for effect in effects:
            if isinstance(effect, StopActivations):
                stopped = stops = True
            elif isinstance(effect, Joined):
                if me.node_id in self._up and not stopped:
                    raise self.fail(f"{authority} joined again without stopping its activations")
                stopped, joined = False, True
            elif isinstance(effect, Publish) and isinstance(effect.event, SelfRemoved):
                removed = True
        if removed and not stops:
            raise self.fail(f"{authority} learnt that it was removed and did not stop its activations")
        self._stopped[me.node_id] = stopped
        if me.status is MemberStatus.UP:
            generation = me.incarnation >> _GENERATION_BITS
            before = self._up.setdefault(me.node_id, generation)
            if generation != before and not joined:
                raise self.fail(f"{authority} went from generation {before} to {generation} without joining")
            self._up[me.node_id] = generation


class Conservation(Checker):
    """The network delivers, loses and counts every message once."""

    name = "conservation"

    def __init__(self, every: int = 512) -> None:
        self._every = every

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        if simulation.steps % self._every == 0 and not simulation.resuming:
            self.at_end(simulation)

    def at_end(self, simulation: ControlSimulation) -> None:
        missing = simulation.traffic.unaccounted(simulation.in_flight())
        if missing:
            raise self.fail(f"{missing} messages are unaccounted for: {simulation.traffic}")


class OneContent(Checker):
    """One version of a converged cluster means one content, from then on."""

    name = "one content"

    def __init__(self) -> None:
        self._contents: dict[int, int] = {}

    def at_end(self, simulation: ControlSimulation) -> None:
        contents = {(node.table.version, node.table.content_hash()) for node in simulation.nodes.values()}
        topologies = {(node.topology.version, node.topology.hash) for node in simulation.nodes.values()}
        if len(contents) > 1 or len(topologies) > 1:
            raise self.fail(f"tables {sorted(contents)}, topologies {sorted(topologies)}")
        for version, content in contents:
            if self._contents.setdefault(version, content) != content:
                raise self.fail(f"version {version} has had another content before")


class BoundedConvergence(Checker):
    """After the last fault the cluster converges within the bound, and then changes no more."""

    name = "bounded convergence"

    def __init__(self) -> None:
        self.slowest_s = 0.0

    def settle(self, simulation: ControlSimulation, bound_s: float, tend: Callable[[], None] = lambda: None) -> None:
        """Runs until converged.

        Args:
            simulation: without faults.
            bound_s: virtual seconds.
            tend: called before each check; does what a supervisor would do.

        Raises:
            CheckFailed: it takes longer than `bound_s`.
        """

        def done() -> bool:
            tend()
            return simulation.converged()

        started = simulation.now
        converged = simulation.run_until(done, bound_s, every_s=0.25)
        self.slowest_s = max(self.slowest_s, simulation.now - started)
        if not converged:
            views = {
                authority: (node.stage, node.table.version, [f"{m.authority} {m.status.name}" for m in node.table.live])
                for authority, node in simulation.nodes.items()
            }
            raise self.fail(f"not converged {bound_s} s after the last fault: {views}")

    def at_end(self, simulation: ControlSimulation) -> None:
        restless = [authority for authority, node in simulation.nodes.items() if node.gossip_phase != "confirmed"]
        if restless or not simulation.converged():
            raise self.fail(f"not quiet: {restless or 'no longer converged'}")


def all_checkers() -> Sequence[Checker]:
    """One of each, for one simulation."""
    return (
        Invariants(),
        MonotonicViews(),
        NoReturn(),
        StopsBeforeReturn(),
        TwoSources(),
        NoFalseRemoval(),
        Conservation(),
        OneContent(),
        BoundedConvergence(),
    )


def _rank(member: Member) -> tuple[int, bool, str, int, int]:
    """The order of records as in the design, written independently of the merge rule."""
    removed = member.status is MemberStatus.REMOVED
    generation = member.incarnation >> _GENERATION_BITS
    return (generation, removed, member.node_id, member.incarnation, _SEVERITY[member.status])
