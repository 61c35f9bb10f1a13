"""One message to another node, and the ask that waits for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from inaho.actor.dead_letters import DeadLetterReason
from inaho.core.delivery.delay_queue import Parcel
from inaho.errors import ActorFailed, InahoError
from inaho.errors.inspection import describe
from inaho.wire.frames import HEADER_BYTES

if TYPE_CHECKING:
    from inaho.actor.ref import Envelope, OpenAsk

__all__ = ["Mail", "RemoteAsk", "as_failure"]


class AskHolder(Protocol):
    """Keeps asks until they are answered."""

    def ask_over(self, ask: RemoteAsk) -> None:
        """No caller waits for the answer any more."""
        ...

    def dead_letter(self, mail: Mail, reason: str) -> None:
        """Records as a dead letter a message that will not be sent."""
        ...


class Mail(Parcel[Any]):
    """A message with its frame. `item` is the message; `body` is emptied once it is written."""

    __slots__ = ("ask", "body", "kind", "recipient", "sender")

    def __init__(self, kind: int, body: bytes, message: Any, recipient: str, sender: str) -> None:
        super().__init__(message, HEADER_BYTES + len(body))
        self.kind = kind
        self.body = body
        self.recipient = recipient
        self.sender = sender
        self.ask: RemoteAsk | None = None


class RemoteAsk:
    """An ask to another node. It keeps the ask in place of the remote actor."""

    __slots__ = ("channel", "correlation", "envelope", "mail", "pending")

    def __init__(self, channel: AskHolder, correlation: int, mail: Mail, pending: OpenAsk, envelope: Envelope) -> None:
        self.channel = channel
        self.correlation = correlation
        self.mail = mail
        self.pending = pending
        self.envelope = envelope

    def release_ask(self, pending: OpenAsk) -> None:
        """The ask has ended, or another actor keeps it now."""
        self.channel.ask_over(self)

    def withdraw(self, envelope: Envelope) -> None:
        """No caller waits for the answer, and the message is not sent yet: it will not be sent."""
        self.mail.withdrawn = True
        self.channel.dead_letter(self.mail, DeadLetterReason.ASK_OVER)


def as_failure(error: Exception, identity: str) -> InahoError:
    """The error of an ask whose answer is `error`: the same for an `InahoError`, `ActorFailed` for any other."""
    if isinstance(error, InahoError):
        return error
    failure = ActorFailed(describe(error), identity=identity)
    failure.__cause__ = error
    return failure
