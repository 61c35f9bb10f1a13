"""What one node says of one of its providers to people: `Cluster.providers()` and `inaho providers`."""

from __future__ import annotations

import msgspec

__all__ = ["ProviderState"]


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """One provider of a node, at one moment.

    Attributes:
        name: of the provider, unique on the node.
        url: without secrets; for an object that a program has made, the name of its class.
        priority: the lowest number is used first.
        state: `starting`, `up`, `degraded`, `down` or `disabled`.
        reason: why it is not up; empty if it is.
        active: whether its snapshots are used.
        why: why it is the active one; empty if it is not.
        seq_no: of its newest snapshot; 0 if there is none.
        heard_s: seconds since its last answer; None if it has not answered yet.
        errors: requests that failed in a row.
        owner: `configuration` (arguments, TOML, environment), which cannot be removed while the node runs; `store`
            (added while it ran, kept in `providers.jsonl`); or `program` (an object added while it ran).
    """

    name: str
    url: str
    priority: int
    state: str
    reason: str = ""
    active: bool = False
    why: str = ""
    seq_no: int = 0
    heard_s: float | None = None
    errors: int = 0
    owner: str = "configuration"
