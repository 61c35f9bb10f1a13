"""Decides how a node finds its cluster: which seeds it asks, and when it may found a new cluster.

Which node founds: a node whose seeds name no other node founds at once. Otherwise only the node that is the FIRST of
its own seeds founds, when every other seed refuses the connection or no member has admitted it for `found_after_s`. All
other nodes wait for a cluster. So two seeds that start together become one cluster: the second one never founds. If the
seed lists disagree and two nodes found, gossip between seeds merges the two clusters, since neither has removed a
member of the other.

A provider may list further authorities. They are contacts beside the seeds and do not change who founds. A node without
seeds has only them: of the listed authorities and its own, the first in order that has not refused the connection is
treated as the first seed. Where the provider keeps a record, the record alone decides who founds, and seeds are
contacts only.

A first seed that was a member and lost its place waits for `join_timeout_s`. It does not wait if in one round of the
search every contact, its former fellow members included, has refused the connection: then there is nobody to wait for.
A contact that only does not answer may be alive.

A contact that refuses the handshake refuses only for itself: it may belong to another cluster or have another secret,
while the other contacts are right. The search goes on with the others, and ends at once when no contact is left that
could admit this node. But a node that was refused by a node of its own cluster name founds nothing: most likely that
node *is* the cluster, and this node is configured wrongly.

A seed can be this node under another name. This is reported when the search has failed. It does not end the search and
does not make this node a founder: a name may stand for several nodes, and each of them can reach itself first and
another one next time.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.config import MembershipConfig
from inaho.core.messages import JoinRefused
from inaho.errors import IllegalTransition
from inaho.errors.refusals import FINAL_CODES, SAME_CLUSTER_CODES

__all__ = ["Ask", "Fail", "Found", "JoinPhase", "Joiner"]

BACKOFF_MAX: Final = 8

AT_ONCE: Final = 8
"""So many newly listed contacts are asked without a pause between them, since some of them may be silent."""

JoinPhase = str
IDLE: Final[JoinPhase] = "idle"
SEEKING: Final[JoinPhase] = "seeking"
DONE: Final[JoinPhase] = "done"
FAILED: Final[JoinPhase] = "failed"

TRANSITIONS: Final[dict[JoinPhase, tuple[JoinPhase, ...]]] = {
    IDLE: (SEEKING,),
    SEEKING: (DONE, FAILED),
    DONE: (SEEKING,),
    FAILED: (),
}


class Ask(msgspec.Struct, frozen=True):
    """Send a join request to that contact."""

    authority: str


class Found(msgspec.Struct, frozen=True):
    """Found the cluster."""


class Fail(msgspec.Struct, frozen=True):
    """Give up the search."""

    code: str
    reason: str


class Joiner:
    """The search of one node for its cluster.

    Args:
        authority: of this node.
        config: periods.
    """

    def __init__(self, authority: str, config: MembershipConfig) -> None:
        self._authority = authority
        self._config = config
        self.phase = IDLE
        # The provider that is the membership does not list this node: it asks nobody and founds nothing.
        self.held = False
        self._contacts: tuple[str, ...] = ()
        # The contacts of this search, and those that a provider lists: together they are `_contacts`.
        self._own_contacts: tuple[str, ...] = ()
        self._listed: tuple[str, ...] = ()
        # The listed authorities and this node's own, sorted.
        self._ranked: tuple[str, ...] = (authority,)
        # Listed contacts to ask next, and how many were asked since the last pause.
        self._new: dict[str, None] = {}
        self._asked_at_once = 0
        self._may_found_at: float | None = None
        self._gives_up_at: float | None = None
        self._search_s = config.join_timeout_s
        self._next_at = 0.0
        self._pause_s = config.join_retry_s
        self._turn = 0
        # Contacts asked in this search; only their answers count.
        self._asked: dict[str, None] = {}
        self._dial_refused: dict[str, None] = {}
        # Contacts where no process of this cluster listens, by their last answer.
        self._absent: dict[str, None] = {}
        self._failure: Fail | None = None
        # The last answer of each contact, for people; and the contacts that refuse this node for good.
        self._told: dict[str, str] = {}
        self._final: dict[str, Fail] = {}
        self._own_names: dict[str, None] = {}
        # By contact the node that was reached: a name may lead to another authority.
        self._reached: dict[str, str] = {}
        self._seeds: tuple[str, ...] = ()
        # Who may found; empty if only the record says so.
        self._founder = ""
        self._again = self._by_record = self._won = False

    def start(
        self,
        now: float,
        seeds: tuple[str, ...],
        others: tuple[str, ...] = (),
        again: bool = False,
        by_record: bool = False,
        patience_s: float = 0.0,
    ) -> None:
        """Begins a search.

        Args:
            seeds: as configured; their order decides who founds.
            others: further contacts, asked before the seeds: former fellow members.
            again: this node has been a member. It never gives up, and founds only after `join_timeout_s`, or as soon as
                every contact has refused the connection in one round.
            by_record: it founds only after `won`.
            patience_s: it gives up so much later than after `join_timeout_s`.
        """
        self._become(SEEKING)
        self._seeds, self._again, self._by_record, self._won = seeds, again, by_record, False
        self._own_contacts = self._but_me((*others, *seeds))
        self._contacts = self._but_me((*self._own_contacts, *self._listed))
        self._new = dict.fromkeys(self._contacts[len(self._own_contacts) :])
        self._asked_at_once = 0
        self._search_s = self._config.join_timeout_s + patience_s
        self._gives_up_at = None if again else now + self._search_s
        self._next_at, self._pause_s, self._turn = now, self._config.join_retry_s, 0
        self._asked, self._dial_refused, self._failure, self._told, self._final = {}, {}, None, {}, {}
        self._absent = {}
        self._own_names = {name: None for name in self._own_names if name in self._contacts}
        self._reached = {name: node_id for name, node_id in self._reached.items() if name in self._contacts}
        self._founder, self._may_found_at = "", None
        self._choose_founder(now)
        if self._may_found_at is not None and not self._contacts:
            self._may_found_at = now

    def discovered(self, now: float, authorities: tuple[str, ...]) -> None:
        """A provider lists these authorities, this node's own perhaps among them; those that it lists no more are not
        asked any more.

        New ones, and a first one that has changed, are asked before the round goes on.
        """
        before, self._listed = self._listed, self._but_me(authorities)
        self._ranked = tuple(sorted((self._authority, *self._listed)))
        if self.phase is not SEEKING or self._listed == before:
            return
        following = self._contacts[self._turn :] + self._contacts[: self._turn]
        self._contacts = self._but_me((*self._own_contacts, *self._listed))
        new = [authority for authority in self._listed if authority not in following]
        if self._listed[:1] != before[:1]:
            new[:0] = self._listed[:1]
        self._new = {name: None for name in (*new, *self._new) if name in self._contacts}
        if new:
            self._next_at, self._asked_at_once = now, 0
        kept = [name for name in following if name in self._contacts]
        self._turn = self._contacts.index(kept[0]) if kept else 0
        for by_name in (self._asked, self._dial_refused, self._absent, self._told, self._final, self._own_names):
            for name in [name for name in by_name if name not in self._contacts]:
                del by_name[name]
        self._reached = {name: node_id for name, node_id in self._reached.items() if name in self._contacts}

    def won(self) -> None:
        """This node has won the record of the cluster, so it founds; without effect unless it searches."""
        self._won = True

    def _but_me(self, authorities: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(authority for authority in dict.fromkeys(authorities) if authority != self._authority)

    def _choose_founder(self, now: float) -> None:
        founder = self._first()
        if founder == self._founder:
            return
        wait_s = self._config.join_timeout_s if self._again else self._config.found_after_s
        self._founder = founder
        self._may_found_at = now + wait_s if founder == self._authority else None

    def _first(self) -> str:
        """Who founds where there is no cluster."""
        if self._by_record:
            return ""
        if self._seeds:
            return self._seeds[0]
        for authority in self._ranked:
            if authority == self._authority or authority in self._own_names:
                break
            if authority not in self._absent:
                return authority
        return self._authority

    def poll(self, now: float) -> Ask | Found | Fail | None:
        """The next action; call again until it returns None."""
        if self.phase is not SEEKING:
            return None
        self._choose_founder(now)
        failure = None if self._won else self._failed(now)
        if failure is not None:
            self._become(FAILED)
            return failure
        if self.held:
            return None
        if self._may_found(now):
            return Found()
        if not self._contacts or now < self._next_at:
            return None
        if self._new:
            return self._ask_new(now)
        if self._turn == 0 and self._again:
            self._dial_refused.clear()  # only refusals of all contacts in one round show that no process is there
        authority = self._contacts[self._turn]
        self._turn = (self._turn + 1) % len(self._contacts)
        self._next_at = now + self._pause_s
        if self._turn == 0:
            self._pause_s = min(2 * self._pause_s, BACKOFF_MAX * self._config.join_retry_s)
        self._asked[authority] = None
        return Ask(authority)

    def _ask_new(self, now: float) -> Ask:
        """Asks the next of the newly listed contacts; the round goes on when all were asked."""
        authority = next(iter(self._new))
        del self._new[authority]
        self._asked_at_once += 1
        if not self._new or self._asked_at_once >= AT_ONCE:
            self._next_at, self._asked_at_once = now + self._config.join_retry_s, 0
        self._asked[authority] = None
        return Ask(authority)

    def _failed(self, now: float) -> Fail | None:
        """Why the search cannot succeed any more; None while it can."""
        if self._failure is not None or self._again:
            return self._failure
        refusals = [self._final[authority] for authority in self._contacts if authority in self._final]
        over = self._gives_up_at is not None and now >= self._gives_up_at
        others_may_come = self._by_record or bool(self._listed)
        if refusals and len(refusals) == len(self._contacts) and (over or not others_may_come):
            return Fail(refusals[0].code, "; ".join(refusal.reason for refusal in refusals))
        if not over:
            return None
        said = "; ".join(f"{authority}: {text}" for authority, text in self.told().items())
        blocking = next((refusal for refusal in refusals if refusal.code in SAME_CLUSTER_CODES), None)
        if self._may_found_at is not None and blocking is not None:
            return Fail(blocking.code, f"{blocking.reason}; nor did another seed admit this node ({said})")
        hint = ""
        if self._by_record:
            hint = "; nor did a provider let it found a cluster by the record"
        elif self._founder not in (self._authority, *self._final, *self._own_names):
            rule, where = ("seeds", "`seeds`") if self._seeds else ("listed authorities", "the list of the provider")
            hint = (
                f"; only the first of the {rule}, {self._founder}, founds a cluster where there is none: start it or, "
                f"if it is gone for good, put another authority first in {where} on all nodes"
            )
        return Fail(
            "topology_unavailable",
            f"no seed admitted this node within {self._search_s:g} s ({said or 'none is known'}){hint}",
        )

    def told(self) -> dict[str, str]:
        """By contact, in the order in which they are asked: its last answer, or why it could not be asked."""
        return {
            name: self._self_told() if name in self._own_names else self._told.get(name, "no answer yet")
            for name in self._contacts
        }

    def _self_told(self) -> str:
        return f"that is this node; its authority is {self._authority}: write that in `seeds`"

    def _may_found(self, now: float) -> bool:
        if self._won:
            return True
        if self._may_found_at is None or any(refusal.code in SAME_CLUSTER_CODES for refusal in self._final.values()):
            return False
        if now >= self._may_found_at:
            return True
        return len({*self._dial_refused, *self._own_names}) == len(self._contacts)

    def answered(self, contact: str, node_id: str, *, by_us: bool) -> None:
        """A contact was reached, and it is that node; `by_us`: it is this node, under another name."""
        self._own_names.pop(contact, None)
        self._absent.pop(contact, None)
        if contact in self._contacts:
            self._reached[contact] = node_id
            if by_us:
                self._own_names[contact] = None

    def dial_failed(self, now: float, authority: str, reason: str, code: str = "", detail: str = "") -> None:
        """A contact could not be dialled: the next one is asked at once, a round of failures backs off as usual.

        Args:
            authority: of the contact.
            reason, code, detail: as in `inputs.AuthorityNotReached`.
        """
        if self.phase is not SEEKING or authority not in self._asked:
            return
        self._told[authority] = detail or f"it could not be dialled ({reason})"
        self._final.pop(authority, None)
        if code in FINAL_CODES:
            self._final[authority] = Fail(code, f"{authority}: {self._told[authority]}")
        self._dial_refused.pop(authority, None)
        self._absent.pop(authority, None)
        if reason == "refused":
            self._dial_refused[authority] = None
        if reason == "refused" or code in FINAL_CODES:
            self._absent[authority] = None
        if self._turn != 0:
            self._next_at = now

    def refused(self, now: float, authority: str, node_id: str, refusal: JoinRefused) -> None:
        """A contact refused; unless it said that trying again is useless, the search goes on."""
        contact = self._contact(authority, node_id)
        if contact is None:
            return
        self._told[contact] = refusal.reason
        self._dial_refused.pop(contact, None)
        self._final.pop(contact, None)
        if not refusal.retriable and not self._again:
            self._failure = Fail(refusal.code, refusal.reason)

    def awaits(self, authority: str, node_id: str) -> bool:
        """Whether this node has asked that node for admission."""
        return self._contact(authority, node_id) is not None

    def _contact(self, authority: str, node_id: str) -> str | None:
        """The contact that was asked and is that node, by its authority or by a name that led to it."""
        if self.phase is not SEEKING:
            return None
        if authority in self._asked:
            return authority
        return next((name for name in self._asked if self._reached.get(name) == node_id), None)

    def done(self) -> None:
        """Ends the search: admitted, founded, or called off.

        Raises:
            IllegalTransition: no search is going on.
        """
        self._become(DONE)

    def next_deadline(self) -> float | None:
        """When `poll` has something to do."""
        if self.phase is not SEEKING:
            return None
        if self.held:
            return self._gives_up_at
        times = [self._next_at] if self._contacts else []
        blocked = any(refusal.code in SAME_CLUSTER_CODES for refusal in self._final.values())
        may_found_at = None if blocked else self._may_found_at
        times.extend(at for at in (may_found_at, self._gives_up_at) if at is not None)
        return min(times) if times else None

    def _become(self, phase: JoinPhase) -> None:
        if phase not in TRANSITIONS[self.phase]:
            raise IllegalTransition(f"a joiner cannot go from {self.phase} to {phase}", authority=self._authority)
        self.phase = phase

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.phase in TRANSITIONS
        assert self._authority not in self._contacts
        assert all(authority in self._contacts for authority in self._new)
        assert self._pause_s <= BACKOFF_MAX * self._config.join_retry_s
        assert not self._contacts or 0 <= self._turn < len(self._contacts)
        for named in (self._told, self._final, self._own_names, self._reached, self._absent):
            for authority in named:
                assert authority in self._contacts
