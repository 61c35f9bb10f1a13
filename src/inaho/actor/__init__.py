"""The local actor system: actors, supervision, the event stream and the dead letters, on one event loop.

It stands on its own. The cluster is installed on it as an `Extension`.
"""

from __future__ import annotations

from inaho.actor.actor import Actor, ActorContext
from inaho.actor.dead_letters import DeadLetterReason, DeadLetters
from inaho.actor.event_stream import EventStream, Subscription
from inaho.actor.mailbox import MailboxConfig
from inaho.actor.props import Props
from inaho.actor.ref import ActorRef, PoisonPill, StopReason, Terminated
from inaho.actor.supervision import Directive, Escalate, Restart, Resume, Stop, Supervisor
from inaho.actor.system import ActorSystem, Extension

__all__ = [
    "Actor",
    "ActorContext",
    "ActorRef",
    "ActorSystem",
    "DeadLetterReason",
    "DeadLetters",
    "Directive",
    "Escalate",
    "EventStream",
    "Extension",
    "MailboxConfig",
    "PoisonPill",
    "Props",
    "Restart",
    "Resume",
    "Stop",
    "StopReason",
    "Subscription",
    "Supervisor",
    "Terminated",
]
