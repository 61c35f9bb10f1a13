"""Every setting, with its unit and the trade-off behind its default.

Groups are frozen: a running node never sees half of a change. Values are checked when a group is made, fields against
each other too, so that a node with an impossible configuration does not start (`InvalidConfig`). `config_sources`
reads them from files and the environment. The groups of the network are in `config_network` and are named here too.
"""

from __future__ import annotations

from typing import Any, Final

from inaho.config_network import (
    DeliveryConfig,
    DetectionConfig,
    GossipConfig,
    Group,
    MembershipConfig,
    TlsConfig,
    TransportConfig,
)
from inaho.errors import InvalidConfig

__all__ = [
    "CALL_TIMEOUT_MAX_S",
    "ActivationConfig",
    "AlertsConfig",
    "ClusterConfig",
    "DeliveryConfig",
    "DetectionConfig",
    "GossipConfig",
    "Group",
    "MembershipConfig",
    "MetricsConfig",
    "RpcConfig",
    "StorageConfig",
    "TlsConfig",
    "TransportConfig",
]


CALL_TIMEOUT_MAX_S: Final = 1e6
"""Longest time-out of a call, and what a stream has where nothing is said: eleven days."""


class RpcConfig(Group, frozen=True, kw_only=True):
    """Calls.

    Attributes:
        timeout_s: for a call that says nothing else; at most 1,000,000. An expired call is answered at most 0.1 s late.
        retry_attempts: tries in all of an idempotent call that may have run. Refusals before execution do not count:
            they are repeated, with pauses, until the deadline of the call.
        retry_base_s: first pause; doubles, with jitter, up to `retry_max_s`.
        retry_max_s: see `retry_base_s`.
        retry_moving_max_s: longest pause after a refusal of an identity that moves to another node. Shorter keeps
            callers waiting less, longer asks less often while a turn takes its time to end.
        call_chain_max: longest chain of grains waiting for each other.
        stream_window_items: items a producer may be ahead of its consumer; bounds memory on both sides.
        stream_window_bytes: encoded bytes it may be ahead.
        turns_max: calls of one connection that may run or wait on this node.
        streams_max: streams of one connection that this node may serve.
        sends_max: one-way calls (`Cluster.send`) of this node that may be under way.
        pending_max: asks between actors that may wait on one connection, on either side.
        retry_warnings_max: retries of one kind that are logged at one level within `retry_warnings_period_s`; of
            further ones only the number is told.
        retry_warnings_period_s: see `retry_warnings_max`.
    """

    timeout_s: float = 10.0
    retry_attempts: int = 3
    retry_base_s: float = 0.05
    retry_max_s: float = 2.0
    retry_moving_max_s: float = 0.05
    call_chain_max: int = 64
    stream_window_items: int = 1024
    stream_window_bytes: int = 1 << 20
    turns_max: int = 100_000
    streams_max: int = 10_000
    sends_max: int = 100_000
    pending_max: int = 1_000_000
    retry_warnings_max: int = 5
    retry_warnings_period_s: float = 10.0

    def check(self) -> None:
        if self.timeout_s > CALL_TIMEOUT_MAX_S:
            raise InvalidConfig(f"RpcConfig.timeout_s must be at most {CALL_TIMEOUT_MAX_S:.0f}, not {self.timeout_s}")


class ActivationConfig(Group, frozen=True, kw_only=True):
    """Grains on this node.

    Attributes:
        idle_ttl_s: an activation without a call for this long is unloaded. 0 keeps it for ever.
        queue_depth: calls that may wait for one activation.
        queue_policy: what a full queue does: `reject_new`, or `drop_oldest`.
        activations_max: activations on this node; beyond it new ones answer `Overloaded`.
        partitions: slots of the ownership table; a power of two, equal on all nodes.
        placement_tables_max: tables of owners that are kept, one per set of members that host the same kinds; about
            0.25 MB each. Fewer than a node calls: the oldest is computed anew, slot by slot.
        pid_cache_size: entries of the PidCache.
        pid_cache_ttl_s: an entry older than this is resolved anew.
        freshness_s: while members have lost sight of each other, an answer is not older than this and one read of the
            storage. Each node then reads the storage this often. Shorter is fresher, and reads more.
        when_unproved: what a node does in such a time while it cannot read the storage: `answer` with what it has,
            however old that is, or `refuse`. An event tells of it in both cases.
        drain_s: how long a leaving node waits for running turns.
        lease_pending_s: an activation that takes longer to come up, its last owner's end included, or to run its
            `on_deactivate`, is given up, and its identity is free again; one that takes longer to load its state again
            after a failed turn ends. Longer than any of these should take.
        snapshot_bytes_max: largest encoded state that a moved activation takes along; a larger one is loaded anew.
        history_max: starts and ends of activations that a node remembers for `inaho where`.
        terminations_max: ends of activations that wait to be told to one other node that listens; beyond it the oldest
            are lost, and it is told how many. One takes about 0.2 KB.
        failure_warnings_max: failed activations of one kind that are logged within `failure_warnings_period_s`; of
            further ones only the number is told.
        failure_warnings_period_s: see `failure_warnings_max`.
        timers_max: timers of one activation.
        reminder_shards: parts in which the reminders of the cluster are kept. Equal on all nodes, and fixed once there
            are reminders. More spread the work finer, and each costs an activation and a load at a change of owner.
        reminders_max: reminders of one shard, which is saved as a whole.
        reminders_per_grain_max: reminders of one grain.
        reminder_catch_up_max: most missed occurrences of a reminder that `catch_up="all"` delivers.
        reminder_late_s: an occurrence that is later than this counts as missed for `catch_up="skip"`. Longer than a
            fail-over takes, or one costs an occurrence.
    """

    idle_ttl_s: float = 300.0
    queue_depth: int = 1024
    queue_policy: str = "reject_new"
    activations_max: int = 10_000_000
    partitions: int = 4096
    placement_tables_max: int = 64
    pid_cache_size: int = 100_000
    pid_cache_ttl_s: float = 600.0
    freshness_s: float = 1.0
    when_unproved: str = "answer"
    drain_s: float = 10.0
    lease_pending_s: float = 30.0
    snapshot_bytes_max: int = 64 << 10
    history_max: int = 4096
    terminations_max: int = 16_384
    failure_warnings_max: int = 5
    failure_warnings_period_s: float = 10.0
    timers_max: int = 64
    reminder_shards: int = 64
    reminders_max: int = 4096
    reminders_per_grain_max: int = 64
    reminder_catch_up_max: int = 100
    reminder_late_s: float = 10.0

    @classmethod
    def may_be_zero(cls) -> frozenset[str]:
        return frozenset({"idle_ttl_s"})

    def check(self) -> None:
        if self.partitions & (self.partitions - 1):
            raise InvalidConfig(f"ActivationConfig.partitions ({self.partitions}) must be a power of two")
        if self.queue_policy not in ("reject_new", "drop_oldest"):
            raise InvalidConfig(
                f"ActivationConfig.queue_policy must be 'reject_new' or 'drop_oldest', not {self.queue_policy!r}"
            )
        if self.when_unproved not in ("answer", "refuse"):
            raise InvalidConfig(
                f"ActivationConfig.when_unproved must be 'answer' or 'refuse', not {self.when_unproved!r}"
            )


class StorageConfig(Group, frozen=True, kw_only=True):
    """Saved state of grains: bounds that every storage keeps, and those of the queue before a file.

    Attributes:
        data_bytes_max: largest encoded state of one grain; a larger save is refused before it is sent.
        key_bytes_max: kind and key together, in UTF-8.
        queue_requests_max: saves, or loads, accepted and not yet answered; more wait for room.
        queue_bytes_max: bytes of accepted saves; more wait for room.
        batch_requests_max: saves in one commit. More spare the disk under load, fewer answer the first one sooner.
        batch_bytes_max: bytes from which a commit takes no further save.
        busy_timeout_s: how long a commit waits for another process that holds the lock of the file. After a commit that
            waited in vain, the saves that have been waiting as long are refused and not given another wait each.
        connections_max: connections to a storage that is a server, each opened when it is needed; of a Redis Cluster:
            to each of its servers.
        operation_timeout_s: of a storage that is a server: how long an operation waits for a connection, and then for
            its answer. Longer rides out a restart, shorter tells the caller sooner.
        versions_max: identities that one read of versions asks for; more are asked for in several reads, one after
            the other. More spare round trips, fewer keep the server free for others in between.
    """

    data_bytes_max: int = 16 << 20
    key_bytes_max: int = 4096
    queue_requests_max: int = 4096
    queue_bytes_max: int = 64 << 20
    batch_requests_max: int = 512
    batch_bytes_max: int = 8 << 20
    busy_timeout_s: float = 5.0
    connections_max: int = 4
    operation_timeout_s: float = 5.0
    versions_max: int = 1000

    def check(self) -> None:
        if self.data_bytes_max > self.queue_bytes_max:
            raise InvalidConfig(
                f"StorageConfig.data_bytes_max ({self.data_bytes_max}) must not exceed "
                f"queue_bytes_max ({self.queue_bytes_max})"
            )


class MetricsConfig(Group, frozen=True, kw_only=True):
    """Figures that a node gives to whoever asks.

    Attributes:
        enabled: whether figures are exported and `Cluster.metrics` answers. Off, events and alerts still flow.
        kinds_max: kinds with figures, alerts and warnings of their own; those of further kinds are added up as
            `other`. More tell more, and each costs some thirty time series per node and 5 KB of memory.
    """

    enabled: bool = True
    kinds_max: int = 100


class AlertsConfig(Group, frozen=True, kw_only=True):
    """When a kind is too slow or fails too often, as the callers on this node see it.

    Attributes:
        enabled: whether alerts are raised.
        window_s: the figures are those of the calls that ended within it. Longer is calmer, shorter is sooner.
        window_slots: parts in which the window moves on.
        calls_min: with fewer calls in the window no alert is raised: one failure of two calls says little.
        latency_p99_s: raised when the 99th percentile of the successful calls exceeds it.
        failure_ratio: raised when more of the calls than this fail. Calls that their callers cancelled count too, and
            exceptions of the user's code, except those that `register_exception` was given and subclasses of
            `GrainError`: a program that registers an exception expects it.
        count_registered: whether these count as failures, too.
        clear_ratio: an alert is over when the figure falls to this part of the threshold. Lower changes its mind less.
    """

    enabled: bool = True
    window_s: float = 60.0
    window_slots: int = 12
    calls_min: int = 20
    latency_p99_s: float = 1.0
    failure_ratio: float = 0.01
    count_registered: bool = False
    clear_ratio: float = 0.8

    def check(self) -> None:
        for name, value in (("failure_ratio", self.failure_ratio), ("clear_ratio", self.clear_ratio)):
            if value > 1:
                raise InvalidConfig(f"AlertsConfig.{name} must be at most 1, not {value}")


class ClusterConfig(Group, frozen=True, kw_only=True):
    """All that a node is told.

    Attributes:
        authority: `host:port` at which others reach this node, and that it binds unless `bind` is given; port 0 takes a
            free one. Empty for a client.
        bind: `host:port` to bind where that differs from `authority`, such as `0.0.0.0:7700` or `[::]:7700` in a
            container. With port 0 in both, one free port serves for both.
        seeds: authorities to join through. None, or only our own: this node founds the cluster.
        name: of the cluster; nodes of another name are refused.
        secret: shared by all nodes, proven and never sent. Empty: no authentication, on loopback only.
        tls: mutual TLS instead of, or beside, the secret.
        insecure: allows a bind beyond loopback without authentication. Spelled out, never a default.
        data_dir: folder for files of this node (state in SQLite by default).
        weight: see `Member.weight`.
        roles: see `Member.roles`.
        membership, gossip, detection, transport, delivery, rpc, activation, storage, metrics, alerts: groups of
            settings, each documented above.
    """

    authority: str = ""
    bind: str = ""
    seeds: tuple[str, ...] = ()
    name: str = "inaho"
    secret: str = ""
    tls: TlsConfig | None = None
    insecure: bool = False
    data_dir: str = ".inaho"
    weight: float = 1.0
    roles: tuple[str, ...] = ()
    membership: MembershipConfig = MembershipConfig()
    gossip: GossipConfig = GossipConfig()
    detection: DetectionConfig = DetectionConfig()
    transport: TransportConfig = TransportConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    rpc: RpcConfig = RpcConfig()
    activation: ActivationConfig = ActivationConfig()
    storage: StorageConfig = StorageConfig()
    metrics: MetricsConfig = MetricsConfig()
    alerts: AlertsConfig = AlertsConfig()

    def __repr__(self) -> str:
        return f"ClusterConfig({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name == "secret" and value else value) for name, value in shown]
