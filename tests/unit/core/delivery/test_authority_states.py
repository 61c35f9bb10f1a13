"""The authority machine: its table, its pauses, and what a quarantine is bound to."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inaho.config import DeliveryConfig
from inaho.core.delivery.associations import TRANSITIONS, Authorities, AuthorityState, Happening
from inaho.errors import IllegalTransition, Quarantined
from inaho.events import (
    AuthorityConnected,
    AuthorityDisconnected,
    AuthorityQuarantined,
    AuthorityReleased,
)

PEER = "10.0.0.1:7700"
OLD, NEW = "a" * 16, "b" * 16


def make(**settings: object) -> Authorities:
    config = DeliveryConfig().replace(**settings)
    return Authorities(config, random.Random(7), redial_s=0.05, redial_max_s=5.0)


def happen(authorities: Authorities, happening: Happening, now: float) -> object:
    """Tells of a happening by its public method."""
    return {
        Happening.CONNECTED: lambda: authorities.connected(PEER, OLD, 1),
        Happening.LOST: lambda: authorities.lost(PEER, "reset"),
        Happening.FAILED: lambda: authorities.failed(PEER, "refused", now),
        Happening.HEARD: lambda: authorities.heard(PEER, OLD, 1),
        Happening.CONDEMNED: lambda: authorities.condemned(PEER, "bad bytes", now),
        Happening.REPLACED: lambda: authorities.replaced(PEER, NEW, 1),
        Happening.RELEASED: lambda: authorities.released(PEER),
        Happening.EXPIRED: lambda: authorities.tick(now + 30.0),
    }[happening]()


def brought_to(state: AuthorityState) -> Authorities:
    authorities = make()
    authorities.connected(PEER, OLD, 1)
    if state is AuthorityState.DISCONNECTED:
        authorities.lost(PEER, "reset")
    elif state is AuthorityState.QUARANTINE:
        authorities.condemned(PEER, "bad bytes", 100.0)
    assert authorities.state(PEER) is state
    return authorities


@pytest.mark.parametrize("state", AuthorityState)
@pytest.mark.parametrize("happening", [each for each in Happening if each is not Happening.EXPIRED])
def test_each_happening_in_each_state_does_what_the_table_says(state: AuthorityState, happening: Happening):
    authorities = brought_to(state)
    after = TRANSITIONS.get((state, happening))
    if after is None:
        before = str(authorities.get(PEER))
        with pytest.raises(IllegalTransition) as refused:
            happen(authorities, happening, 100.0)
        assert refused.value.authority == PEER
        assert str(authorities.get(PEER)) == before
    else:
        happen(authorities, happening, 100.0)
        assert authorities.state(PEER) is after
    authorities.check()


def test_the_table_names_every_state_and_happening():
    assert {state for state, _ in TRANSITIONS} == set(AuthorityState)
    assert {happening for _, happening in TRANSITIONS} == set(Happening)


def test_an_unknown_authority_is_disconnected_and_may_be_dialled():
    authorities = make()
    assert authorities.state(PEER) is AuthorityState.DISCONNECTED
    assert authorities.may_dial(PEER, 0.0)
    assert not authorities.may_send(PEER)
    assert authorities.refusal(PEER) is None
    assert authorities.next_deadline() is None
    assert authorities.heard(PEER, OLD, 1) == ()


def test_a_life_with_its_events():
    authorities = make()
    assert authorities.connected(PEER, OLD, 3) == (AuthorityConnected(authority=PEER, node_id=OLD, reconnected=False),)
    assert authorities.may_send(PEER)
    assert not authorities.may_dial(PEER, 0.0)
    assert authorities.lost(PEER, "reset") == (AuthorityDisconnected(authority=PEER, node_id=OLD, reason="reset"),)
    assert authorities.failed(PEER, "refused", 1.0) == ()
    assert authorities.connected(PEER, OLD, 3) == (
        AuthorityConnected(authority=PEER, node_id=OLD, reconnected=True, failures=1),
    )
    assert authorities.condemned(PEER, "bad bytes", 10.0) == (
        AuthorityQuarantined(authority=PEER, node_id=OLD, reason="bad bytes", for_s=30.0),
    )
    assert authorities.lost(PEER, "closed") == ()
    assert authorities.condemned(PEER, "more bad bytes", 20.0) == ()
    assert authorities.next_deadline() == 40.0
    assert authorities.tick(39.9) == ()
    [released] = authorities.tick(40.0)
    assert isinstance(released, AuthorityReleased)
    assert released.node_id == OLD
    assert authorities.may_dial(PEER, 40.0)


def test_pauses_double_with_jitter_up_to_the_cap():
    authorities = make(failures_max=1000)
    whole = 0.05
    for number in range(40):
        authorities.failed(PEER, "refused", 100.0)
        pause_s = authorities.pause_s(PEER, 100.0)
        assert whole / 2 <= pause_s <= whole, number
        assert not authorities.may_dial(PEER, 100.0)
        assert authorities.may_dial(PEER, 100.0 + pause_s + 1e-9)
        whole = min(whole * 2, 5.0)
    assert authorities.connected(PEER, OLD, 1)
    authorities.lost(PEER, "reset")
    assert authorities.pause_s(PEER, 100.0) == 0.0


def test_too_many_failures_in_a_row_quarantine_and_the_release_pays_for_them():
    authorities = make(failures_max=3)
    assert authorities.failed(PEER, "refused", 1.0) == ()
    assert authorities.failed(PEER, "refused", 2.0) == ()
    [quarantined] = authorities.failed(PEER, "refused", 3.0)
    assert isinstance(quarantined, AuthorityQuarantined)
    assert "3 dials failed" in quarantined.reason
    assert authorities.failed(PEER, "refused", 4.0) == ()
    authorities.released(PEER)
    assert authorities.may_dial(PEER, 4.0)
    assert authorities.failed(PEER, "refused", 5.0) == ()


def test_failures_of_a_peer_that_answers_lengthen_the_pause_only():
    authorities = make(failures_max=2)
    for _ in range(10):
        assert authorities.failed(PEER, "it is full", 1.0, counts=False) == ()
    assert authorities.pause_s(PEER, 1.0) > 1.0
    assert authorities.failed(PEER, "refused", 1.0) == ()


def test_a_peer_that_connects_to_us_may_be_dialled_at_once():
    authorities = make(failures_max=3)
    authorities.failed(PEER, "refused", 1.0)
    authorities.failed(PEER, "refused", 1.0)
    authorities.heard(PEER, OLD, 1)
    assert authorities.may_dial(PEER, 1.0)
    assert authorities.failed(PEER, "refused", 1.0) == ()


def test_a_quarantine_concerns_the_process_not_its_successor():
    authorities = brought_to(AuthorityState.QUARANTINE)
    for refused in (authorities.refusal(PEER), authorities.refusal(PEER, OLD)):
        assert isinstance(refused, Quarantined)
        assert (refused.reason, refused.authority) == ("bad bytes", PEER)
    assert authorities.refusal(PEER, NEW) is None
    assert authorities.replaced(PEER, OLD, 9) == ()
    [released] = authorities.replaced(PEER, NEW, 1)
    assert isinstance(released, AuthorityReleased)
    assert NEW in released.reason
    assert authorities.refusal(PEER) is None


def test_a_successor_that_connects_ends_the_quarantine():
    authorities = brought_to(AuthorityState.QUARANTINE)
    with pytest.raises(IllegalTransition):
        authorities.heard(PEER, OLD, 2)
    [released] = authorities.heard(PEER, NEW, 1)
    assert isinstance(released, AuthorityReleased)
    authorities.check()


def test_the_list_of_quarantines_is_sorted_and_a_copy():
    authorities = make()
    for peer in ("b:1", "a:1"):
        authorities.condemned(peer, "bad bytes", 1.0, node_id=OLD, incarnation=4)
    first, second = authorities.quarantined()
    assert (first.authority, second.authority, first.until, first.incarnation) == ("a:1", "b:1", 31.0, 4)
    first.until = 0.0
    authorities.check()


def test_what_is_remembered_is_bounded():
    authorities = make(authorities_max=3)
    authorities.connected("a:1", OLD, 1)
    authorities.condemned("b:1", "bad bytes", 1.0)
    for number in range(10):
        authorities.failed(f"c:{number}", "refused", 1.0)
        authorities.check()
    assert authorities.may_send("a:1")
    assert authorities.refusal("b:1") is not None
    authorities.condemned("c:9", "bad bytes", 2.0)
    authorities.connected("d:1", OLD, 1)  # the quarantine that would end first makes room
    assert authorities.refusal("b:1") is None
    authorities.connected("e:1", OLD, 1)
    with pytest.raises(IllegalTransition):
        authorities.connected("f:1", OLD, 1)
    authorities.check()


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_one_seed_makes_one_history(seed: int, failures: int):
    def history() -> list[float]:
        authorities = Authorities(
            DeliveryConfig(failures_max=100), random.Random(seed), redial_s=0.05, redial_max_s=5.0
        )
        pauses: list[float] = []
        for _ in range(failures):
            authorities.failed(PEER, "refused", 0.0)
            pauses.append(authorities.pause_s(PEER, 0.0))
        return pauses

    assert history() == history()


class AuthorityMachine(RuleBasedStateMachine):
    """Any happenings in any order: invariants hold, and quarantine keeps its word."""

    peers = st.sampled_from(["a:1", "b:1", "c:1", "d:1"])
    nodes = st.sampled_from([OLD, NEW])

    def __init__(self) -> None:
        super().__init__()
        config = DeliveryConfig(failures_max=3, authorities_max=3, quarantine_s=30.0)
        self.authorities = Authorities(config, random.Random(1), redial_s=0.05, redial_max_s=5.0)
        self.now = 0.0

    def attempt(self, call: object, *arguments: object) -> None:
        try:
            call(*arguments)  # type: ignore[operator]
        except IllegalTransition:
            self.authorities.check()

    @rule(peer=peers, node=nodes)
    def connects(self, peer: str, node: str) -> None:
        self.attempt(self.authorities.connected, peer, node, 1)

    @rule(peer=peers)
    def loses(self, peer: str) -> None:
        self.attempt(self.authorities.lost, peer, "reset")

    @rule(peer=peers)
    def fails(self, peer: str) -> None:
        self.attempt(self.authorities.failed, peer, "refused", self.now)

    @rule(peer=peers, node=nodes)
    def hears(self, peer: str, node: str) -> None:
        self.attempt(self.authorities.heard, peer, node, 1)

    @rule(peer=peers)
    def condemns(self, peer: str) -> None:
        self.attempt(self.authorities.condemned, peer, "bad bytes", self.now)

    @rule(peer=peers, node=nodes)
    def replaces(self, peer: str, node: str) -> None:
        self.attempt(self.authorities.replaced, peer, node, 1)

    @rule(peer=peers)
    def releases(self, peer: str) -> None:
        self.attempt(self.authorities.released, peer)

    @rule(passed_s=st.floats(0.0, 40.0))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s
        self.authorities.tick(self.now)
        assert all(each.until > self.now for each in self.authorities.quarantined())

    @invariant()
    def what_is_quarantined_is_neither_dialled_nor_sent_to(self) -> None:
        self.authorities.check()
        for each in self.authorities.quarantined():
            assert not self.authorities.may_dial(each.authority, self.now + 1e9)
            assert not self.authorities.may_send(each.authority)
            assert self.authorities.refusal(each.authority) is not None


TestAuthorityMachine = AuthorityMachine.TestCase
