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
    """No topology (no seed answered, or every provider is gone), or nobody in it may take the identity now.

    A call that meets it did not run, and is tried again until its deadline: a host of the kind may come back.
    """

    code = "topology_unavailable"
    advice = "check the seeds and the network, and that a member with the role hosts the kind"
