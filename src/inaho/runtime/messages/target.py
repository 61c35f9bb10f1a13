"""Targets of references: an actor on another node, and a missing actor of this node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inaho.actor.dead_letters import DeadLetterReason
from inaho.actor.ref import ActorRef, StopReason, Terminated, Watcher
from inaho.errors import ActorStopped, FrameTooLarge, SerializationFailed
from inaho.runtime.messages.outbound import Mail
from inaho.wire.frames import ASK, HEADER_REST, STOP, TELL
from inaho.wire.letters import encode_letter

if TYPE_CHECKING:
    from inaho.actor.ref import Envelope
    from inaho.actor.system import ActorSystem
    from inaho.runtime.messages.accounts import MessageAccounts
    from inaho.runtime.messages.channel import Channel

__all__ = ["NoActor", "RemoteTarget"]


class References(Protocol):
    """The references to actors of other nodes that this node has given out."""

    def name_of(self, ref: ActorRef) -> str:
        """How a message names its sender; empty if the sender cannot get answers."""
        ...

    def forget(self, ref: ActorRef) -> None:
        """Forgets the reference to an actor that has ended, since its path may soon name another one."""
        ...


class RemoteTarget:
    """An actor on another node. A `Target`.

    Args:
        references: name its senders, and forget it when it has ended.
        accounts: counts of the messages of this node.
        frame_bytes_max: the bytes of a message with its header, at most.
        channel: to its process.
        path: within its system, `user/parent/child`.
        full_path: the canonical path.
        system: the system of the reference.

    Attributes:
        ref: the reference.
    """

    __slots__ = ("_accounts", "_ended", "_frame_max", "_number", "_references", "_watchers", "channel", "path", "ref")

    def __init__(
        self,
        references: References,
        accounts: MessageAccounts,
        channel: Channel,
        path: str,
        full_path: str,
        system: ActorSystem,
        *,
        frame_bytes_max: int,
    ) -> None:
        self.channel = channel
        self.path = path
        self.ref = ActorRef(full_path, self, system)
        self._references = references
        self._accounts = accounts
        self._frame_max = frame_bytes_max
        self._watchers: dict[Watcher, None] = {}
        self._number: int | None = None
        self._ended: StopReason | None = None

    @property
    def task(self) -> None:
        """None: the actor runs on another node."""
        return

    def accept(self, envelope: Envelope) -> None:
        """Sends a message; see `ActorRef.tell`.

        Raises:
            SerializationFailed, FrameTooLarge: the message cannot be encoded; nothing was sent (SPEC CL-3.3).
            Quarantined: nothing is sent to that node.
            Overloaded: too many messages wait for it, and `delivery.queue_policy` is `reject_new`.
        """
        pending, sender, message = envelope.ask, envelope.sender, envelope.message
        signed = "" if sender is None or pending is not None else self._references.name_of(sender)
        try:
            body = encode_letter(self.path, signed, message)
            if HEADER_REST + len(body) > self._frame_max:
                raise FrameTooLarge(
                    f"a message takes {len(body)} bytes, the most is {self._frame_max} (transport.frame_bytes_max)"
                )
        except SerializationFailed as error:
            error.identity = self.ref.path
            self._accounts.unserializable(self.path, type(message).__name__, "out", error)
            raise
        mail = Mail(TELL if pending is None else ASK, body, message, self.ref.path, signed)
        if pending is None:
            self.channel.post(mail)
        else:
            self.channel.ask(mail, pending, envelope)

    def request_stop(self, reason: StopReason) -> None:
        """Ends the actor after the messages that were sent before. Raises as `accept`."""
        self.channel.post(Mail(STOP, self.path.encode(), reason, self.ref.path, ""))

    def add_watcher(self, watcher: Watcher) -> None:
        """Notifies `watcher` once: when the actor ends, when its node is removed, or when there is no such actor."""
        if self._ended is None and self.channel.gone:
            self._ended = StopReason.NODE_REMOVED
        if self._ended is not None:
            watcher.watched_terminated(Terminated(ref=self.ref, reason=self._ended, exists=False))
            return
        if self._number is None:
            self._number = self.channel.watch(self)
        self._watchers[watcher] = None

    def remove_watcher(self, watcher: Watcher) -> None:
        """Forgets `watcher`."""
        self._watchers.pop(watcher, None)
        if not self._watchers and self._number is not None:
            self.channel.unwatch(self._number)
            self._number = None

    def terminated(self, reason: StopReason, *, exists: bool) -> None:
        """The actor has ended. The next look-up of its path makes a new reference, since another actor may have it."""
        if self._ended is not None:
            return
        self._ended, self._number = reason, None
        self._references.forget(self.ref)
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers:
            watcher.watched_terminated(Terminated(ref=self.ref, reason=reason, exists=exists))


class NoActor:
    """A missing actor of this node. A `Target`."""

    __slots__ = ("_accounts", "ref")

    def __init__(self, accounts: MessageAccounts, path: str, system: ActorSystem) -> None:
        self.ref = ActorRef(path, self, system)
        self._accounts = accounts

    @property
    def task(self) -> None:
        """None: there is no actor."""
        return

    def accept(self, envelope: Envelope) -> None:
        """Records the message as a dead letter, and fails an ask."""
        sender = "" if envelope.sender is None else envelope.sender.path
        self._accounts.dead_letter(envelope.message, self.ref.path, sender, DeadLetterReason.STOPPED)
        if envelope.ask is not None:
            envelope.ask.fail(ActorStopped("there is no such actor", identity=self.ref.path))

    def request_stop(self, reason: StopReason) -> None:
        """Does nothing: there is no actor."""

    def add_watcher(self, watcher: Watcher) -> None:
        """Notifies `watcher` at once that there is no such actor."""
        watcher.watched_terminated(Terminated(ref=self.ref, reason=StopReason.STOPPED, exists=False))

    def remove_watcher(self, watcher: Watcher) -> None:
        """Does nothing: no watcher is kept."""
