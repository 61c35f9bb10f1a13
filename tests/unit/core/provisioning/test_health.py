"""The health of one provider: from silence, from errors, from late answers (SPEC PR-2)."""

from __future__ import annotations

import pytest

from inaho.config import ProvisioningConfig
from inaho.core.back_off import back_off_s
from inaho.core.provisioning.failover import Chosen, FailoverController
from inaho.core.provisioning.health import HealthState, ProviderHealth


def test_pr_2_a_the_defaults_are_those_of_the_specification() -> None:
    config = ProvisioningConfig()
    assert (config.timeout_s, config.errors_max, config.cool_down_s) == (15.0, 3, 10.0)
    pauses = [back_off_s(config.back_off_min_s, config.back_off_max_s, failed) for failed in range(1, 7)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_pr_2_a_silence_makes_a_provider_down() -> None:
    health = ProviderHealth(ProvisioningConfig(), 0.0)
    assert [health.state(now) for now in (0.0, 14.9, 15.0)] == ["starting", "starting", "down"]
    health.read(20.0, 0.1)
    assert [health.state(now) for now in (20.0, 34.9, 35.0)] == ["up", "up", "down"]
    assert health.why(36.0) == "no answer for 16.0 s"
    health.check()


def test_pr_2_a_three_errors_in_a_row_make_it_down_and_a_read_ends_them() -> None:
    health = ProviderHealth(ProvisioningConfig(), 0.0)
    health.read(0.0, 0.1)
    states: list[str] = []
    for now in (1.0, 2.0, 3.0):
        health.failed(now, "refused")
        states.append(health.state(now))
    assert states == ["degraded", "degraded", "down"]
    assert health.why(3.0) == "refused"
    health.read(4.0, 0.1)
    assert (health.state(4.0), health.errors, health.why(4.0)) == (HealthState.UP, 0, "")
    health.check()


def test_pr_2_a_failures_of_one_outage_count_once() -> None:
    health = ProviderHealth(ProvisioningConfig(), 0.0)
    health.read(0.0, 0.1)
    for now in (1.0, 1.1, 1.2, 1.9):  # a read, a watch and a renewal at the same time
        health.failed(now, "refused")
    assert (health.errors, health.state(1.9)) == (1, "degraded")
    health.failed(2.0, "refused")
    assert health.errors == 2


@pytest.mark.parametrize(("took_s", "state"), [(2.0, "up"), (2.1, "degraded")])
def test_pr_2_a_a_late_read_degrades(took_s: float, state: str) -> None:
    health = ProviderHealth(ProvisioningConfig(delay_max_s=2.0), 0.0)
    health.read(5.0, took_s)
    assert health.state(5.0) == state


def test_pr_2_a_the_first_choice_is_used_again_when_it_has_been_up_for_the_cool_down() -> None:
    controller = FailoverController(ProvisioningConfig())
    controller.set_order(("etcd", "consul"))
    up, down = HealthState.UP, HealthState.DOWN
    chosen: list[tuple[float, str]] = []
    for now, etcd in ((0.0, up), (20.0, down), (25.0, up), (34.9, up), (35.0, up)):
        decision = controller.decide(now, {"etcd": etcd, "consul": up}, {"etcd": "no answer"})
        if isinstance(decision, Chosen):
            chosen.append((now, decision.current))
    assert chosen == [(0.0, "etcd"), (20.0, "consul"), (35.0, "etcd")]
    controller.check()
