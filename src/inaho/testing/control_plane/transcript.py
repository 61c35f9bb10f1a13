"""Writes the messages of a small simulated cluster as text that a person can review.

There is one line per event: a message from one node to another, its outcome, a decision of a node. Messages without new
information (probes and their answers, equal marks) are counted and left out. Nodes are named by letters; `b'` is the
second process at b's authority; `g2.1` is generation 2 after one refutation; `b#3` is the third statement that b made.

Why text files that are compared (`tests/golden`): a change of a protocol is visible in the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inaho.core.effects import ApplyTopology, Effect, Joined, JoinFailed, Left, Publish, Send, StopActivations
from inaho.core.inputs import AuthorityAnswered, AuthorityNotReached, Connected, Disconnected, Input, LeaveRequested
from inaho.core.membership.incarnation import generation_of, refutations_of
from inaho.core.messages import (
    ControlMessage,
    Digest,
    Entry,
    FullTable,
    Gossip,
    GossipAck,
    JoinAccepted,
    JoinRefused,
    JoinRequest,
    Mark,
    News,
    Probe,
    ProbeAck,
    ProbeRequest,
    ViewVerdict,
)
from inaho.core.node import ControlNode
from inaho.events import (
    AuthorityCollision,
    BlockListChanged,
    ConvergenceReached,
    MemberEvent,
    MemberSuspected,
    NodePaused,
    SelfRemoved,
    SuspicionCleared,
    ViewConflict,
    ViewRefused,
)
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member

__all__ = ["Transcript"]

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


class Transcript:
    """Writes the transcript of a simulation that it observes.

    Args:
        title: first line.
    """

    def __init__(self, title: str) -> None:
        self._lines = [title, "=" * len(title)]
        self._letters: dict[str, str] = {}
        self._processes: dict[str, str] = {}
        self._quiet = 0
        self._began: float | None = None

    def chapter(self, text: str) -> None:
        """Adds a heading: what is done to the cluster now."""
        self._flush()
        self._lines += ["", f"--- {text}", ""]

    def text(self) -> str:
        """The transcript so far."""
        self._flush()
        return "\n".join(self._lines) + "\n"

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        """Takes a step."""
        if self._began is None:
            self._began = simulation.now
        who = self._process(authority, node.member.node_id)
        said = self._input(happening)
        if said:
            self._line(simulation.now, who, said)
        for effect in effects:
            if isinstance(effect, Send):
                self._sent(simulation, authority, who, effect)
            else:
                said = self._effect(effect)
                if said:
                    self._line(simulation.now, who, said)

    # Lines.

    def _line(self, now: float, who: str, text: str) -> None:
        self._flush()
        self._lines.append(f"{now - (self._began or 0.0):8.3f}  {who:<7} {text}")

    def _flush(self) -> None:
        if self._quiet:
            self._lines.append(f"          ... {self._quiet} without news")
            self._quiet = 0

    def _sent(self, simulation: ControlSimulation, authority: str, who: str, send: Send) -> None:
        text = self._message(send.message)
        if not text:
            self._quiet += 1
            return
        fate = ""
        if simulation.links.is_cut(authority, send.authority):
            fate = "  (cut)"
        elif send.authority not in simulation.nodes:
            fate = "  (refused)"
        self._line(simulation.now, f"{who} > {self._letter(send.authority)}", text + fate)

    # Names.

    def _letter(self, authority: str) -> str:
        return self._letters.setdefault(authority, LETTERS[len(self._letters)])

    def _process(self, authority: str, node_id: str) -> str:
        if node_id not in self._processes:
            letter = self._letter(authority)
            boots = sum(name.rstrip("'") == letter for name in self._processes.values())
            self._processes[node_id] = letter + "'" * boots
        return self._processes[node_id]

    def _member(self, member: Member) -> str:
        incarnation = f"g{generation_of(member.incarnation)}.{refutations_of(member.incarnation)}"
        return f"{self._process(member.authority, member.node_id)} {member.status.name} {incarnation}"

    def _view(self, members: Iterable[Member]) -> str:
        return ", ".join(f"{self._process(m.authority, m.node_id)} {m.status.name}" for m in members) or "nobody"

    # The text for each kind of message, event and effect; others are left out.

    def _input(self, happening: Input) -> str:
        match happening:
            case LeaveRequested():
                return "is asked to leave"
            case Disconnected():
                return f"sees the connection to {self._letter(happening.authority)} end: {happening.reason}"
            case AuthorityNotReached():
                return f"cannot dial {self._letter(happening.authority)}: {happening.reason}"
            case AuthorityAnswered():
                other = self._process(happening.authority, happening.node_id)
                return f"finds {other} at the authority of {self._letter(happening.authority)}"
            case Connected():
                return f"is connected to {self._process(happening.authority, happening.node_id)}"
            case _:
                return ""

    def _effect(self, effect: Effect) -> str:
        match effect:
            case Joined():
                return "IS UP"
            case JoinFailed():
                return f"GIVES UP: {effect.reason}"
            case Left():
                return "HAS LEFT"
            case StopActivations():
                return f"STOPS ITS ACTIVATIONS: {effect.reason}"
            case ApplyTopology():
                snapshot = effect.snapshot
                return f"topology {snapshot.version}: {self._view(snapshot.members)}"
            case Publish():
                return self._event(effect)
            case _:
                return ""

    def _event(self, publish: Publish) -> str:
        match publish.event:
            case MemberSuspected() as event:
                return f"suspects {self._member(event.member)}: {event.reason}"
            case SuspicionCleared() as event:
                return f"clears {self._member(event.member)}: {event.reason}"
            case SelfRemoved() as event:
                return f"learns that it was removed: {event.reason}"
            case MemberEvent() as event:
                return f"sees {self._member(event.member)}" + (f" ({event.reason})" if event.reason else "")
            case ConvergenceReached() as event:
                return f"agrees with its peers on version {event.version}, after {event.elapsed_s:.3f} s"
            case ViewRefused() as event:
                refused = "gives up its own view" if event.refused == "ours" else "refuses the other view"
                return f"{refused}, talking to {self._letter(event.authority)}; rule: {event.rule}"
            case ViewConflict() as event:
                return f"cannot settle with {self._letter(event.authority)}: {event.reason}"
            case AuthorityCollision() as event:
                return f"refuses a second node at {self._letter(event.authority)}: {event.reason}"
            case NodePaused() as event:
                return f"notices that it did not run for {event.gap_s:.3f} s"
            case BlockListChanged() as event:
                return f"{'bars' if event.blocked else 'admits'} activations on {self._letter(event.authority)}"
            case _:
                return ""

    def _message(self, message: ControlMessage) -> str:
        match message:
            case JoinRequest():
                return f"may I join? {self._generation(message.member)}"
            case JoinAccepted():
                members = [entry.member for entry in message.table.entries]
                return f"welcome, {self._member(message.member)}; the table: {self._view(members)}"
            case JoinRefused():
                return f"no: {message.reason}"
            case Gossip():
                return self._with_wants("gossip", self._news(message.news), message.wants)
            case Probe():
                return self._with_wants("probe", self._news(message.news), ())
            case ProbeAck():
                return self._with_wants("probe answer", self._news(message.news), ())
            case ProbeRequest():
                return f"please probe {self._letter(message.authority)}"
            case GossipAck():
                return self._with_wants("acknowledged", "", message.wants)
            case Digest():
                lines = ", ".join(f"{self._origin(line.origin)}#{line.version}" for line in message.versions)
                return f"digest, {self._mark(message.mark)}: {lines}"
            case FullTable():
                members = [entry.member for entry in message.table.entries]
                return f"whole table, {self._mark(message.mark)}: {self._view(members)}"
            case ViewVerdict():
                up = ", ".join(self._letter(authority) for authority in message.members)
                return f"you are {self._member(message.member)} to me; up here: {up}"
            case _:
                return ""

    def _generation(self, member: Member) -> str:
        generation = generation_of(member.incarnation)
        return f"at least as generation {generation}" if generation else "for the first time"

    def _with_wants(self, what: str, news: str, wants: Iterable[object]) -> str:
        asked = ", ".join(
            f"{self._origin(getattr(want, 'origin', ''))} after {getattr(want, 'version', 0)}" for want in wants
        )
        parts = [part for part in (news, f"asks for {asked}" if asked else "") if part]
        return f"{what}: {'; '.join(parts)}" if parts else ""

    def _news(self, news: News) -> str:
        parts = [self._entry(entry) for delta in news.deltas for entry in delta.entries]
        parts += [
            f"{self._origin(item.accuser)} accuses {self._origin(item.node_id)} of being {item.reason}"
            for item in news.accusations
        ]
        parts += [
            f"{self._letter(item.authority)} {'blocked' if item.blocked else 'not blocked'}" for item in news.blocks
        ]
        return "; ".join(parts)

    def _entry(self, entry: Entry) -> str:
        return f"{self._origin(entry.origin)}#{entry.version} {self._member(entry.member)}"

    def _origin(self, node_id: str) -> str:
        return self._processes.get(node_id, node_id)

    def _mark(self, mark: Mark) -> str:
        return f"at version {mark.version}"
