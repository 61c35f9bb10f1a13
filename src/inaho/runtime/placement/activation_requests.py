"""The request of an owner that another node hosts an activation, and its response."""

from __future__ import annotations

from inaho.runtime.activation.records import ActivationRecord
from inaho.types import Struct

__all__ = ["ActivationRequest", "ActivationResponse"]


class ActivationRequest(Struct, frozen=True, array_like=True):
    """An owner has another node host an activation (SPEC BS-3.1).

    Attributes:
        kind, key: the identity.
        epoch: of the lease that the owner has granted to the node.
        topology_hash: by which it is the owner.
        granted_by: node id of the owner.
        record: what the activation goes on from; None for none.
    """

    kind: str
    key: str
    epoch: int
    topology_hash: int
    granted_by: str
    record: ActivationRecord | None = None


class ActivationResponse(Struct, frozen=True, array_like=True):
    """What became of an `ActivationRequest`.

    Attributes:
        epoch: of the activation, which is up; not below what was granted unless it was up before.
        code: of the error because of which it is not up; empty when it is.
        reason: of that error.
    """

    epoch: int = 0
    code: str = ""
    reason: str = ""
