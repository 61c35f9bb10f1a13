"""Errors of connections between nodes (SPEC CL-4, CL-6.1)."""

from __future__ import annotations

from inaho.errors.base import InahoError

__all__ = [
    "AuthenticationFailed",
    "AuthorityInUse",
    "ProtocolViolation",
    "Quarantined",
    "Unreachable",
    "VersionMismatch",
    "WrongCluster",
    "WrongIncarnation",
]


class ProtocolViolation(InahoError):
    """The peer sent bytes that no correct node sends."""

    code = "protocol_violation"
    advice = "check that the peer is an inaho node of a compatible release"


class AuthenticationFailed(InahoError):
    """The peer could not prove that it has the cluster's secret, or TLS failed."""

    code = "authentication_failed"
    advice = "use the same secret or certificate authority on every node"


class WrongCluster(InahoError):
    """The peer belongs to a cluster of another name."""

    code = "wrong_cluster"
    advice = "use the same cluster name on every node"


class WrongIncarnation(InahoError):
    """The expected process is gone: another one is at its authority (SPEC CL-4.1).

    Attributes:
        node_id: of the process that answered, proven by its handshake; empty when nothing proved it.
    """

    code = "wrong_incarnation"
    advice = "forget the old node; dial again without expecting it"
    node_id: str = ""

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
        node_id: str = "",
    ) -> None:
        super().__init__(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
        self.node_id = node_id


class VersionMismatch(InahoError):
    """No protocol or schema version in common with the peer."""

    code = "version_mismatch"
    advice = (
        "run releases with a version in common on all nodes and clients of a cluster; coming from 0.1, end all nodes "
        "before the first one of the new release starts"
    )


class AuthorityInUse(InahoError):
    """The address to bind is taken."""

    code = "authority_in_use"
    advice = "choose another port, or end the process that holds it"


class Unreachable(InahoError):
    """There is no connection to the node, or it broke. `maybe_executed`: whether the call had been sent."""

    code = "unreachable"
    advice = "retry when the membership has settled"


class Quarantined(InahoError):
    """The authority is in quarantine; nothing is sent to it until the quarantine ends."""

    code = "quarantined"
    advice = "wait until the quarantine ends, or end it with `inaho quarantine release`"
