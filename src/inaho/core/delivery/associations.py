"""Decides whether a peer is `Connected`, `Disconnected` or in `Quarantine`, and when to dial it again.

Whether anything may be sent to an authority is one question with one answer, so it is asked in one place. The transport
asks before it dials or accepts, the resolver before it returns a Pid, the queue before it takes a message. Parts that
learn something report it here: a dial failed, a peer broke the protocol, the membership names another process.

A peer begins as `Disconnected`, the only state in which it is dialled. Failed dials make the pauses between them
longer, up to a maximum, each with jitter so that many nodes do not dial at the same moment. Too many failures in a row,
or an invalid association, lead to quarantine (SPEC CL-4). Quarantine belongs to a process, by its node id: it ends when
its time is up, when an operator ends it, or when another process is known to be at the authority. A higher incarnation
of the same process does not end it, because a node raises its incarnation by itself whenever it is suspected.

Why not a circuit breaker per connection: connections come and go, two for each pair of nodes, and a reason to distrust
a peer outlives them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from inaho.config import DeliveryConfig
from inaho.errors import IllegalTransition, Quarantined
from inaho.events import (
    AuthorityConnected,
    AuthorityDisconnected,
    AuthorityEvent,
    AuthorityQuarantined,
    AuthorityReleased,
)

__all__ = ["TRANSITIONS", "Association", "Authorities", "AuthorityState", "Happening"]

_DOUBLINGS_MAX: Final = 32
"""2**32 times any pause exceeds any cap; without a limit the power would overflow."""


class UnitRandom(Protocol):
    """Injected randomness: a seeded `random.Random` satisfies it."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...


class AuthorityState(enum.StrEnum):
    """What may be sent between this node and an authority."""

    CONNECTED = "connected"
    """There is a connection on which to send."""
    DISCONNECTED = "disconnected"
    """There is no connection; messages wait, and the peer may be dialled."""
    QUARANTINE = "quarantine"
    """No connections in or out, no sends."""


class Happening(enum.StrEnum):
    """What can happen to the association with an authority."""

    CONNECTED = "connected"
    """A dial succeeded."""
    LOST = "lost"
    """The dialled connection ended."""
    FAILED = "failed"
    """A dial failed."""
    HEARD = "heard"
    """The peer has connected to this node: it is alive."""
    CONDEMNED = "condemned"
    """The association is invalid."""
    REPLACED = "replaced"
    """Another process is known to be there."""
    RELEASED = "released"
    """An operator ends the quarantine."""
    EXPIRED = "expired"
    """The time of the quarantine is up."""


_C, _D, _Q = AuthorityState.CONNECTED, AuthorityState.DISCONNECTED, AuthorityState.QUARANTINE

TRANSITIONS: Final[Mapping[tuple[AuthorityState, Happening], AuthorityState]] = MappingProxyType(
    {
        (_D, Happening.CONNECTED): _C,
        (_D, Happening.FAILED): _D,
        (_D, Happening.HEARD): _D,
        (_D, Happening.CONDEMNED): _Q,
        (_D, Happening.REPLACED): _D,
        (_C, Happening.LOST): _D,
        (_C, Happening.HEARD): _C,
        (_C, Happening.CONDEMNED): _Q,
        (_C, Happening.REPLACED): _C,  # the connection to the old process ends by itself
        (_Q, Happening.LOST): _Q,  # connections are closed after the quarantine has begun
        (_Q, Happening.FAILED): _Q,  # a dial had begun
        (_Q, Happening.CONDEMNED): _Q,  # further events do not prolong it
        (_Q, Happening.REPLACED): _D,
        (_Q, Happening.RELEASED): _D,
        (_Q, Happening.EXPIRED): _D,
    }
)
"""From state and happening to the next state. Other combinations are illegal."""


class Association(msgspec.Struct):
    """One authority.

    Attributes:
        authority: `host:port`.
        state: see `AuthorityState`.
        node_id: of the process last known there; in quarantine, of the one that is quarantined. Empty: unknown.
        incarnation: of that process, as far as known; for people, it decides nothing.
        attempts: dials that failed since the last success; they lengthen the pause.
        failures: those of them that count towards quarantine.
        not_before: no dial before this time, seconds.
        until: end of the quarantine, seconds; 0 outside of one.
        reason: of the quarantine.
        was_connected: whether there ever was a connection.
    """

    authority: str
    state: AuthorityState = AuthorityState.DISCONNECTED
    node_id: str = ""
    incarnation: int = 0
    attempts: int = 0
    failures: int = 0
    not_before: float = 0.0
    until: float = 0.0
    reason: str = ""
    was_connected: bool = False


class Authorities:
    """The associations of one node. Every method that reports a happening returns the events to publish.

    Args:
        config: bounds, and the length of a quarantine.
        random: spreads redials.
        redial_s: first pause after a failed dial.
        redial_max_s: longest pause.
    """

    def __init__(self, config: DeliveryConfig, random: UnitRandom, *, redial_s: float, redial_max_s: float) -> None:
        self._config = config
        self._random = random
        self._redial_s = redial_s
        self._redial_max_s = redial_max_s
        self._known: dict[str, Association] = {}
        self._quarantined: dict[str, Association] = {}

    # Questions.

    def get(self, authority: str) -> Association | None:
        """The association; None for an unknown authority."""
        return self._known.get(authority)

    def state(self, authority: str) -> AuthorityState:
        """The state; `DISCONNECTED` for an unknown authority."""
        known = self._known.get(authority)
        return AuthorityState.DISCONNECTED if known is None else known.state

    def may_dial(self, authority: str, now: float) -> bool:
        """Whether a dial may begin now: not connected, not quarantined, and the pause is over."""
        known = self._known.get(authority)
        return known is None or (known.state is AuthorityState.DISCONNECTED and now >= known.not_before)

    def pause_s(self, authority: str, now: float) -> float:
        """Seconds until a dial may begin, by its pause alone; 0 when at once."""
        known = self._known.get(authority)
        return 0.0 if known is None else max(0.0, known.not_before - now)

    def may_send(self, authority: str) -> bool:
        """Whether messages may be sent to the authority now."""
        known = self._known.get(authority)
        return known is not None and known.state is AuthorityState.CONNECTED

    def refusal(self, authority: str, node_id: str = "") -> Quarantined | None:
        """The error if nothing may be sent; None when something may (SPEC CL-2.3, CL-4.2).

        Args:
            authority: whom it concerns.
            node_id: the process, if it is known: a quarantine that is bound to another one does not concern it.
        """
        known = self._quarantined.get(authority)
        if known is None or (node_id and node_id != known.node_id):
            return None
        return Quarantined(known.reason, authority=authority)

    def quarantined(self) -> tuple[Association, ...]:
        """Copies of the associations in quarantine, sorted by authority."""
        return tuple(msgspec.structs.replace(self._quarantined[name]) for name in sorted(self._quarantined))

    def next_deadline(self) -> float | None:
        """When the next quarantine ends; None when there is none."""
        return min((known.until for known in self._quarantined.values()), default=None)

    # Happenings.

    def connected(self, authority: str, node_id: str, incarnation: int) -> tuple[AuthorityEvent, ...]:
        """A dial succeeded. Raises `IllegalTransition` in quarantine, or when connected already."""
        known = self._known.get(authority)
        attempts, again = (0, False) if known is None else (known.attempts, known.was_connected)
        known = self._move(authority, Happening.CONNECTED)
        known.node_id, known.incarnation = node_id, incarnation
        known.was_connected = True
        _absolve(known)
        return (AuthorityConnected(authority=authority, node_id=node_id, reconnected=again, failures=attempts),)

    def lost(self, authority: str, reason: str) -> tuple[AuthorityEvent, ...]:
        """The dialled connection ended. Raises `IllegalTransition` when there was none."""
        before = self.state(authority)
        known = self._move(authority, Happening.LOST)
        if before is AuthorityState.QUARANTINE:
            return ()
        return (AuthorityDisconnected(authority=authority, node_id=known.node_id, reason=reason),)

    def failed(self, authority: str, reason: str, now: float, *, counts: bool = True) -> tuple[AuthorityEvent, ...]:
        """A dial failed. Raises `IllegalTransition` when connected.

        Args:
            authority: that was dialled.
            reason: for the quarantine that may follow.
            now: seconds.
            counts: whether it counts towards quarantine. A failure of a peer that answers, but is full or ends, does
                not.
        """
        known = self._move(authority, Happening.FAILED)
        if known.state is AuthorityState.QUARANTINE:
            return ()
        known.attempts = min(known.attempts + 1, _DOUBLINGS_MAX)
        known.failures += counts
        whole_s = min(self._redial_s * 2.0 ** (known.attempts - 1), self._redial_max_s)
        known.not_before = now + whole_s * (0.5 + self._random.random() / 2)
        if known.failures < self._config.failures_max:
            return ()
        return self.condemned(authority, f"{known.failures} dials failed in a row: {reason}", now)

    def heard(self, authority: str, node_id: str, incarnation: int) -> tuple[AuthorityEvent, ...]:
        """The process has connected to this node, so it can be dialled. Ends a quarantine of another process there.

        Raises:
            IllegalTransition: that process is quarantined; `refusal` would have said so.
        """
        known = self._known.get(authority)
        if known is None:
            return ()
        released = self.replaced(authority, node_id, incarnation)
        known = self._move(authority, Happening.HEARD)
        _absolve(known)
        return released

    def replaced(self, authority: str, node_id: str, incarnation: int) -> tuple[AuthorityEvent, ...]:
        """The membership names the process at the authority. If it is another one than before, failures are forgotten.

        Nothing happens when it is the same process. A process with an unknown node id counts as another one.
        """
        known = self._known.get(authority)
        if known is None or known.node_id == node_id:
            return ()
        before = known.state
        self._move(authority, Happening.REPLACED)
        _absolve(known)
        if before is AuthorityState.CONNECTED:
            return ()
        gone, known.node_id, known.incarnation = known.node_id, node_id, incarnation
        if before is AuthorityState.DISCONNECTED:
            return ()
        return self._freed(known, gone, f"node {node_id} is there now")

    def condemned(
        self, authority: str, reason: str, now: float, *, node_id: str = "", incarnation: int = 0
    ) -> tuple[AuthorityEvent, ...]:
        """The association is invalid (SPEC CL-4.1): quarantine for `quarantine_s`, unless there is one already.

        Args:
            authority: whom it concerns.
            reason: one sentence, for events, errors and the audit log.
            now: seconds.
            node_id, incarnation: the process; by default the one last known there.
        """
        before = self.state(authority)
        known = self._move(authority, Happening.CONDEMNED)
        if before is AuthorityState.QUARANTINE:
            return ()
        if node_id:
            known.node_id, known.incarnation = node_id, incarnation
        known.until, known.reason = now + self._config.quarantine_s, reason
        self._quarantined[authority] = known
        for_s = self._config.quarantine_s
        return (AuthorityQuarantined(authority=authority, node_id=known.node_id, reason=reason, for_s=for_s),)

    def released(self, authority: str, reason: str = "an operator released it") -> tuple[AuthorityEvent, ...]:
        """Ends a quarantine at once (SPEC CL-4.4). Raises `IllegalTransition` when there is none."""
        known = self._move(authority, Happening.RELEASED)
        return self._freed(known, known.node_id, reason)

    def tick(self, now: float) -> tuple[AuthorityEvent, ...]:
        """Ends the quarantines whose time is up (SPEC CL-4.3)."""
        events: tuple[AuthorityEvent, ...] = ()
        for known in [known for known in self._quarantined.values() if known.until <= now]:
            self._move(known.authority, Happening.EXPIRED)
            events += self._freed(known, known.node_id, f"its {self._config.quarantine_s:g} s are over")
        return events

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._known) <= self._config.authorities_max
        for authority, known in self._known.items():
            quarantined = known.state is AuthorityState.QUARANTINE
            assert known.authority == authority
            assert quarantined == (self._quarantined.get(authority) is known)
            assert quarantined == (known.until > 0) == bool(known.reason)
            assert 0 <= known.failures <= self._config.failures_max
            assert known.state is not AuthorityState.CONNECTED or (known.was_connected and known.attempts == 0)
        assert all(authority in self._known for authority in self._quarantined)

    def _freed(self, known: Association, node_id: str, reason: str) -> tuple[AuthorityEvent, ...]:
        """Forgets failures and quarantine."""
        del self._quarantined[known.authority]
        known.until, known.reason = 0.0, ""
        _absolve(known)
        return (AuthorityReleased(authority=known.authority, node_id=node_id, reason=reason),)

    def _move(self, authority: str, happening: Happening) -> Association:
        """The only place where a state changes."""
        known = self._known.get(authority)
        before = AuthorityState.DISCONNECTED if known is None else known.state
        after = TRANSITIONS.get((before, happening))
        if after is None:
            raise IllegalTransition(f"{happening} while {before}", authority=authority)
        if known is None:
            known = self._remember(authority)
        known.state = after
        return known

    def _remember(self, authority: str) -> Association:
        if len(self._known) >= self._config.authorities_max:
            self._forget_one()
        known = self._known[authority] = Association(authority)
        return known

    def _forget_one(self) -> None:
        """Makes room: removes the oldest disconnected association, or the quarantine that would end first."""
        for known in self._known.values():
            if known.state is AuthorityState.DISCONNECTED:
                del self._known[known.authority]
                return
        victim = min(self._quarantined.values(), key=lambda known: known.until, default=None)
        if victim is None:
            raise IllegalTransition("every authority is connected (delivery.authorities_max)")
        del self._quarantined[victim.authority]
        del self._known[victim.authority]


def _absolve(known: Association) -> None:
    """Forgets failures, so the next dial may begin at once."""
    known.attempts, known.failures, known.not_before = 0, 0, 0.0
