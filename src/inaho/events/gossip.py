"""Events of how membership statements spread, and of conflicting views (SPEC CL-7)."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["ConvergenceDelayed", "ConvergenceReached", "ViewConflict", "ViewRefused"]


class ConvergenceReached(Event, frozen=True, kw_only=True):
    """The tables are equal: `elapsed_s` from the first change until enough peers acknowledged (SPEC CL-7.5)."""

    elapsed_s: float
    version: int


class ConvergenceDelayed(Event, frozen=True, kw_only=True):
    """The tables are not equal after `gossip.convergence_s`; `behind` are peers known to differ."""

    elapsed_s: float
    behind: tuple[str, ...]


class ViewRefused(Event, frozen=True, kw_only=True):
    """A conflict of two views was decided (SPEC CL-7.4): `refused` is `theirs` or `ours`, by `rule`."""

    authority: str
    refused: str
    rule: str


class ViewConflict(Event, frozen=True, kw_only=True):
    """Two views exclude each other and no rule decides: an operator must (`ResolveConflict`)."""

    authority: str
    reason: str
