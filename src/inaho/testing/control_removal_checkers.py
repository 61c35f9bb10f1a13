"""Whether those who were removed deserved it: the checkers of accusations.

Voices are counted from what was really sent, and health is known from the simulation, not from any node.
"""

from __future__ import annotations

from typing import Final

from inaho.core.effects import Effect, Send
from inaho.core.inputs import Input
from inaho.core.messages import Accusation, Entry, Gossip, Probe, ProbeAck
from inaho.core.node import ControlNode
from inaho.testing.control_checker import Checker, life_of
from inaho.testing.control_simulation import ControlSimulation
from inaho.types import Member, MemberStatus

__all__ = ["NoFalseRemoval", "TwoVoices"]

_DETECTED: Final = frozenset({"dead", "wedged", "busy", "silent"})


class TwoVoices(Checker):
    """Nobody is called unreachable or removed on one word where two others exist, nor on a word nobody gave."""

    name = "two voices"

    def __init__(self) -> None:
        self._accused: dict[tuple[str, str], None] = {}
        self._spoken: dict[str, int] = {}

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        me = node.member.node_id
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Gossip | Probe | ProbeAck):
                for accusation in effect.message.news.accusations:
                    self._note(me, accusation)
        covered = node.table.covered(me)
        before = self._spoken.get(me, 0)
        if covered > before:
            self._spoken[me] = covered
            for entry in node.table.delta(simulation.now, me, before).entries:
                self._judge(simulation, authority, node, entry)

    def _note(self, sender: str, accusation: Accusation) -> None:
        if accusation.accuser == sender:
            self._accused[sender, accusation.node_id] = None

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
        voices = frozenset(entry.voices)
        for voice in entry.voices:
            if voice != me and (voice, subject.node_id) not in self._accused:
                raise self.fail(f"{authority} counts {voice}, which never accused {subject.node_id}")
        if len(voices) < 2 and subject.status is MemberStatus.UNREACHABLE and _witnesses(node, subject):
            raise self.fail(f"{authority} calls {subject.authority} unreachable on {len(voices)} voice")
        if not voices:
            raise self.fail(f"{authority} removed {subject.authority} on no word at all")


def _witnesses(node: ControlNode, subject: Member) -> list[str]:
    """Members that could have been the second voice: reachable, and not suspected themselves."""
    return [
        member.authority
        for member in node.table.live
        if member.authority not in (subject.authority, node.member.authority)
        and member.status < MemberStatus.UNREACHABLE
        and member.authority not in node.suspects
    ]


class NoFalseRemoval(Checker):
    """Nobody is removed for silence after the whole network has been well for long enough to refute.

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
        if simulation.links.cuts or simulation.paused or network.loss > 0.02 or network.delay_most_s > 0.1:
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
                raise self.fail(f"{authority} removed {entry.member}, and all had been well for {calm_s:.1f} s")
