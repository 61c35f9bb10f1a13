"""Time to resolve one million identities: from the PidCache, and without it at 3 and at 1,000 nodes.

    python benchmarks/identity_resolution.py [--count N] [--json]

Every identity is asked once, in a pass after the one that filled cache or table, so the figures are those of a running
node and not of a hot line in the processor's cache. `first` figures include filling the table. Exit status 1 when a
bound is exceeded (SPEC VA-3: one million identities resolve within the benchmark's bound). `cache_ns` is a cache that
holds them all, most of it memory latency; `cache_default_size_ns` one of the default size.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time

from inaho.config import ActivationConfig
from inaho.core.identity.lookup import IdentityLookup
from inaho.core.identity.own_partitions import OwnPartitions
from inaho.core.identity.pid_cache import PidCache
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot

COUNT = 1_000_000
KIND = "ShoppingCart"
BOUNDS_NS = {"cache_default_size_ns": 500.0, "cache_ns": 1_000.0, "owner_3_ns": 1_000.0, "owner_1000_ns": 1_000.0}


def topology(version: int, nodes: int) -> TopologySnapshot:
    members = sorted(
        (
            Member(f"10.0.{number // 250}.{number % 250}:7700", f"{number:016x}", 1, MemberStatus.UP, (KIND,))
            for number in range(nodes)
        ),
        key=lambda member: member.authority,
    )
    return TopologySnapshot(version, version, tuple(members))


def measure_cache(keys: list[str]) -> float:
    """Nanoseconds per hit in a cache that holds exactly `keys`."""
    cache = PidCache(len(keys), 600.0)
    for key in keys:
        cache.put(Pid("10.0.0.1:7700", "0" * 16, ClusterIdentity(KIND, key)), 0.0)
    get = cache.get
    start = time.perf_counter_ns()
    for key in keys:
        get(KIND, key, 1.0)
    taken = time.perf_counter_ns() - start
    if cache.hits != len(keys):
        raise RuntimeError(f"{len(keys) - cache.hits} identities were not in the cache")
    return taken / len(keys)


def measure_lookup(nodes: int, keys: list[str]) -> dict[str, float]:
    """Owners at `nodes` nodes: filling the table, filled, and what one more and one fewer node cost; in full, or only
    to learn what one node owns."""
    lookup = IdentityLookup(ActivationConfig())
    lookup.update_topology(topology(1, nodes))
    figures: dict[str, float] = {}
    for name in (f"owner_{nodes}_first_ns", f"owner_{nodes}_ns"):
        owner = lookup.owner
        start = time.perf_counter_ns()
        for key in keys:
            owner(KIND, key)
        figures[name] = (time.perf_counter_ns() - start) / len(keys)
    own = _own_partitions(topology(1, nodes))
    for version, name, size in ((2, "join", nodes + 1), (3, "leave", nodes)):
        snapshot = topology(version, size)
        start = time.perf_counter_ns()
        lookup.update_topology(snapshot)
        lookup.owner(KIND, keys[0])
        figures[f"{name}_{nodes}_until_first_answer_us"] = (time.perf_counter_ns() - start) / 1e3
        start = time.perf_counter_ns()
        own = _own_partitions(snapshot, own)
        figures[f"{name}_{nodes}_own_partitions_us"] = (time.perf_counter_ns() - start) / 1e3
    return figures


def _own_partitions(snapshot: TopologySnapshot, before: OwnPartitions | None = None) -> OwnPartitions:
    """What the first member owns."""
    hosts = snapshot.members
    own = OwnPartitions(hosts[0].node_id, ActivationConfig().partitions, hosts, before)
    for _ in own.search():
        pass
    return own


def measure(count: int = COUNT) -> dict[str, float]:
    """Figures for `count` identities, in the unit that ends each name."""
    keys = [f"customer-{number}" for number in range(count)]
    figures: dict[str, float] = {"identities": count}
    figures.update(measure_lookup(3, keys))
    figures.update(measure_lookup(1000, keys))
    figures["cache_default_size_ns"] = measure_cache(keys[: ActivationConfig().pid_cache_size])
    figures["cache_ns"] = measure_cache(keys)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Time to resolve identities.")
    parser.add_argument("--count", type=int, default=COUNT, help="identities to resolve")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error("--count must be at least 1")
    figures = measure(arguments.count)
    exceeded = [name for name, bound in BOUNDS_NS.items() if figures[name] > bound]
    if arguments.json:
        report = {"python": platform.python_version(), "figures": figures, "bounds": BOUNDS_NS, "exceeded": exceeded}
        print(json.dumps(report))
    else:
        for name, value in figures.items():
            bound = f"  (bound {BOUNDS_NS[name]:,.0f})" if name in BOUNDS_NS else ""
            print(f"{name:36} {value:12,.0f}{bound}")
        for name in exceeded:
            print(f"{name} exceeds its bound", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
