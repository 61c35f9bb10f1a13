"""The cache never gives a Pid that it should not, never grows beyond its bound, and tells what it dropped."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from inaho.core.identity.pid_cache import PidCache
from inaho.events import PidInvalidated
from inaho.types import ClusterIdentity, Pid


def pid(key: str, authority: str = "h:1", kind: str = "Cart", boot: str = "0" * 16) -> Pid:
    return Pid(authority, boot, ClusterIdentity(kind, key))


def filled(count: int, size: int = 100) -> PidCache:
    cache = PidCache(size, 60.0)
    for number in range(count):
        cache.put(pid(str(number), f"h:{1 + number % 3}"), 0.0)
    return cache


def test_hit_and_miss() -> None:
    cache = PidCache(10, 60.0)
    assert cache.get("Cart", "a", 0.0) is None
    stored = pid("a")
    assert cache.put(stored, 0.0) == ()
    assert cache.get("Cart", "a", 1.0) is stored
    assert cache.get("Order", "a", 1.0) is None
    assert (cache.hits, cache.misses, len(cache)) == (1, 2, 1)


def test_an_entry_ends_with_its_time_to_live_and_a_hit_does_not_prolong_it() -> None:
    cache = PidCache(10, 60.0)
    cache.put(pid("a"), 100.0)
    assert cache.get("Cart", "a", 159.9) is not None
    assert cache.get("Cart", "a", 160.0) is None
    assert len(cache) == 0
    assert (cache.expirations, cache.invalidations) == (1, 0)
    cache.put(pid("a"), 200.0)
    cache.put(pid("a"), 250.0)
    assert cache.get("Cart", "a", 300.0) is not None, "a put starts it again"
    cache.check()


def test_a_pid_of_another_node_or_boot_replaces_with_an_event() -> None:
    cache = PidCache(10, 60.0)
    cache.put(pid("a", "h:1"), 0.0)
    assert cache.put(pid("a", "h:1"), 1.0) == ()
    assert cache.put(pid("a", "h:2"), 2.0) == (
        PidInvalidated(kind="Cart", key="a", authority="h:1", reason="replaced"),
    )
    (event,) = cache.put(pid("a", "h:2", boot="f" * 16), 3.0)
    assert event.authority == "h:2"
    assert cache.get("Cart", "a", 4.0) == pid("a", "h:2", boot="f" * 16)
    assert cache.invalidations == 2


def test_what_is_used_outlives_what_is_not() -> None:
    cache = filled(100)
    for number in range(0, 100, 2):
        cache.get("Cart", str(number), 1.0)
    for number in range(50):
        cache.put(pid(f"new-{number}"), 1.0)
    kept = [number for number in range(100) if cache.get("Cart", str(number), 1.0)]
    assert kept == list(range(0, 100, 2))
    assert cache.evictions == 50


def test_a_scan_does_not_empty_the_cache() -> None:
    cache = filled(100)
    for number in range(20):
        cache.get("Cart", str(number), 1.0)
    for number in range(10_000):
        cache.get("Cart", str(number % 20), 1.0)
        cache.put(pid(f"once-{number}"), 1.0)
    assert all(cache.get("Cart", str(number), 1.0) for number in range(20))
    assert len(cache) == 100
    cache.check()


def test_an_eviction_gives_way_after_a_bounded_search() -> None:
    cache = filled(1_000, size=1_000)
    for number in range(1_000):
        cache.get("Cart", str(number), 1.0)
    cache.put(pid("new"), 1.0)
    assert len(cache) == 1_000
    assert cache.evictions == 1
    assert cache.get("Cart", "new", 1.0) is not None
    cache.check()


def test_invalidate_one() -> None:
    cache = filled(3)
    assert cache.invalidate("Cart", "1", "timeout") == (
        PidInvalidated(kind="Cart", key="1", authority="h:2", reason="timeout"),
    )
    assert cache.invalidate("Cart", "1", "timeout") == ()
    assert cache.invalidate("Order", "1", "timeout") == ()
    assert cache.get("Cart", "1", 0.0) is None
    assert cache.invalidations == 1


def test_a_departed_node_takes_its_entries_with_it() -> None:
    """SPEC VA-3.5."""
    cache = filled(99)
    assert cache.invalidate_authority("h:2", "removed") == (
        PidInvalidated(kind="", key="", authority="h:2", reason="removed", count=33),
    )
    assert cache.invalidate_authority("h:2", "removed") == ()
    assert len(cache) == 66
    assert all((cache.get("Cart", str(number), 0.0) is None) == (number % 3 == 1) for number in range(99))
    cache.check()


def test_what_ended_on_a_node_goes_only_if_it_was_reached_there() -> None:
    """SPEC BS-3.3."""
    cache = filled(3)
    found = cache.get("Cart", "1", 0.0)
    assert found is not None
    assert cache.invalidate_at("Cart", "1", "elsewhere", "terminated") == ()
    assert cache.invalidate_at("Cart", "none", found.node_id, "terminated") == ()
    assert cache.invalidate_at("Cart", "1", found.node_id, "terminated") == (
        PidInvalidated(kind="Cart", key="1", authority=found.authority, reason="terminated"),
    )
    assert cache.get("Cart", "1", 0.0) is None
    assert len(cache) == 2
    cache.check()


def test_retain_drops_what_moved_and_sums_up_per_node() -> None:
    cache = filled(9)
    events = cache.retain(lambda one: one.identity.key not in ("0", "3", "4"), "ownership changed")
    assert events == (
        PidInvalidated(kind="Cart", key="", authority="h:1", reason="ownership changed", count=2),
        PidInvalidated(kind="Cart", key="4", authority="h:2", reason="ownership changed"),
    )
    assert (len(cache), cache.invalidations) == (6, 3)
    cache.check()


def test_retain_in_slices_sees_every_entry_once() -> None:
    cache = filled(100)
    cache.invalidate("Cart", "17", "x")
    seen: list[str] = []

    def keep(one: Pid) -> bool:
        seen.append(one.identity.key)
        return int(one.identity.key) % 2 == 0

    dropped = sum(event.count for start in range(0, cache.places, 7) for event in cache.retain(keep, "moved", start, 7))
    assert sorted(seen, key=int) == [str(number) for number in range(100) if number != 17]
    assert dropped == 49
    assert len(cache) == 50


def test_clear_is_one_event() -> None:
    cache = filled(10)
    assert cache.clear("shutdown") == (PidInvalidated(kind="", key="", authority="", reason="shutdown", count=10),)
    assert cache.clear("shutdown") == ()
    assert (len(cache), cache.places) == (0, 0)
    cache.put(pid("a"), 0.0)
    cache.check()


@pytest.mark.parametrize(("size", "ttl_s"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0), (1, float("nan"))])
def test_impossible_bounds_are_refused(size: int, ttl_s: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        PidCache(size, ttl_s)


def test_check_finds_a_broken_index() -> None:
    cache = filled(3)
    del cache._kinds["Cart"]["1"]
    with pytest.raises(AssertionError, match="indexes differ"):
        cache.check()


kinds = st.sampled_from(["A", "B"])
keys = st.sampled_from([str(number) for number in range(12)])
authorities = st.sampled_from(["h:1", "h:2", "h:3"])


class CacheAgainstModel(RuleBasedStateMachine):
    """The model is a dict without bound: what the cache gives is in it, what the cache lacks is accounted for."""

    @initialize(size=st.integers(1, 10), ttl_s=st.sampled_from([1.0, 5.0, 1e9]))
    def start(self, size: int, ttl_s: float) -> None:
        self.size = size
        self.ttl_s = ttl_s
        self.cache = PidCache(size, ttl_s)
        self.model: dict[tuple[str, str], tuple[Pid, float]] = {}
        self.now = 0.0
        self.gets = 0
        self.inserted = 0
        self.replaced = 0

    @rule(seconds=st.floats(0.0, 3.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(kind=kinds, key=keys)
    def get(self, kind: str, key: str) -> None:
        self.gets += 1
        found = self.cache.get(kind, key, self.now)
        stored = self.model.get((kind, key))
        if found is not None:
            assert stored is not None, "gave what was never put or was dropped"
            assert found is stored[0]
            assert self.now < stored[1], "gave what had expired"
        elif stored is not None and self.now >= stored[1]:
            del self.model[kind, key]

    @rule(kind=kinds, key=keys, authority=authorities)
    def put(self, kind: str, key: str, authority: str) -> None:
        evicted = self.cache.evictions
        length = len(self.cache)
        new = pid(key, authority, kind)
        events = self.cache.put(new, self.now)
        self.replaced += len(events)
        before = self.model.get((kind, key))
        if events:
            assert before is not None
            assert events[0].authority == before[0].authority != authority
        self.inserted += len(self.cache) - length + self.cache.evictions - evicted
        self.model[kind, key] = (new, self.now + self.ttl_s)
        assert self.cache.get(kind, key, self.now) is new, "what was just put is there"
        self.gets += 1

    @rule(kind=kinds, key=keys)
    def invalidate(self, kind: str, key: str) -> None:
        events = self.cache.invalidate(kind, key, "test")
        stored = self.model.pop((kind, key), None)
        if events:
            assert stored is not None
            assert events[0].authority == stored[0].authority

    @rule(authority=authorities)
    def invalidate_authority(self, authority: str) -> None:
        length = len(self.cache)
        events = self.cache.invalidate_authority(authority, "test")
        assert length - len(self.cache) == sum(event.count for event in events)
        self.model = {name: entry for name, entry in self.model.items() if entry[0].authority != authority}

    @rule(good=st.sets(keys))
    def retain(self, good: set[str]) -> None:
        length = len(self.cache)
        events = self.cache.retain(lambda one: one.identity.key in good, "test")
        assert length - len(self.cache) == sum(event.count for event in events)
        self.model = {name: entry for name, entry in self.model.items() if name[1] in good}

    @rule()
    def clear(self) -> None:
        length = len(self.cache)
        assert sum(event.count for event in self.cache.clear("test")) == length
        self.model.clear()

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "cache"):
            return
        cache = self.cache
        cache.check()
        assert len(cache) <= self.size
        assert cache.hits + cache.misses == self.gets
        gone = cache.evictions + cache.expirations + cache.invalidations - self.replaced
        assert self.inserted == len(cache) + gone, "every entry that went was counted once"


CacheAgainstModel.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
test_the_cache_against_a_model = CacheAgainstModel.TestCase
