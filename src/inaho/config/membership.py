"""Settings of joining, leaving and removal (`membership.*`)."""

from __future__ import annotations

from typing import Literal

from inaho.config.base import Group

__all__ = ["MembershipConfig"]


class MembershipConfig(Group, frozen=True, kw_only=True):
    """Joining, leaving and removal.

    Attributes:
        source: what a snapshot of a provider means. `gossip`: whom to contact; gossip decides who is a member.
            `provider`: it is the membership; gossip carries only load, blocks and reachability.
        join_timeout_s: how long `join` tries its seeds before it fails.
        join_retry_s: pause between rounds over the seeds; doubles after each round, at most to 8 times this value.
        update_period_s: changes within one period make one topology update. Longer spares recomputation, shorter
            reacts sooner.
        remove_unreachable_after_s: a member that is unreachable for this long is removed.
        tombstone_s: how long a removed incarnation is remembered, so that late statements cannot bring it back. It must
            exceed the longest network partition after which the members of the other side should be recognised.
        members_max: bound of the table, tombstones not counted.
        incarnation_jump_max: a refutation may exceed what it refutes by at most this. So may a new generation exceed
            the one before.
        found_after_s: how long the first seed looks for a cluster before it founds one. Longer is safer against two
            clusters, shorter starts sooner.
        tombstones_max: removed incarnations remembered at once; beyond it the oldest is forgotten early.
        log_lines_max: lines in the log (`inaho.membership`) within `log_period_s` about one kind of change of one
            member; of further changes only the number is logged.
        log_period_s: see `log_lines_max`.
    """

    source: Literal["gossip", "provider"] = "gossip"
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
