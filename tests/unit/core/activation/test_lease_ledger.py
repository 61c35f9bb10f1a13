"""Leases and the ledger: the table, one holder at a time, epochs that only grow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inaho.core.activation.lease import TRANSITIONS, Lease, LeaseState
from inaho.core.activation.ledger import ActivationLedger
from inaho.errors import IllegalTransition, Overloaded, Pending


def lease_in(state: LeaseState) -> Lease:
    """A lease that was led to `state` along the table."""
    paths = {
        LeaseState.PENDING: (),
        LeaseState.ACTIVE: (LeaseState.ACTIVE,),
        LeaseState.RELEASING: (LeaseState.ACTIVE, LeaseState.RELEASING),
        LeaseState.RELEASED: (LeaseState.ACTIVE, LeaseState.RELEASING, LeaseState.RELEASED),
        LeaseState.TIMED_OUT: (LeaseState.TIMED_OUT,),
        LeaseState.REVOKED: (LeaseState.REVOKED,),
    }
    lease = Lease("Cart", "a", "n1", 1, 0.0)
    for step in paths[state]:
        lease.move(step, 1.0)
    return lease


@pytest.mark.parametrize("target", LeaseState)
@pytest.mark.parametrize("state", LeaseState)
def test_a_lease_moves_along_the_table_and_not_otherwise(state: LeaseState, target: LeaseState):
    lease = lease_in(state)
    since = lease.since
    if target in TRANSITIONS[state]:
        lease.move(target, 9.0)
        assert (lease.state, lease.since) == (target, 9.0)
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} cannot become {target.value}"):
            lease.move(target, 9.0)
        assert (lease.state, lease.since) == (state, since)


def test_a_second_request_waits_while_the_lease_is_held():
    ledger = ActivationLedger(10, pending_s=5.0)
    lease = ledger.grant("Cart", "a", "n1", 0.0)
    for _ in range(3):
        with pytest.raises(Pending, match="with node n1"):
            ledger.grant("Cart", "a", "n2", 0.0)
    ledger.activate(lease, 1.0)
    with pytest.raises(Pending):
        ledger.grant("Cart", "a", "n2", 1.0)
    ledger.begin_release(lease, 2.0)
    with pytest.raises(Pending, match="releasing"):
        ledger.grant("Cart", "a", "n2", 2.0)
    ledger.release(lease, 3.0)
    assert ledger.grant("Cart", "a", "n2", 3.0).epoch > lease.epoch
    assert ledger.refused == 5


def test_the_bound_refuses_and_keeps_what_is_there():
    ledger = ActivationLedger(2, pending_s=5.0)
    kept = [ledger.grant("Cart", key, "n1", 0.0) for key in "ab"]
    with pytest.raises(Overloaded, match="activations_max"):
        ledger.grant("Cart", "c", "n1", 0.0)
    assert [ledger.get("Cart", key) for key in "ab"] == kept
    ledger.check()


def test_blocking_a_node_revokes_its_leases_and_no_others():
    ledger = ActivationLedger(10, pending_s=5.0)
    lost = [ledger.grant("Cart", "a", "n1", 0.0), ledger.grant("Order", "a", "n1", 0.0)]
    ledger.activate(lost[0], 0.0)
    kept = ledger.grant("Cart", "b", "n2", 0.0)
    assert ledger.revoke("n1", 1.0) == lost
    assert [lease.state for lease in lost] == [LeaseState.REVOKED] * 2
    assert ledger.get("Cart", "b") is kept
    with pytest.raises(IllegalTransition):
        ledger.activate(lost[1], 2.0)  # an activation that was under way may not come up now
    ledger.check()


def test_a_new_epoch_exceeds_what_the_storage_has_seen():
    ledger = ActivationLedger(10, pending_s=5.0)
    ledger.note_topology(3)
    first = ledger.next_epoch()
    assert first >> 32 == 3
    ahead = ledger.next_epoch(above=9 << 32 | 7)
    assert ahead > 9 << 32 | 7
    ledger.note_topology(4)  # lower than what was jumped to
    assert ledger.next_epoch() > ahead


def test_a_pending_lease_of_another_node_keeps_others_out_however_late_it_is():
    ledger = ActivationLedger(10, pending_s=5.0)
    mine, theirs = ledger.grant("Cart", "a", "me", 0.0), ledger.grant("Cart", "b", "n2", 0.0)
    assert ledger.overdue(4.0, "me") == []
    assert ledger.expire(5.0, "me") == [mine]
    assert ledger.overdue(5.0, "me") == [theirs]
    assert ledger.overdue(6.0, "me") == []
    with pytest.raises(Pending, match="with node n2"):
        ledger.grant("Cart", "b", "n3", 99.0)
    ledger.check()
    ledger.release(theirs, 99.0)  # n2 has said that it does not run it
    assert ledger.grant("Cart", "b", "n3", 99.0).epoch > theirs.epoch
    gone = ledger.grant("Cart", "c", "n2", 99.0)
    assert ledger.revoke("n2", 200.0) == [gone]  # or is out of the view
    assert ledger.grant("Cart", "c", "n3", 200.0).epoch > gone.epoch


class LedgerMachine(RuleBasedStateMachine):
    """The ledger against a dict of holders."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ActivationLedger(6, pending_s=5.0)
        self.held: dict[str, Lease] = {}
        self.now = 0.0
        self.epochs: list[int] = []

    keys = st.sampled_from("abcdefgh")

    @rule(key=keys, node=st.sampled_from(["n1", "n2"]))
    def grant(self, key: str, node: str) -> None:
        if key in self.held:
            with pytest.raises(Pending):
                self.ledger.grant("K", key, node, self.now)
        elif len(self.held) >= 6:
            with pytest.raises(Overloaded):
                self.ledger.grant("K", key, node, self.now)
        else:
            lease = self.held[key] = self.ledger.grant("K", key, node, self.now)
            self.epochs.append(lease.epoch)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 100))
    def step(self, pick: int) -> None:
        key = sorted(self.held)[pick % len(self.held)]
        lease = self.held[key]
        if lease.state is LeaseState.PENDING:
            self.ledger.activate(lease, self.now)
        elif lease.state is LeaseState.ACTIVE:
            self.ledger.begin_release(lease, self.now)
        else:
            self.ledger.release(lease, self.now)
            del self.held[key]

    @rule(passed=st.floats(0.1, 4.0))
    def expire(self, passed: float) -> None:
        self.now += passed
        late = {
            key
            for key, lease in self.held.items()
            if lease.state is not LeaseState.ACTIVE and self.now - lease.since >= 5.0
        }
        mine = {key for key in late if self.held[key].holder == "n1"}
        assert {lease.key for lease in self.ledger.expire(self.now, "n1")} == mine
        for key in mine:
            assert self.held.pop(key).state is LeaseState.TIMED_OUT
        assert {lease.key for lease in self.ledger.overdue(self.now, "n1")} == late - mine
        assert all(self.held[key].holding for key in late - mine)

    @rule(node=st.sampled_from(["n1", "n2"]))
    def revoke(self, node: str) -> None:
        lost = {key for key, lease in self.held.items() if lease.holder == node}
        assert {lease.key for lease in self.ledger.revoke(node, self.now)} == lost
        for key in lost:
            del self.held[key]

    @invariant()
    def agrees(self) -> None:
        self.ledger.check()
        assert len(self.ledger) == len(self.held)
        assert all(self.ledger.get("K", key) is lease for key, lease in self.held.items())
        assert self.epochs == sorted(set(self.epochs)), "an epoch was given twice or fell"


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


Step = tuple[str, str, float]
STEPS = st.lists(
    st.tuples(st.sampled_from(["grant", "up", "down", "gone"]), st.sampled_from(["n2", "n3"]), st.floats(0.1, 6.0)),
    max_size=12,
)


def most_up(steps: list[Step], age: Callable[[ActivationLedger, float], object]) -> int:
    """How many hosts had an activation of one identity at once.

    A host that was granted it may come up at any later time, until it says that it will not, or is gone.
    """
    ledger, now = ActivationLedger(4, pending_s=5.0), 0.0
    granted: dict[str, Lease] = {}
    up: set[str] = set()
    most = 0
    for what, host, passed in steps:
        now += passed
        age(ledger, now)
        if what == "grant" and host not in granted:
            with contextlib.suppress(Pending):
                granted[host] = ledger.grant("K", "a", host, now)
        elif what == "up" and host in granted:
            up.add(host)
            most = max(most, len(up))
        elif what in ("down", "gone") and host in granted:
            up.discard(host)
            lease = granted.pop(host)
            if what == "gone":
                ledger.revoke(host, now)
            elif lease.holding:
                ledger.release(lease, now)
        ledger.check()
    return most


def by_the_rule(ledger: ActivationLedger, now: float) -> None:
    ledger.expire(now, "n1")
    ledger.overdue(now, "n1")


@given(STEPS)
def test_no_two_hosts_have_an_activation_at_once(steps: list[Step]):
    assert most_up(steps, by_the_rule) <= 1


def test_a_ledger_that_ends_late_leases_of_others_is_caught():
    """The mutant: what `expire` did before."""
    mutant = ActivationLedger.expire
    found = find(STEPS, lambda steps: most_up(steps, mutant) > 1, settings=settings(max_examples=20_000, database=None))
    assert most_up(found, by_the_rule) <= 1
