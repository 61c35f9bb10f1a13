"""The data types that every package may use: identities, members, topologies.

All are frozen `msgspec.Struct`s: they cross the wire, are stored in tables and are compared by value. They decide
nothing; the machines in `core` do. Those that exist by the hundred thousand are not tracked by the garbage collector
(`gc=False`): they contain text, numbers and tuples of them, and cannot be part of a cycle.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

__all__ = ["ClusterIdentity", "Epoch", "Member", "MemberStatus", "Pid", "Struct", "TopologySnapshot"]

Struct = msgspec.Struct
"""Base for user state and messages: re-exported so that a grain's module needs one import."""

Epoch = int
"""Fencing token of an activation: `topology version << 32 | counter`. Only grows for one identity."""


WEIGHT_MAX = 1e6
"""Bound of `Member.weight`, checked when a member joins."""


class MemberStatus(enum.IntEnum):
    """State of a member, ordered by severity: at one incarnation the greater one wins (DESIGN section 3)."""

    JOINING = 0
    UP = 1
    LEAVING = 2
    UNREACHABLE = 3
    REMOVED = 4


class Member(msgspec.Struct, frozen=True, gc=False):
    """One node as the cluster sees it.

    Attributes:
        authority: `host:port` under which peers reach it.
        node_id: 16 hexadecimal digits, drawn at random when the process started.
        incarnation: grows when the node refutes a suspicion or joins again; orders the statements about it.
        status: see `MemberStatus`.
        kinds: names of the grain kinds that it hosts, sorted.
        weight: share of the identities that it takes, relative to the others; above 0.
        roles: free labels for placement, sorted.
    """

    authority: str
    node_id: str
    incarnation: int
    status: MemberStatus
    kinds: tuple[str, ...] = ()
    weight: Annotated[float, msgspec.Meta(gt=0.0, le=WEIGHT_MAX)] = 1.0
    roles: tuple[str, ...] = ()


class TopologySnapshot(msgspec.Struct, frozen=True, gc=False):
    """The members at one version, as placement and routing see them (SPEC CL-1, PR-2).

    Attributes:
        version: grows with every change that the node has seen; equal on nodes that have converged.
        hash: xxh3_64 of what ownership depends on (authority, node id, kinds, weight of `UP` members, blocked).
            Equal hashes mean equal owners.
        members: all that are not removed, sorted by authority.
        blocked: authorities that may hold no activation, sorted.
    """

    version: int
    hash: int
    members: tuple[Member, ...]
    blocked: tuple[str, ...] = ()


class ClusterIdentity(msgspec.Struct, frozen=True, order=True, gc=False):
    """The identity of a grain: its kind and its key. `str()` gives `Kind/key`."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


class Pid(msgspec.Struct, frozen=True, gc=False):
    """Where an activation or actor is reached: authority and node id of its node, and the identity on it."""

    authority: str
    node_id: str
    identity: ClusterIdentity
