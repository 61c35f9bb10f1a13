"""Founding through a record: one cluster, whatever the order of steps, crashes and lost answers."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule
from hypothesis.strategies import booleans, integers

from inaho.core.provisioning.founding import ClusterRecord, Contact, Found, FoundingRule, Join, Wait
from inaho.core.provisioning.snapshot import ProviderMember
from support.founding_model import NODES, FoundingModel, one_cluster, play

ME = ProviderMember("10.0.0.1:1", "me")
OLD = ProviderMember("10.0.0.1:2", "old")
NEW = ProviderMember("10.0.0.1:3", "new")
RECORD = ClusterRecord("0" * 16, 3, OLD.authority, OLD.node_id)
CLUSTER_ID = "f" * 16


def rules() -> FoundingRule:
    return FoundingRule(ME, CLUSTER_ID)


def test_without_a_record_a_node_founds_the_first_generation() -> None:
    rule = rules()
    assert isinstance(rule.decide(None, (ME, NEW), {NEW.authority: Contact.STARTING}), Wait)
    found = rule.decide(None, (ME, NEW), {NEW.authority: Contact.STARTING})
    assert found == Found(ClusterRecord(CLUSTER_ID, 1, ME.authority, ME.node_id))


def test_a_record_that_was_lost_does_not_found_beside_members() -> None:
    assert rules().decide(None, (ME, NEW), {NEW.authority: Contact.MEMBER}) == Join((NEW.authority,))
    rule = rules()
    for _ in range(3):
        assert isinstance(rule.decide(None, (ME, NEW), {NEW.authority: Contact.SILENT}), Wait)


def test_a_registration_that_was_not_dialled_is_waited_for() -> None:
    assert isinstance(rules().decide(None, (ME, NEW), {}), Wait)
    assert isinstance(rules().decide(RECORD, (ME, NEW), {}), Wait)


def test_a_node_that_is_not_registered_does_nothing() -> None:
    assert isinstance(rules().decide(None, (), {}), Wait)


def test_members_are_joined_the_founder_first() -> None:
    contacts = {OLD.authority: Contact.MEMBER, NEW.authority: Contact.MEMBER}
    assert rules().decide(RECORD, (ME, NEW, OLD), contacts) == Join((OLD.authority, NEW.authority))


def test_the_founder_is_joined_although_its_registration_has_run_out() -> None:
    assert rules().decide(RECORD, (ME,), {OLD.authority: Contact.MEMBER}) == Join((OLD.authority,))
    assert isinstance(rules().decide(RECORD, (ME,), {}), Wait), "it is dialled first"
    rule = rules()
    rule.decide(RECORD, (ME,), {OLD.authority: Contact.SILENT})
    assert isinstance(rule.decide(RECORD, (ME,), {OLD.authority: Contact.SILENT}), Found), "expired, and no answer"


def test_the_winner_is_joined_before_it_is_a_member() -> None:
    contacts = {OLD.authority: Contact.STARTING, NEW.authority: Contact.SILENT}
    assert rules().decide(RECORD, (ME, NEW, OLD), contacts) == Join((OLD.authority,))


def test_a_silent_registration_counts_as_alive() -> None:
    rule = rules()
    for _ in range(3):
        step = rule.decide(RECORD, (ME, OLD), {OLD.authority: Contact.SILENT})
        assert step == Wait("registered and silent: 10.0.0.1:2")


def test_two_equal_rounds_without_a_member_found_the_next_generation() -> None:
    rule, contacts = rules(), {OLD.authority: Contact.REFUSES, NEW.authority: Contact.STARTING}
    assert isinstance(rule.decide(RECORD, (ME, OLD), contacts), Wait)
    assert isinstance(rule.decide(RECORD, (ME, OLD, NEW), contacts), Wait), "a new registration begins anew"
    step = rule.decide(RECORD, (ME, OLD, NEW), contacts)
    assert step == Found(ClusterRecord(RECORD.cluster_id, 4, ME.authority, ME.node_id))


def test_a_winner_whose_answer_was_lost_founds() -> None:
    rule = rules()
    rule.decide(None, (ME,), {})
    won = rule.decide(None, (ME,), {})
    assert isinstance(won, Found)
    assert rule.decide(won.record, (ME, NEW), {NEW.authority: Contact.SILENT}) == won
    rule.forget()
    assert isinstance(rule.decide(won.record, (ME, NEW), {NEW.authority: Contact.SILENT}), Wait), "of a life before"


class Interleavings(RuleBasedStateMachine):
    """Any order of steps and faults; then all is healed, and there is one cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.model = FoundingModel(NODES)

    @rule(index=integers(0, NODES - 1), steps=integers(1, 6))
    def step(self, index: int, steps: int) -> None:
        self.model.start(index)
        for _ in range(steps):
            self.model.step(index)

    @rule(index=integers(0, NODES - 1))
    def kill(self, index: int) -> None:
        self.model.kill(index)

    @rule(index=integers(0, NODES - 1), paused=booleans())
    def pause(self, index: int, paused: bool) -> None:
        self.model.pause(index, paused)

    @rule(one=integers(0, NODES - 1), other=integers(0, NODES - 1))
    def cut(self, one: int, other: int) -> None:
        if one != other:
            self.model.cuts ^= {frozenset((one, other))}

    @rule(index=integers(0, NODES - 1), applied=booleans())
    def lose_answer(self, index: int, applied: bool) -> None:
        self.model.lose_answer(index, applied)

    @rule(index=integers(0, NODES - 1))
    def lose_place(self, index: int) -> None:
        self.model.lose_place(index)

    @rule(index=integers(0, NODES - 1))
    def expire(self, index: int) -> None:
        self.model.expire(index)

    def teardown(self) -> None:
        one_cluster(self.model)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_pr_founding_is_never_twice_while_a_member_lives() -> None:
    founded = 0
    for seed in range(1500):
        model = play(seed, 300)
        founded += model.clusters
        one_cluster(model)
    assert founded > 1500, "histories in which nothing is founded show nothing"
