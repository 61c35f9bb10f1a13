"""Leases and the ledger: the table, one holder at a time, epochs that only grow."""

from __future__ import annotations

import pytest
from hypothesis import settings
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
        assert {lease.key for lease in self.ledger.expire(self.now)} == late
        for key in late:
            assert self.held.pop(key).state is LeaseState.TIMED_OUT

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
