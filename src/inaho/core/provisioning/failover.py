"""Decides which provider is in use: the one of highest priority that is up.

All providers are watched all the time, so the next one has been read when it is needed, and a provider that is back is
seen. A change is made at most once per `cool_down_s`, so a provider that comes and goes does not move the cluster each
time; the first change after a quiet time does not wait. A provider of higher priority is used again when it has been up
for `cool_down_s`. A return to the provider that was used last is no change.

A degraded provider stays in use: a change for each late answer would cost more than it gains. One is chosen only if
none is up. If all are down, none is in use: `Unavailable`, and the last snapshot stays (SPEC PR-5.3).

The first choice waits for providers of higher priority that are still starting, `delay_max_s` at most. Otherwise each
node would begin with the provider that happens to answer first.

Why not a vote of all providers: they are different views of the same members, updated at different times, and the
difference would look like members that come and go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.health import HealthState

__all__ = ["Chosen", "Decision", "FailoverController", "Unavailable", "name_reason"]

LONG_AGO: Final = float("-inf")


class Chosen(msgspec.Struct, frozen=True):
    """This provider is in use from now on.

    Attributes:
        previous: the provider that was used last; empty the first time; the same one when it is used again.
        current: the provider.
        reason: why, for people.
        restored: whether it ends an `Unavailable`.
    """

    previous: str
    current: str
    reason: str
    restored: bool


class Unavailable(msgspec.Struct, frozen=True):
    """All providers are down; `reason` says why each of them is."""

    reason: str


Decision = Chosen | Unavailable


def name_reason(name: str, reason: str) -> str:
    """Why a provider is not up, with its name; most back ends name it themselves."""
    return reason if reason.startswith(f"provider {name}:") else f"provider {name}: {reason}"


class FailoverController:
    """Which provider is in use (SPEC PR-2.5, PR-5.3).

    Args:
        config: `cool_down_s` and `delay_max_s`.

    Attributes:
        active: the name of the provider in use; empty when there is none.
        fail_overs: number of changes from one provider to another because of their health.
    """

    def __init__(self, config: ProvisioningConfig) -> None:
        self.active = ""
        self.fail_overs = 0
        self._config = config
        self._order: tuple[str, ...] = ()
        self._up_since: dict[str, float] = {}
        self._changed_at = LONG_AGO
        self._last = ""
        self._unavailable = False
        self._due: float | None = None

    def set_order(self, names: tuple[str, ...]) -> None:
        """The enabled providers by priority, the highest first. One in use that is not among them is in use no more."""
        self._order = names
        self._up_since = {name: self._up_since[name] for name in names if name in self._up_since}
        if self.active not in names:
            self.active = ""

    def decide(self, now: float, states: Mapping[str, HealthState], reasons: Mapping[str, str]) -> Decision | None:
        """The change that is due.

        Args:
            now: seconds.
            states: of all providers in the order, by name.
            reasons: why those that are not up are not.
        """
        for name in self._order:
            if states[name] is HealthState.UP:
                self._up_since.setdefault(name, now)
            else:
                self._up_since.pop(name, None)
        self._due = None
        usable = bool(self.active) and states[self.active] is not HealthState.DOWN
        choice = self._better(now) if usable else self._next(now, states)
        if choice and choice != self.active:
            return self._choose(now, choice, usable, reasons)
        if usable or self._due is not None or HealthState.STARTING in states.values() or self._unavailable:
            return None
        self.active, self._unavailable = "", True
        said = "; ".join(name_reason(name, reasons.get(name, "")) for name in self._order)
        return Unavailable(said or "no provider is enabled")

    def _better(self, now: float) -> str:
        """The provider that takes the place of the usable one; empty if none does now."""
        for name in self._order[: self._order.index(self.active)]:
            if name in self._up_since:
                at = max(self._up_since[name] + self._config.cool_down_s, self._free_at)
                if now >= at:
                    return name
                self._wait_until(at)
        return ""

    def _next(self, now: float, states: Mapping[str, HealthState]) -> str:
        """The provider to use where none is usable; empty if there is none now."""
        for name in self._order:
            if states[name] is HealthState.UP and self._is_free(now, name):
                return name
            if states[name] is HealthState.STARTING and self._is_patient(now):
                return ""
        for name in self._order:
            if states[name] is HealthState.DEGRADED and self._is_free(now, name):
                return name
        return ""

    def _is_patient(self, now: float) -> bool:
        """Whether the first choice waits for a provider that is starting, although another one may be up."""
        if self._last in self._order:
            return False
        if self._up_since:
            at = min(self._up_since.values()) + self._config.delay_max_s
            if now >= at:
                return False
            self._wait_until(at)
        return True

    def _is_free(self, now: float, name: str) -> bool:
        if name == self._last or now >= self._free_at:
            return True
        self._wait_until(self._free_at)
        return False

    @property
    def _free_at(self) -> float:
        """When another provider may be chosen. The removal of the one in use by an operator is followed at once."""
        return self._changed_at + self._config.cool_down_s if self._last in self._order else LONG_AGO

    def _wait_until(self, at: float) -> None:
        self._due = at if self._due is None else min(self._due, at)

    def _choose(self, now: float, name: str, usable: bool, reasons: Mapping[str, str]) -> Chosen:
        previous, restored = self._last, self._unavailable
        if not previous:
            why = "it was the first of the highest priority that was up"
        elif previous == name:
            why = "it is up again"
        elif previous not in self._order:
            why = f"{previous} was removed"
        elif usable:
            why = f"it has a higher priority than {previous} and had been up for {self._config.cool_down_s:g} s"
        else:
            why = f"{previous} was down: {reasons.get(previous, '')}"
        if previous in self._order and previous != name:
            self._changed_at = now
            self.fail_overs += 1
        self.active = self._last = name
        self._unavailable, self._due = False, None
        return Chosen(previous, name, why, restored)

    def next_deadline(self) -> float | None:
        """When `decide` has something to do although no state has changed."""
        return self._due

    def up_since(self, name: str) -> float | None:
        """Since when a provider is up; None if it is not."""
        return self._up_since.get(name)

    def check(self) -> None:
        """Asserts the invariants."""
        assert not self.active or self.active == self._last
        assert not self.active or self.active in self._order
        assert all(name in self._order for name in self._up_since)
        assert not (self.active and self._unavailable)
