"""Profiles: each is valid, differs where it says so and nowhere else."""

from __future__ import annotations

import msgspec
import pytest

from inaho.config import ClusterConfig
from inaho.config.sources import PROFILES, lan, load_config, local, wan

TIMED_GROUPS = ("membership", "gossip", "detection", "transport", "rpc", "activation")


def flat(config: ClusterConfig) -> dict[str, object]:
    """Settings of all groups by `group.name`."""
    return {
        f"{group}.{name}": value
        for group in TIMED_GROUPS
        for name, value in msgspec.structs.asdict(getattr(config, group)).items()
    }


def test_lan_is_the_defaults():
    assert lan() == ClusterConfig()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_chosen_by_name_and_settings_go_on_top(name: str):
    config = load_config(environ={"INAHO_PROFILE": name}, overrides={"rpc": {"timeout_s": 1.25}})
    assert config == PROFILES[name]().replace(rpc=PROFILES[name]().rpc.replace(timeout_s=1.25))


def test_an_argument_chooses_the_profile_over_the_environment():
    assert load_config(environ={"INAHO_PROFILE": "wan"}, overrides={"profile": "local"}) == local()


@pytest.mark.parametrize("profile", [local, wan])
def test_a_profile_changes_times_and_fan_out_only(profile):
    changed = {key for key, value in flat(profile()).items() if value != flat(lan())[key]}
    allowed = {"gossip.fanout", "gossip.retransmit_factor", "detection.suspicion_factor"}
    assert changed
    assert all(key.endswith("_s") or key in allowed for key in changed)
    assert profile().replace(**{group: getattr(lan(), group) for group in TIMED_GROUPS}) == lan()


def test_patience_grows_with_distance():
    ordered = [local(), lan(), wan()]
    for read in (
        lambda c: c.detection.probe_timeout_s,
        lambda c: c.membership.remove_unreachable_after_s,
        lambda c: c.gossip.interval_s,
        lambda c: c.transport.dial_timeout_s,
        lambda c: c.activation.drain_s,
    ):
        values = [read(config) for config in ordered]
        assert values == sorted(values)
        assert values[0] < values[2]
