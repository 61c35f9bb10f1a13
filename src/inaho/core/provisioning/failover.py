"""Decides which provider is in use: the one of highest priority that is up.

All providers are watched all the time, so the next one has a snapshot when it is needed, and a provider that is back is
seen. A change is made at most once per `cool_down_s`, so a provider that comes and goes does not move the cluster each
time. A provider of higher priority is used again when it has been up for `cool_down_s`.

If the provider in use is down and no other is up, none is in use: `Unavailable`, and the last snapshot stays (SPEC
PR-5.3).

Why not a vote of all providers: they are different views of the same members, updated at different times, and the
difference would look like members that come and go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.health import HealthState

__all__ = ["Changed", "FailoverController", "Unavailable"]

LONG_AGO: Final = float("-inf")


class Changed(msgspec.Struct, frozen=True):
    """Another provider is in use; `previous` is empty the first time, and when there was none."""

    previous: str
    current: str
    reason: str


class Unavailable(msgspec.Struct, frozen=True):
    """No provider is up."""

    previous: str
    reason: str


Decision = Changed | Unavailable


class FailoverController:
    """Which provider is in use (SPEC PR-2.5, PR-5.3).

    Args:
        config: `cool_down_s`.

    Attributes:
        active: the name of the provider in use; empty when there is none.
        fail_overs: number of changes from one provider to another.
    """

    def __init__(self, config: ProvisioningConfig) -> None:
        self.active = ""
        self.fail_overs = 0
        self._config = config
        self._order: tuple[str, ...] = ()
        self._changed_at = LONG_AGO
        self._up_since: dict[str, float] = {}
        self._told_unavailable = False
        self._last = ""

    def set_order(self, names: tuple[str, ...]) -> None:
        """The enabled providers by priority, the highest first. One in use that is not among them is in use no more."""
        self._order = names
        self._up_since = {name: at for name, at in self._up_since.items() if name in names}
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
            if states.get(name) is HealthState.UP:
                self._up_since.setdefault(name, now)
            else:
                self._up_since.pop(name, None)
        usable = self.active and states.get(self.active) is not HealthState.DOWN
        candidate = self._candidate(now, bool(usable))
        if candidate and candidate != self.active and now >= self._changed_at + self._config.cool_down_s:
            return self._change(now, candidate, reasons)
        if not usable and not self._up_since and not self._told_unavailable:
            previous, self.active, self._told_unavailable = self.active, "", True
            said = "; ".join(f"{name}: {reasons.get(name, 'no answer yet')}" for name in self._order)
            return Unavailable(previous, said or "no provider is enabled")
        return None

    def _candidate(self, now: float, usable: bool) -> str:
        """The provider that should be in use; empty if the present one should stay."""
        for name in self._order:
            since = self._up_since.get(name)
            if name == self.active and usable:
                return ""
            if since is not None and (not usable or now >= since + self._config.cool_down_s):
                return name
        return ""

    def _change(self, now: float, name: str, reasons: Mapping[str, str]) -> Changed:
        previous = self.active
        if not previous:
            why = "it is the first that is up" if not self._last else f"{name} is up again"
        elif previous in self._order and self._order.index(name) < self._order.index(previous):
            why = f"{name} has a higher priority and has been up for {self._config.cool_down_s:g} s"
        else:
            why = f"{previous} is down: {reasons.get(previous, 'removed')}"
        if self._last and self._last != name:
            self.fail_overs += 1
        self.active = self._last = name
        self._changed_at, self._told_unavailable = now, False
        return Changed(previous, name, why)

    def next_deadline(self) -> float | None:
        """When `decide` may have something to do although no state has changed."""
        ahead = self._order[: self._order.index(self.active)] if self.active in self._order else self._order
        times = [self._up_since[name] + self._config.cool_down_s for name in ahead if name in self._up_since]
        if not times:
            return None
        return max(self._changed_at + self._config.cool_down_s, min(times))

    def check(self) -> None:
        """Asserts the invariants."""
        assert not self.active or self.active in self._order
        assert all(name in self._order for name in self._up_since)
        assert not (self.active and self._told_unavailable)
