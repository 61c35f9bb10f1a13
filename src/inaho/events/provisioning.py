"""Events of providers of topology (SPEC PR, CL-10.1)."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = [
    "ClusterFounded",
    "ClusterRecordLost",
    "ClusterRecordTaken",
    "ProviderChanged",
    "ProviderDisabled",
    "ProviderEvent",
    "ProviderHealthChanged",
    "ProviderRegistered",
    "ProviderRemoved",
    "ProviderTerminated",
    "ProviderValidationSuspended",
    "ProvisioningRestored",
    "ProvisioningUnavailable",
    "RemoteTopologyChanged",
    "SnapshotApplied",
    "SnapshotDoubted",
]


class ProviderEvent(Event, frozen=True, kw_only=True):
    """Base of events about one provider: its name."""

    provider: str


class ProviderRegistered(ProviderEvent, frozen=True, kw_only=True):
    """A definition was accepted; `url` has no secret."""

    url: str


class ProviderRemoved(ProviderEvent, frozen=True, kw_only=True):
    """A provider was taken out of use by an operator or by a new configuration."""


class ProviderDisabled(ProviderEvent, frozen=True, kw_only=True):
    """A provider is kept and not used (SPEC PR-1.3); `reason` says what it lacks."""

    reason: str


class ProviderHealthChanged(ProviderEvent, frozen=True, kw_only=True):
    """A provider is `up`, `degraded` or `down` now; `reason` is empty when it is up."""

    state: str
    reason: str = ""


class ProviderTerminated(ProviderEvent, frozen=True, kw_only=True):
    """The stream of a provider has ended or failed; the last snapshot stays usable (SPEC PR-2.2, BS-2.4).

    Attributes:
        failure: `validation`, `connectivity` or `stream` (SPEC PR-5.5).
        code: of the error.
        reason: of the error.
        seq_no, hash: of the last snapshot; 0 if there is none.
    """

    failure: str
    code: str
    reason: str
    seq_no: int = 0
    hash: int = 0


class ProviderChanged(ProviderEvent, frozen=True, kw_only=True):
    """Snapshots come from another provider from here on (SPEC PR-3.4).

    Attributes:
        provider: that is used now.
        previous: that was used before; empty for none.
        reason: why.
        seq_no, hash: of the last snapshot before; 0 if there was none.
    """

    previous: str
    reason: str
    seq_no: int = 0
    hash: int = 0


class ProvisioningUnavailable(Event, frozen=True, kw_only=True):
    """No provider is up (SPEC PR-5.3). `placement_paused`: no new activations, as the provider is the membership."""

    reason: str
    placement_paused: bool = False
    seq_no: int = 0
    hash: int = 0


class ProvisioningRestored(ProviderEvent, frozen=True, kw_only=True):
    """A provider is up again after `ProvisioningUnavailable`."""


class ClusterFounded(ProviderEvent, frozen=True, kw_only=True):
    """This node has won the record of the cluster, and founds it.

    Attributes:
        cluster_id: of the record.
        generation: 1, or one more than that of the cluster before.
    """

    cluster_id: str
    generation: int


class ClusterRecordLost(ProviderEvent, frozen=True, kw_only=True):
    """The record of the cluster that this node founded is gone from the back end; this node writes it again."""

    cluster_id: str
    generation: int


class ClusterRecordTaken(ProviderEvent, frozen=True, kw_only=True):
    """Another node has written the record of the cluster that this node founded: there may be two clusters for a while.

    Attributes:
        cluster_id, generation: of the new record.
        authority, node_id: of the node that has written it.
    """

    cluster_id: str
    generation: int
    authority: str
    node_id: str


class SnapshotApplied(ProviderEvent, frozen=True, kw_only=True):
    """All consumers have applied a snapshot (SPEC PR-2.1, PR-5.1).

    Attributes:
        seq_no, hash: of the snapshot.
        members: how many it has.
        blocked: how many authorities are in its `blocked_nodes`.
        delay_s: from the beginning of the read until all consumers had applied it, seconds.
    """

    seq_no: int
    hash: int
    members: int
    blocked: int
    delay_s: float


class SnapshotDoubted(ProviderEvent, frozen=True, kw_only=True):
    """A snapshot lacks this node or half of the members; it waits for a second read and for probes of `missing`."""

    seq_no: int
    missing: tuple[str, ...]


class ProviderValidationSuspended(Event, frozen=True, kw_only=True):
    """Definitions failed their validation over and over; none is accepted for `for_s` seconds (SPEC PR-5.2)."""

    failures: int
    for_s: float
    reason: str


class RemoteTopologyChanged(ProviderEvent, frozen=True, kw_only=True):
    """`change` of an authority in a snapshot: `join`, `leave`, `blocked` or `unblocked` (SPEC PR-4.1)."""

    change: str
    authority: str
    node_id: str = ""
    seq_no: int
    hash: int
