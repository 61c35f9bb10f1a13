"""The request of an owner that another node hosts an activation, and its response."""

from __future__ import annotations

from inaho.runtime.activation.records import ActivationRecord
from inaho.types import Struct

__all__ = ["ActivationRequest", "ActivationResponse"]


class ActivationRequest(Struct, frozen=True, array_like=True):
    """An owner requests that another node hosts an activation (SPEC BS-3.1).

    Attributes:
        kind, key: the identity.
        epoch: of the lease that the owner has granted to the node.
        topology_hash: of the topology by which the sender is the owner.
        granted_by: node id of the owner.
        record: the state that the activation continues from; None if there is none.
    """

    kind: str
    key: str
    epoch: int
    topology_hash: int
    granted_by: str
    record: ActivationRecord | None = None


class ActivationResponse(Struct, frozen=True, array_like=True):
    """The outcome of an `ActivationRequest`.

    Attributes:
        epoch: of the activation. It is below the granted epoch only if the activation existed before the request.
        code: of the error with which the activation failed; empty if it is active.
        reason: of that error.
    """

    epoch: int = 0
    code: str = ""
    reason: str = ""
