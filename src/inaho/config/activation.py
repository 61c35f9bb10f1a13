"""Settings of activations: queues, idle time, leases, hand-off, reminders, freshness (`activation.*`)."""

from __future__ import annotations

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["ActivationConfig"]


class ActivationConfig(Group, frozen=True, kw_only=True):
    """Activations of grains on this node.

    Attributes:
        idle_ttl_s: an activation without a call for this long is unloaded. 0 keeps it for ever.
        queue_depth: calls that may wait for one activation.
        queue_policy: what a full queue does: `reject_new`, or `drop_oldest`.
        activations_max: activations on this node; beyond it new ones answer `Overloaded`.
        partitions: slots of the ownership table; a power of two, equal on all nodes.
        placement_tables_max: tables of owners that are kept, one per set of members that host the same kinds; about
            0.25 MB each. If a node needs more, the oldest table is computed again, slot by slot.
        pid_cache_size: entries of the PidCache.
        pid_cache_ttl_s: an entry older than this is resolved again.
        freshness_s: while members cannot reach each other, an answer is not older than this and one read of the
            storage. Each node then reads the storage at this interval. Shorter is fresher, and reads more.
        when_unproved: what a node does at such a time when it cannot read the storage: `answer` with its own state,
            however old that is, or `refuse`. An event reports it in both cases.
        drain_s: how long a leaving node waits for running turns.
        lease_pending_s: longest time for a start (with the release by the previous owner) or for `on_deactivate`. After
            it the activation is given up, and its identity is free again. A reload after a failed turn that takes
            longer ends the activation. Choose it longer than any of these should take.
        snapshot_bytes_max: largest encoded state that is handed over with a moved activation; a larger one is loaded.
        history_max: starts and ends of activations that a node remembers for `inaho where`.
        terminations_max: ends of activations that wait to be sent to one subscribing node; beyond it the oldest are
            dropped, and the node is told how many. One takes about 0.2 KB.
        failure_warnings_max: failed activations of one kind that are logged within `failure_warnings_period_s`; of
            further ones only the number is logged.
        failure_warnings_period_s: see `failure_warnings_max`.
        timers_max: timers of one activation.
        collector_sees_activations: whether Python's garbage collector looks at activations that live. It need not: they
            are in use, and it looks at them when they have ended. For a debugger of memory that asks the collector
            (`gc.get_objects`). With a million activations each full collection then takes a quarter of a second.
        reminder_shards: parts in which the reminders of the cluster are kept. Equal on all nodes, and fixed once there
            are reminders. More shards distribute the work better; each shard costs one activation, and one load when
            its owner changes.
        reminders_max: reminders of one shard, which is saved as a whole.
        reminders_per_grain_max: reminders of one grain.
        reminder_catch_up_max: most missed occurrences of a reminder that `catch_up="all"` delivers.
        reminder_late_s: an occurrence that is later than this counts as missed for `catch_up="skip"`. Choose it longer
            than a fail-over takes, or a fail-over loses an occurrence.
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
    collector_sees_activations: bool = False
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
