"""Settings of how nodes find, watch and reach each other; those of what runs on them are in `config`."""

from __future__ import annotations

import math
from typing import Any, Final, Self

import msgspec

from inaho.errors import InvalidConfig

__all__ = [
    "DeliveryConfig",
    "DetectionConfig",
    "GossipConfig",
    "Group",
    "MembershipConfig",
    "TlsConfig",
    "TransportConfig",
]

FRAME_BYTES_MIN: Final = 8 << 10
"""The smallest bound of a frame: the longest key and the short values that are passed unencoded on one node fit."""


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a group of settings: every number is finite, and above 0 unless the group says otherwise."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                if not math.isfinite(value):
                    raise InvalidConfig(f"{type(self).__name__}.{name} must be a number of finite size, not {value}")
                if value < 0 or (value == 0 and name not in self.may_be_zero()):
                    raise InvalidConfig(f"{type(self).__name__}.{name} must be above 0, not {value}")
        self.check()

    @classmethod
    def may_be_zero(cls) -> frozenset[str]:
        """Names of the numbers for which 0 has a meaning."""
        return frozenset()

    def check(self) -> None:
        """Checks relations between fields; raises `InvalidConfig`."""

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, checked again."""
        return msgspec.structs.replace(self, **changes)


class MembershipConfig(Group, frozen=True, kw_only=True):
    """Joining, leaving and removal.

    Attributes:
        join_timeout_s: how long `join` tries its seeds before it fails.
        join_retry_s: pause between rounds over the seeds; doubles up to 8 times itself.
        update_period_s: changes within one period make one topology update. Longer spares recomputation, shorter
            reacts sooner.
        remove_unreachable_after_s: an unreachable member that stays so is removed.
        tombstone_s: how long a removed incarnation is remembered, so that late news cannot revive it. Must exceed
            the longest partition that should heal without the other side looking new.
        members_max: bound of the table, tombstones not counted.
        incarnation_jump_max: the most by which a refutation may exceed what it refutes, and a new generation the last.
        found_after_s: how long the first seed looks for a cluster before it founds one. Longer is safer against two
            clusters, shorter starts sooner.
        tombstones_max: removed incarnations remembered at once; beyond it the oldest is forgotten early.
        log_lines_max: lines that the log (`inaho.membership`) gets within `log_period_s` of one kind of change of one
            member; of further changes it gets the number.
        log_period_s: see there.
    """

    join_timeout_s: float = 15.0
    join_retry_s: float = 0.1
    update_period_s: float = 0.05
    remove_unreachable_after_s: float = 5.0
    tombstone_s: float = 3600.0
    members_max: int = 4096
    incarnation_jump_max: int = 1000
    found_after_s: float = 0.5
    tombstones_max: int = 16_384
    log_lines_max: int = 5
    log_period_s: float = 60.0


class GossipConfig(Group, frozen=True, kw_only=True):
    """Spreading of news.

    Attributes:
        interval_s: pause between rounds while there is news. A quiet cluster sends none.
        fanout: peers per round; up to twice as many where that is all.
        retransmit_factor: an entry is sent `factor * ceil(log2(n + 1))` times, then left to anti-entropy.
        push_bytes_max: budget of one push or piggyback.
        anti_entropy_s: pause between whole-digest exchanges with one random peer.
        convergence_s: expected time for news to reach all; exceeded, it is an event and a metric.
        reconcile_rounds_max: delta exchanges with one peer before a full table is sent.
        reconcile_peers_max: peers with which differences are settled at once.
        accusations_max: suspicions that are passed on at once; beyond it the oldest is dropped.
    """

    interval_s: float = 0.1
    fanout: int = 3
    retransmit_factor: int = 3
    push_bytes_max: int = 8192
    anti_entropy_s: float = 10.0
    convergence_s: float = 1.0
    reconcile_rounds_max: int = 3
    reconcile_peers_max: int = 8
    accusations_max: int = 256


class DetectionConfig(Group, frozen=True, kw_only=True):
    """SWIM probing with Lifeguard's refinements.

    Attributes:
        probe_interval_s: one member is probed per interval. Detection takes a few intervals.
        probe_timeout_s: wait for the direct answer before others are asked to probe; below the interval.
        indirect_probes: how many members are asked.
        suspicion_factor: a suspect has `factor * log10(n + 9) * probe_interval_s` to refute.
        suspicion_factor_max: multiplier of that time while few confirm the suspicion.
        dead_after_s: the time to refute when two members have seen the process die (connection reset, port refused).
            Longer forgives a port that is refused for a moment, shorter moves activations sooner.
        health_max: ceiling of the local health multiplier, which lengthens our own time-outs when we are the slow one.
        lag_busy_s: event-loop lag from which a node calls itself busy.
        lag_wedged_s: silence on an open connection from which peers call a node wedged.
        probes_max: own and relayed probes that may wait for an answer at once.
    """

    probe_interval_s: float = 0.5
    probe_timeout_s: float = 0.4
    indirect_probes: int = 3
    suspicion_factor: float = 3.0
    suspicion_factor_max: float = 2.0
    dead_after_s: float = 0.5
    health_max: int = 8
    lag_busy_s: float = 0.25
    lag_wedged_s: float = 2.0
    probes_max: int = 256

    def check(self) -> None:
        if self.probe_timeout_s >= self.probe_interval_s:
            raise InvalidConfig(
                f"DetectionConfig.probe_timeout_s ({self.probe_timeout_s}) must be below "
                f"probe_interval_s ({self.probe_interval_s})"
            )


class TlsConfig(Group, frozen=True, kw_only=True):
    """Mutual TLS: files in PEM form. Every node and client presents a certificate of the one authority.

    Attributes:
        certificate: path of this node's certificate chain.
        private_key: path of its key.
        authority_certificates: path of the certificates that peers must descend from.
    """

    certificate: str
    private_key: str
    authority_certificates: str


class TransportConfig(Group, frozen=True, kw_only=True):
    """Connections and frames.

    Attributes:
        frame_bytes_max: largest frame either way; checked before anything is decoded, and for calls within a node
            too. At least 8 KiB. All nodes need the same.
        containers_max: lists, maps and Structs in the arguments of one call, its result, a batch of a stream, or a
            message; checked before they are made, since each takes a hundred bytes of memory for one on the wire.
        handshake_timeout_s: from accept to authenticated.
        handshake_bytes_max: most bytes a peer may send before it is authenticated.
        handshakes_pending_max: unauthenticated connections at once. For each further one an older one is closed, first
            of those that have said nothing. More stand a faster flood of strangers, and each costs a descriptor.
        connections_max: authenticated incoming connections.
        dial_timeout_s: for the TCP (and TLS) connection.
        redial_s: first pause after a failed dial; doubles, with jitter, up to `redial_max_s`.
        redial_max_s: see `redial_s`.
        write_high_bytes: unsent bytes from which senders to that peer wait.
        write_low_bytes: unsent bytes at which they go on.
        write_bytes_max: unsent bytes from which the answers of calls that were running already are replaced by
            `Overloaded`, for a peer that does not read them.
        definitions_max: methods that one peer may define on a connection.
        stall_timeout_s: a peer that has `write_high_bytes` to read and reads nothing of it for so long is cut off. A
            slow reader is not, however slow.
        goodbye_timeout_s: a connection that is being closed is cut off when its last bytes have not left by then.
    """

    frame_bytes_max: int = 1 << 20
    containers_max: int = 32_768
    handshake_timeout_s: float = 5.0
    handshake_bytes_max: int = 16 << 10
    handshakes_pending_max: int = 128
    connections_max: int = 4192
    dial_timeout_s: float = 2.0
    redial_s: float = 0.05
    redial_max_s: float = 5.0
    write_high_bytes: int = 1 << 20
    write_low_bytes: int = 256 << 10
    write_bytes_max: int = 8 << 20
    definitions_max: int = 16_384
    goodbye_timeout_s: float = 5.0
    stall_timeout_s: float = 10.0

    def check(self) -> None:
        if self.frame_bytes_max < FRAME_BYTES_MIN:
            raise InvalidConfig(
                f"TransportConfig.frame_bytes_max must be at least {FRAME_BYTES_MIN}, not {self.frame_bytes_max}"
            )
        if self.write_low_bytes >= self.write_high_bytes:
            raise InvalidConfig(
                f"TransportConfig.write_low_bytes ({self.write_low_bytes}) must be below "
                f"write_high_bytes ({self.write_high_bytes})"
            )
        if self.write_bytes_max < self.write_high_bytes:
            raise InvalidConfig(
                f"TransportConfig.write_bytes_max ({self.write_bytes_max}) must not be below "
                f"write_high_bytes ({self.write_high_bytes})"
            )


class DeliveryConfig(Group, frozen=True, kw_only=True):
    """Messages to actors on other nodes, and peers that nothing is sent to. All bounds are per peer.

    Attributes:
        queue_messages_max: messages that wait for a peer. More bridge a longer interruption, fewer cost less memory and
            tell the sender sooner.
        queue_bytes_max: encoded bytes that wait.
        queue_age_s: a message that waits longer is a dead letter.
        queue_policy: what a full queue does: `drop_oldest` makes dead letters, `reject_new` refuses the new message.
        unacknowledged_max: messages sent and not acknowledged; beyond it they wait. More fills a longer round trip,
            fewer are in doubt when a connection breaks.
        unacknowledged_bytes_max: encoded bytes sent and not acknowledged.
        failures_max: failed dials of a member in a row that quarantine its authority. With the default pauses between
            them this takes most of a minute, so that a restart or a short cut of the network does not.
        quarantine_s: a quarantine ends by itself after this time.
        authorities_max: peers whose state is remembered; beyond it the oldest that is not connected is forgotten.
        references_max: remote actors that messages of one connection may name as their sender and that are remembered.
        watches_max: remote actors that one peer may watch here, or this node there, at once.
    """

    queue_messages_max: int = 1024
    queue_bytes_max: int = 4 << 20
    queue_age_s: float = 10.0
    queue_policy: str = "drop_oldest"
    unacknowledged_max: int = 8192
    unacknowledged_bytes_max: int = 1 << 20
    failures_max: int = 16
    quarantine_s: float = 30.0
    authorities_max: int = 8192
    references_max: int = 4096
    watches_max: int = 65_536

    def check(self) -> None:
        if self.queue_policy not in ("reject_new", "drop_oldest"):
            raise InvalidConfig(
                f"DeliveryConfig.queue_policy must be 'reject_new' or 'drop_oldest', not {self.queue_policy!r}"
            )
