"""Health, suspicion, evidence, probing."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.config import DetectionConfig
from inaho.core.detection.evidence import Evidence
from inaho.core.detection.health import LocalHealth
from inaho.core.detection.probe import INDIRECT, Prober
from inaho.core.detection.suspicion import Suspicions, suspicion_s
from inaho.core.messages import Accusation
from inaho.types import Member, MemberStatus

CONFIG = DetectionConfig()


def member(name: str) -> Member:
    return Member(name, f"id-{name}", 1, MemberStatus.UP)


def accusation(accuser: str, incarnation: int = 1) -> Accusation:
    return Accusation("a", "id-a", incarnation, accuser, "silent")


@given(st.lists(st.sampled_from(["worse", "better"]), max_size=40))
def test_health_stays_in_bounds(signs: list[str]) -> None:
    health = LocalHealth(8)
    for sign in signs:
        getattr(health, sign)()
        health.check()
    assert 1 <= health.multiplier <= 9


@given(st.integers(0, 10), st.integers(0, 5), st.floats(0.1, 10.0), st.floats(1.0, 5.0))
def test_suspicion_shortens_with_confirmations_within_its_bounds(c: int, k: int, least: float, factor: float) -> None:
    most = least * factor
    wait = suspicion_s(c, k, least, most)
    assert least <= wait <= most + 1e-9
    assert suspicion_s(c + 1, k, least, most) <= wait + 1e-9


def test_the_formula_at_its_ends() -> None:
    assert suspicion_s(0, 3, 1.0, 2.0) == 2.0
    assert suspicion_s(3, 3, 1.0, 2.0) == pytest.approx(1.0)
    assert suspicion_s(1, 3, 1.0, 2.0) == pytest.approx(2.0 - math.log(2) / math.log(4))
    assert suspicion_s(0, 0, 1.0, 2.0) == 1.0


def test_sources_are_distinct_and_evidence_counts_once() -> None:
    suspicions = Suspicions(CONFIG)
    assert suspicions.accuse(0.0, accusation("x"), 5)
    assert not suspicions.accuse(0.0, accusation("x"), 5)
    suspicion = suspicions.get("a")
    assert suspicion is not None
    alone = suspicion.deadline
    suspicions.confirm("a", "dead")
    suspicions.confirm("a", "dead")
    assert suspicion.evidence == 1 and suspicion.deadline < alone
    assert suspicions.accuse(0.0, accusation("y"), 5)
    assert suspicions.accuse(0.0, accusation("y", incarnation=2), 5)
    fresh = suspicions.get("a")
    assert fresh is not None and fresh.sources == ["y"]
    suspicions.check()


def test_what_is_only_passed_on_is_no_source_and_hurries_nothing() -> None:
    suspicions = Suspicions(CONFIG)
    assert suspicions.accuse(0.0, accusation("x"), 5)
    suspicion = suspicions.get("a")
    assert suspicion is not None
    alone = suspicion.deadline
    for name in "stuvwyz":
        dead = Accusation("a", "id-a", 1, name, "dead")
        assert suspicions.accuse(0.0, dead, 5, heard=False)
    assert suspicion.sources == ["x"] and suspicion.reason == "silent" and not suspicion.deaths
    assert suspicion.deadline == alone
    assert {told.accuser for told in suspicion.as_accusations()} == set("xstuvwyz")
    # The list of names is full; a source that is heard counts all the same.
    suspicions.accuse(0.0, accusation("q"), 5)
    assert suspicion.sources == ["x", "q"] and suspicion.deadline < alone
    suspicions.check()


def test_what_is_wrong_is_told_from_evidence() -> None:
    evidence = Evidence(CONFIG, 10)
    assert evidence.reason(0.0, "a", "n") == "silent"
    evidence.connected(1.0, "a", "n")
    assert evidence.reason(5.0, "a", "n") == "wedged"
    evidence.heard(5.0, "a", "n", 0.5)
    assert evidence.reason(6.0, "a", "n") == "busy"
    evidence.disconnected("a", "n", "reset")
    assert not evidence.proves_death("a", "n")
    assert not evidence.dial_failed("a", "timeout")
    assert evidence.dial_failed("a", "refused")
    assert not evidence.dial_failed("a", "refused")
    assert evidence.reason(6.0, "a", "n") == "dead"
    assert evidence.proves_death("a", "n") and not evidence.proves_death("a", "other")
    evidence.heard(7.0, "a", "n", 0.0)
    assert not evidence.proves_death("a", "n")
    assert evidence.answered("a", "new", "n") and not evidence.answered("a", "n", "n")
    assert evidence.proves_death("a", "n")
    evidence.check()


def test_links_are_bounded() -> None:
    evidence = Evidence(CONFIG, 3)
    for index in range(10):
        evidence.connected(0.0, f"a{index}", "n")
    evidence.check()


def test_round_robin_tries_everybody_before_anybody_twice() -> None:
    prober = Prober(CONFIG, random.Random(3))
    prober.start(0.0)
    others = [member(name) for name in "abcdef"]
    now, turns = 0.0, []
    while len(turns) < 18:
        now = prober.next_deadline() or now
        turns.append(prober.turn(now, 1, others))
    for start in (0, 6, 12):
        assert sorted(turns[start : start + 6]) == list("abcdef")
    other = Prober(CONFIG, random.Random(4))
    other.start(0.0)
    assert [other.turn(float(now), 1, others) for now in range(1, 7)] != turns[:6]


def test_nobody_waits_for_longer_than_a_round() -> None:
    prober = Prober(CONFIG, random.Random(3))
    prober.start(0.0)
    others = [member(name) for name in "abcdef"]
    turns = [prober.turn(float(now), 1, others) for now in range(1, 31)]
    for name in "abcdef":
        places = [at for at, turn in enumerate(turns) if turn == name]
        assert {later - earlier for earlier, later in itertools.pairwise(places)} == {6}


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), max_size=12), st.integers(0, 99))
def test_the_round_survives_every_change_of_members(changes: list[set[str]], seed: int) -> None:
    prober = Prober(CONFIG, random.Random(seed))
    prober.start(0.0)
    now = 0.0
    for names in changes:
        others = [member(name) for name in sorted(names)]
        turns: list[str] = []
        for _ in range(len(others) + 1):
            now += 1.0
            turns.append(prober.turn(now, 1, others))
            prober.check()
        assert set(turns) == (names or {""})


def test_who_was_not_tried_yet_is_not_passed_over_when_another_goes() -> None:
    for seed in range(20):
        prober = Prober(CONFIG, random.Random(seed))
        prober.start(0.0)
        others = [member(name) for name in "abcdef"]
        tried = [prober.turn(float(now), 1, others) for now in range(1, 4)]
        left = [one for one in others if one.authority != tried[0]]
        tried += [prober.turn(float(now), 1, left) for now in range(4, 7)]
        assert set(tried) == set("abcdef")


def test_a_probe_goes_direct_then_indirect_and_only_its_target_answers() -> None:
    prober = Prober(CONFIG, random.Random(3))
    prober.start(0.0)
    sequence = prober.begin(0.0, member("a"), 1)
    assert sequence is not None
    assert prober.due(0.39) == []
    (probe,) = prober.due(0.4)
    prober.go_indirect(0.4, probe, ["b", "c"], 1)
    assert probe.stage == INDIRECT and probe.due == pytest.approx(0.8)
    assert prober.failing("a") and not prober.failing("b")
    for helper in ("b", "b", "stranger"):
        prober.not_reached(0.5, sequence, "id-a", helper)
    assert probe.refusals == ["b"] and probe.due == pytest.approx(0.8)
    prober.not_reached(0.5, sequence, "id-a", "c")
    assert prober.due(0.5) == [probe]
    assert prober.answered(sequence, "id-b") is None
    assert prober.answered(sequence, "id-a") is probe
    assert prober.answered(sequence, "id-a") is None
    prober.check()


def test_outstanding_probes_are_bounded() -> None:
    prober = Prober(CONFIG.replace(probes_max=2), random.Random(3))
    assert [prober.begin(0.0, member("a"), 1) for _ in range(3)] == [1, 2, None]
