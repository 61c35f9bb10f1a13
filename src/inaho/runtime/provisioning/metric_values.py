"""Reads the metrics of providers and of what they list (SPEC PR-4.5, PR-5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from inaho.core.provisioning.health import HealthState
from inaho.observe.metrics import Sample
from inaho.runtime.provisioning.remoting_bridge import RemotingBridge
from inaho.runtime.provisioning.service import ProvisioningService

__all__ = ["provisioning_values"]

REMOTES_MAX: Final = 256
OTHER: Final = "other"


def provisioning_values(
    service: ProvisioningService, remoting: RemotingBridge
) -> Iterator[tuple[str, Sequence[Sample]]]:
    """Names of instruments, each with its values; of a node without providers only zeros and nothing."""
    reports = service.reports()
    yield (
        "inaho.provider.state",
        [((one.name, state.value), int(one.state is state)) for one in reports for state in HealthState],
    )
    yield "inaho.provider.active", [((one.name,), int(one.active)) for one in reports]
    yield "inaho.provider.last_answer.age", [((one.name,), one.heard_s) for one in reports if one.heard_s is not None]
    yield "inaho.provider.snapshot.delay", [((one.name,), one.delay_s) for one in reports]
    yield "inaho.provider.snapshot.seq_no", [((one.name,), one.seq_no) for one in reports]
    yield "inaho.provider.interruptions", [((one.name,), one.interruptions) for one in reports]
    yield "inaho.provider.fail_overs", [((), service.feed.fail_overs)]
    yield "inaho.provider.remotes", _remotes(remoting)
    if service.applied_s is not None:
        yield "inaho.provider.remotes.last_update.age", [((), service.applied_s)]


def _remotes(remoting: RemotingBridge) -> list[Sample]:
    counted: dict[tuple[str, str], float] = {}
    for number, (authority, state) in enumerate(remoting.remotes.items()):
        state = "degraded" if state == "up" and remoting.stale else state
        labels = (authority if number < REMOTES_MAX else OTHER, state)
        counted[labels] = counted.get(labels, 0) + 1
    return list(counted.items())
