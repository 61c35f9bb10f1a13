"""Checks that members were accused and removed only with enough evidence.

Sources are counted from the messages that were really sent, and the health of a node is known from the simulation, not
from a node.
"""

from __future__ import annotations

from typing import Final

from inaho.core.effects import Effect
from inaho.core.inputs import Input, Received
from inaho.core.messages import Entry, FullTable, Gossip, Probe, ProbeAck
from inaho.core.node import ControlNode
from inaho.testing.control_plane.checker import Checker, life_of
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member, MemberStatus

__all__ = ["NoFalseRemoval", "TwoSources"]

_WITH_NEWS: Final = (Gossip, Probe, ProbeAck)
_DETECTED: Final = frozenset({"dead", "wedged", "busy", "silent"})


class TwoSources(Checker):
    """No member is called unreachable or removed by one source if two others exist, nor by a source that sent nothing.

    A source has sent its report over its own connection: an accusation of its own, or a table with the subject as
    unreachable or removed. A report that others pass on does not count.
    """

    name = "two sources"

    def __init__(self) -> None:
        # Receiver, sender and subject.
        self._heard: dict[tuple[str, str, str], None] = {}
        self._spoken: dict[str, int] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        me = node.member.node_id
        if isinstance(happening, Received):
            for subject in _spoken_against(happening):
                self._heard[me, happening.node_id, subject] = None
        covered = node.table.covered(me)
        before = self._spoken.get(me, 0)
        if covered > before:
            self._spoken[me] = covered
            for entry in node.table.delta(simulation.now, me, before).entries:
                self._judge(simulation, authority, node, entry)

    def _judge(self, simulation: ControlSimulation, authority: str, node: ControlNode, entry: Entry) -> None:
        subject, me = entry.member, node.member.node_id
        if subject.status < MemberStatus.UNREACHABLE or subject.node_id == me:
            return
        if entry.reason == "replaced":
            process = simulation.nodes.get(subject.authority)
            if process is not None and process.member.node_id == subject.node_id:
                raise self.fail(f"{authority} says {subject.authority} was replaced, which it was not")
            return
        if entry.reason not in _DETECTED:
            raise self.fail(f"{authority} says {subject} for the reason {entry.reason!r}")
        sources = frozenset(entry.sources)
        for source in entry.sources:
            if source != me and (me, source, subject.node_id) not in self._heard:
                raise self.fail(f"{authority} counts {source}, which sent no accusation of {subject.node_id}")
        if len(sources) < 2 and subject.status is MemberStatus.UNREACHABLE and _witnesses(node, subject):
            raise self.fail(f"{authority} calls {subject.authority} unreachable on {len(sources)} source")
        if not sources:
            raise self.fail(f"{authority} removed {subject.authority} without any source")


def _spoken_against(received: Received) -> list[str]:
    """Node ids of members that the sender of a message itself calls unreachable or removed, or accuses."""
    message = received.message
    if isinstance(message, _WITH_NEWS):
        said = [delta.entries for delta in message.news.deltas]
        accusations = message.news.accusations
    elif isinstance(message, FullTable):
        said, accusations = [message.table.entries], ()
    else:
        return []
    subjects = [accusation.node_id for accusation in accusations if accusation.accuser == received.node_id]
    for entries in said:
        subjects += [entry.member.node_id for entry in entries if entry.member.status >= MemberStatus.UNREACHABLE]
    return subjects


def _witnesses(node: ControlNode, subject: Member) -> list[str]:
    """Members that could have been the second source: reachable, and not suspected themselves."""
    return [
        member.authority
        for member in node.table.live
        if member.authority not in (subject.authority, node.member.authority)
        and member.status < MemberStatus.UNREACHABLE
        and member.authority not in node.suspects
    ]


class NoFalseRemoval(Checker):
    """No member is removed for silence after the whole network has worked for long enough to refute.

    Args:
        calm_s: how long that is, virtual seconds.
    """

    name = "no false removal"

    def __init__(self, calm_s: float = 4.0) -> None:
        self._calm_s = calm_s
        self._troubled_at = 0.0
        self._spoken: dict[str, int] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        network = simulation.network
        if simulation.links.any_cut or simulation.paused or network.loss > 0.02 or network.delay_most_s > 0.1:
            self._troubled_at = simulation.now
        me = node.member.node_id
        covered, before = node.table.covered(me), self._spoken.get(me, 0)
        if covered == before:
            return
        self._spoken[me] = covered
        if simulation.now - self._troubled_at < self._calm_s:
            return
        for entry in node.table.delta(simulation.now, me, before).entries:
            subject = simulation.nodes.get(entry.member.authority)
            if entry.member.status is not MemberStatus.REMOVED or entry.reason not in _DETECTED or subject is None:
                continue
            if life_of(subject.member) == life_of(entry.member) and subject.stage == "member":
                calm_s = simulation.now - self._troubled_at
                raise self.fail(f"{authority} removed {entry.member} after {calm_s:.1f} s without faults")
