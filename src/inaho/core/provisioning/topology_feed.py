"""Turns what the streams of all providers report into one ordered list of updates for the consumers on a node.

    streams -> TopologyFeed: ProviderHealth of each, FailoverController, WatchHub -> snapshots and notices, in order

All providers are read all the time. Only reads of the provider in use become snapshots; of the others the newest good
read is kept, so a fail-over has a snapshot at once. What a consumer can rely on:

- `seq_no` goes up by one with each snapshot, over all providers;
- after `ProviderChanged` comes at once the first snapshot of that provider, also if it lists the same members;
- a read that equals the last snapshot of the same provider yields nothing;
- an interruption yields one `ProviderTerminated` for each kind of failure, however often the stream tries again; it
  ends with the next good read;
- `ProvisioningUnavailable` is followed by `ProvisioningRestored`, which comes after the snapshot that ends it.

Why not one feed per provider and a merge at the consumers: each of them would have to decide which provider counts, and
they would disagree for moments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.failover import Chosen, FailoverController
from inaho.core.provisioning.health import HealthState, ProviderHealth
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot, checked
from inaho.core.provisioning.watch_hub import WatchHub
from inaho.errors import InvalidSnapshot, ProviderError, ProviderUnreachable
from inaho.events import (
    ProviderChanged,
    ProviderHealthChanged,
    ProviderTerminated,
    ProvisioningRestored,
    ProvisioningUnavailable,
)

__all__ = ["Notice", "ProviderReport", "TopologyFeed", "Update"]

Notice = ProviderChanged | ProviderTerminated | ProviderHealthChanged | ProvisioningUnavailable | ProvisioningRestored
Update = ProviderSnapshot | Notice


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """One provider at one moment, for people and metrics (SPEC PR-4.5, PR-5.1).

    Attributes:
        name: of the provider.
        state: `starting`, `up`, `degraded` or `down`.
        reason: why it is not up; empty if it is.
        active: whether its reads become snapshots.
        why: why it is the active one; empty if it is not.
        seq_no: of its newest snapshot; 0 if there is none.
        members: how many its newest good read lists.
        heard_s: seconds since its last answer; None before its first good read.
        delay_s: how long its newest good read took, seconds.
        errors: failures in a row.
        interruptions: how often it began to fail.
    """

    name: str
    state: HealthState
    reason: str
    active: bool
    why: str
    seq_no: int
    members: int
    heard_s: float | None
    delay_s: float
    errors: int
    interruptions: int


class _Watched:
    """What is known of one provider.

    Attributes:
        health: see there.
        state: the last one that was told.
        entries: the newest good read, as the back end has it. Most reads equal it, and are not checked again.
        found: the same, sorted and in one spelling; None before the first.
        told: codes of failures since the newest good read, which consumers were told.
        interruptions, seq_no: see `ProviderReport`.
    """

    def __init__(self, config: ProvisioningConfig, now: float) -> None:
        self.health = ProviderHealth(config, now)
        self.state = HealthState.STARTING
        self.entries: tuple[tuple[ProviderMember, ...], tuple[str, ...]] | None = None
        self.found: tuple[tuple[ProviderMember, ...], tuple[str, ...]] | None = None
        self.told: list[str] = []
        self.interruptions = 0
        self.seq_no = 0


class TopologyFeed:
    """The providers of one node, seen as one (SPEC PR-2, PR-3.4, PR-3.5, PR-5.3). See the module.

    All times are seconds of one monotonic clock. Reports of a provider that is not in the order are left out: its
    stream was ended a moment ago.

    Args:
        config: limits of health and fail-over.
        members_max: `membership.members_max`.
        cluster: name of this node's cluster.
        pauses_placement: the provider is the membership, so nothing is placed while none is up.

    Attributes:
        hub: the newest snapshot, and what each consumer has had.
    """

    def __init__(
        self, config: ProvisioningConfig, members_max: int, cluster: str, *, pauses_placement: bool = False
    ) -> None:
        self.hub = WatchHub()
        self._config = config
        self._members_max = members_max
        self._cluster = cluster
        self._pauses_placement = pauses_placement
        self._controller = FailoverController(config)
        self._why = ""
        self._watched: dict[str, _Watched] = {}

    @property
    def order(self) -> tuple[str, ...]:
        """The providers by priority, the highest first."""
        return tuple(self._watched)

    @property
    def active(self) -> str:
        """The provider in use; empty when there is none."""
        return self._controller.active

    @property
    def last(self) -> ProviderSnapshot | None:
        """The newest snapshot; it stays when its provider fails. None before the first."""
        return self.hub.last

    @property
    def fail_overs(self) -> int:
        """Changes from one provider to another because of their health."""
        return self._controller.fail_overs

    def steady(self, now: float) -> bool:
        """Whether the provider in use has been up for `ttl_s`.

        Otherwise it was away a short time ago, and registrations may be missing because they could not be renewed.
        """
        since = self._controller.up_since(self.active)
        return since is not None and now >= since + self._config.ttl_s

    # What streams and operators report.

    def set_providers(self, now: float, names: Iterable[str], renewed: Collection[str] = ()) -> list[Update]:
        """Uses these providers, the highest priority first, and no others.

        Args:
            now: seconds.
            names: each once.
            renewed: those whose definition has changed: what is known of them is forgotten.
        """
        before = self._watched
        self._watched = {
            name: before[name] if name in before and name not in renewed else _Watched(self._config, now)
            for name in names
        }
        self._controller.set_order(self.order)
        return self._settle(now)

    def read(
        self,
        now: float,
        provider: str,
        members: Iterable[ProviderMember],
        blocked_nodes: Iterable[str] = (),
        took_s: float = 0.0,
    ) -> list[Update]:
        """A full read, which took so many seconds. A list that cannot be this cluster's counts as a failure."""
        watched = self._watched.get(provider)
        if watched is None:
            return []
        entries = tuple(members), tuple(blocked_nodes)
        is_new = watched.entries != entries
        if is_new:
            try:
                watched.found = checked(*entries, self._members_max, self._cluster)
            except InvalidSnapshot as error:
                return self.failed(now, provider, error)
            watched.entries = entries
        watched.health.read(now, took_s)
        watched.told.clear()
        return self._settle(now, provider if is_new else "")

    def alive(self, now: float, provider: str) -> list[Update]:
        """A provider has answered something else than a read."""
        watched = self._watched.get(provider)
        if watched is not None:
            watched.health.alive(now)
        return self._settle(now)

    def failed(self, now: float, provider: str, error: ProviderError) -> list[Update]:
        """A request to a provider, or its watch, has failed."""
        watched = self._watched.get(provider)
        if watched is None:
            return []
        watched.health.failed(now, error.reason)
        updates: list[Update] = []
        self._tell_end(updates, provider, watched, error)
        return updates + self._settle(now)

    def poll(self, now: float) -> list[Update]:
        """What is due because time has passed."""
        return self._settle(now)

    def next_deadline(self) -> float | None:
        """When `poll` has something to do if nothing is reported before; None if nothing will be."""
        if self.hub.closed:
            return None
        watched = [one.health.next_deadline() for one in self._watched.values() if one.state is not HealthState.DOWN]
        change = self._controller.next_deadline()
        return min(watched if change is None else [*watched, change], default=None)

    def close(self) -> None:
        """The node shuts down: nothing is yielded any more, the last snapshot stays for draining (SPEC PR-3.5)."""
        self.hub.close()

    # The order of updates.

    def _settle(self, now: float, read: str = "") -> list[Update]:
        """All that follows from the states at that time; `read` names a provider whose read was new."""
        if self.hub.closed:
            return []
        updates: list[Update] = []
        for name, watched in self._watched.items():
            self._tell_state(updates, now, name, watched)
        states = {name: watched.state for name, watched in self._watched.items()}
        reasons = {name: watched.health.why(now) for name, watched in self._watched.items()}
        decision = self._controller.decide(now, states, reasons)
        if isinstance(decision, Chosen):
            self._why = decision.reason
            if decision.previous != decision.current:
                updates.append(self.hub.changed(decision.previous, decision.current, decision.reason))
            self._tell_snapshot(updates, decision.current)
            if decision.restored:
                updates.append(ProvisioningRestored(provider=decision.current))
        elif decision is not None:
            updates.append(self.hub.unavailable(decision.reason, placement_paused=self._pauses_placement))
        elif read and read == self.active:
            self._tell_snapshot(updates, read)
        return updates

    def _tell_state(self, updates: list[Update], now: float, name: str, watched: _Watched) -> None:
        state = watched.health.state(now)
        if state is watched.state:
            return
        watched.state = state
        if state is HealthState.DOWN and not watched.told:
            silence = f"provider {name} has not answered for {self._config.timeout_s:g} s"
            self._tell_end(updates, name, watched, ProviderUnreachable(silence))
        updates.append(ProviderHealthChanged(provider=name, state=state.value, reason=watched.health.why(now)))

    def _tell_end(self, updates: list[Update], name: str, watched: _Watched, error: ProviderError) -> None:
        if error.code in watched.told or self.hub.closed:
            return
        watched.interruptions += not watched.told
        watched.told.append(error.code)
        updates.append(self.hub.terminated(name, error))

    def _tell_snapshot(self, updates: list[Update], name: str) -> None:
        watched = self._watched[name]
        assert watched.found is not None, "a provider that was never read is not chosen"
        snapshot = self.hub.snapshot(name, *watched.found)
        if snapshot is not None:
            watched.seq_no = snapshot.seq_no
            updates.append(snapshot)

    # For people.

    def reports(self, now: float) -> tuple[ProviderReport, ...]:
        """Each provider at that time, the highest priority first."""
        return tuple(self._report(now, name, watched) for name, watched in self._watched.items())

    def _report(self, now: float, name: str, watched: _Watched) -> ProviderReport:
        health = watched.health
        return ProviderReport(
            name=name,
            state=health.state(now),
            reason=health.why(now),
            active=name == self.active,
            why=self._why if name == self.active else "",
            seq_no=watched.seq_no,
            members=len(watched.found[0]) if watched.found is not None else 0,
            heard_s=None if health.heard_at is None else now - health.heard_at,
            delay_s=health.delay_s,
            errors=health.errors,
            interruptions=watched.interruptions,
        )

    def check(self) -> None:
        """Asserts the invariants."""
        self.hub.check()
        self._controller.check()
        for watched in self._watched.values():
            watched.health.check()
            assert len(set(watched.told)) == len(watched.told)
            assert watched.found is not None or watched.health.heard_at is None
