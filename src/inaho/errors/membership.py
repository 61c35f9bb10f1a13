"""Errors of joining a cluster and of its topology (SPEC CL-1)."""

from __future__ import annotations

from inaho.errors.base import InahoError

__all__ = ["JoinRefused", "SettingsMismatch", "TopologyUnavailable"]


class JoinRefused(InahoError):
    """The cluster did not admit this node."""

    code = "join_refused"
    advice = "see the reason"


class SettingsMismatch(JoinRefused):
    """A setting that must be equal on all members differs from the peer's; `reason` has both values."""

    code = "settings_mismatch"
    advice = "give all members the same value; to change it, end all members first"


class TopologyUnavailable(InahoError):
    """There is no topology (no seed answered, or every provider is gone), or no member may take the identity now.

    The call did not run, and is retried until its deadline: a host of the kind may come back.
    """

    code = "topology_unavailable"
    advice = "check the seeds, the providers and the network, and that a member with the role hosts the kind"
