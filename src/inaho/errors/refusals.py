"""Lists which refusals of a handshake are final, so that dialling again cannot help.

A final refusal stays as long as both nodes run with their settings. There is one list, because the search of a member,
the search of a client and the log must agree. It is not part of the public surface.
"""

from __future__ import annotations

from typing import Final

from inaho.errors.base import InahoError
from inaho.errors.connections import AuthenticationFailed, VersionMismatch, WrongCluster
from inaho.errors.membership import SettingsMismatch
from inaho.errors.usage import InvalidConfig

__all__ = ["FINAL_CODES", "FINAL_REFUSALS", "SAME_CLUSTER_CODES"]

_SAME_CLUSTER: Final[tuple[type[InahoError], ...]] = (AuthenticationFailed, SettingsMismatch, VersionMismatch)

SAME_CLUSTER_CODES: Final = tuple(refusal.code for refusal in _SAME_CLUSTER)
"""Refusals by a node whose cluster has the same name."""

FINAL_REFUSALS: Final[tuple[type[InahoError], ...]] = (*_SAME_CLUSTER, WrongCluster, InvalidConfig)
"""All final refusals. A client raises `InvalidConfig` when it cannot use the settings of the member."""

FINAL_CODES: Final = tuple(refusal.code for refusal in FINAL_REFUSALS)
"""Their codes, for messages that carry a code and no error."""
