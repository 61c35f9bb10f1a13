"""The wheel of idle activations against a model: who was called when."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inaho.core.activation.idle import BUCKETS_PER_TTL, IdleWheel

ALL = 1_000_000


def test_an_untouched_key_is_due_after_its_time_and_not_before() -> None:
    wheel, touched = IdleWheel(16.0), {"a": 100.0}
    wheel.add("a", 100.0)
    assert wheel.due(115.9, touched.get, ALL) == []
    assert wheel.due(117.0, touched.get, ALL) == ["a"]
    assert len(wheel) == 0


def test_a_key_that_was_called_is_looked_at_again() -> None:
    wheel, touched = IdleWheel(16.0), {"a": 0.0}
    wheel.add("a", 0.0)
    touched["a"] = 10.0
    assert wheel.due(17.0, touched.get, ALL) == [] and len(wheel) == 1
    assert wheel.due(27.0, touched.get, ALL) == ["a"]


def test_a_key_that_is_not_active_is_forgotten() -> None:
    wheel = IdleWheel(16.0)
    wheel.add("a", 0.0)
    assert wheel.due(20.0, {}.get, ALL) == [] and len(wheel) == 0


def test_a_look_is_bounded_and_goes_on_where_it_stopped() -> None:
    wheel, touched = IdleWheel(16.0), {str(number): 0.0 for number in range(100)}
    for key in touched:
        wheel.add(key, 0.0)
    found: list[str] = []
    for _ in range(10):
        part = wheel.due(20.0, touched.get, 10)
        assert len(part) == 10
        found += part
    assert sorted(found) == sorted(touched) and wheel.due(20.0, touched.get, 10) == []


def test_what_is_found_is_bounded_apart_and_the_wheel_says_that_it_is_behind() -> None:
    wheel, touched = IdleWheel(16.0), {str(number): 0.0 for number in range(20)}
    for key in touched:
        wheel.add(key, 0.0)
    assert not wheel.behind(15.0)
    first = wheel.due(20.0, touched.get, 100, 15)
    assert len(first) == 15 and wheel.behind(20.0)
    rest = wheel.due(20.0, touched.get, 100, 15)
    assert sorted(first + rest) == sorted(touched) and not wheel.behind(20.0)


def test_a_key_that_ended_and_came_up_again_is_due_once() -> None:
    wheel = IdleWheel(16.0)
    wheel.add("a", 0.0)
    wheel.add("a", 5.0)
    assert wheel.due(30.0, {"a": 5.0}.get, ALL) == ["a"]
    assert len(wheel) == 0


def test_entries_of_a_key_that_ends_and_comes_up_all_the_time_are_bounded() -> None:
    wheel, now = IdleWheel(16.0), 0.0
    for _ in range(2_000):
        now += 0.05
        wheel.add("a", now)
        wheel.due(now, {"a": now}.get, ALL)
        assert len(wheel) <= BUCKETS_PER_TTL + 2
        wheel.check()


@given(st.floats(0.01, 3600.0), st.floats(0.0, 1e6), st.floats(0.001, 1.0))
def test_at_most_a_sixteenth_late_where_it_is_asked_often(ttl_s: float, touched_at: float, tick: float) -> None:
    wheel, touched = IdleWheel(ttl_s), {"a": touched_at}
    tick_s = tick * ttl_s / BUCKETS_PER_TTL
    wheel.add("a", touched_at)
    now = touched_at + ttl_s - 2 * tick_s
    while not wheel.due(now, touched.get, ALL):
        now += tick_s
        assert now <= touched_at + ttl_s * (1 + 1 / BUCKETS_PER_TTL) + 2 * tick_s + 1e-6
    assert now - touched_at >= ttl_s


class IdleMachine(RuleBasedStateMachine):
    """Activations that come up, are called, end and come up again; time that crawls and jumps."""

    @initialize(ttl_s=st.sampled_from([0.3, 1.0, 60.0, 300.0]), start=st.floats(0.0, 1e5))
    def start(self, ttl_s: float, start: float) -> None:
        self.ttl_s = ttl_s
        self.now = start
        self.wheel = IdleWheel(ttl_s)
        self.touched: dict[str, float] = {}

    @rule(key=st.sampled_from("abcdefgh"))
    def call(self, key: str) -> None:
        if key not in self.touched:
            self.wheel.add(key, self.now)
        self.touched[key] = self.now

    @precondition(lambda self: self.touched)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        del self.touched[data.draw(st.sampled_from(sorted(self.touched)))]

    @rule(part=st.sampled_from([0.001, 0.03, 0.3, 0.99, 1.0, 1.07, 3.0, 1000.0]))
    def time_passes(self, part: float) -> None:
        self.now += part * self.ttl_s

    @rule(most=st.integers(1, 3))
    def look_at_few(self, most: int) -> None:
        self._end_idle(self.wheel.due(self.now, self.touched.get, most))

    @rule()
    def look_at_all(self) -> None:
        self._end_idle(self.wheel.due(self.now, self.touched.get, ALL))
        late_s = self.ttl_s / BUCKETS_PER_TTL + 1e-6
        for key, touched_at in self.touched.items():
            assert self.now - touched_at <= self.ttl_s + late_s, f"{key} is overdue"

    def _end_idle(self, due: list[str]) -> None:
        assert len(set(due)) == len(due), "a key was given out twice"
        for key in due:
            assert self.now - self.touched.pop(key) >= self.ttl_s, f"{key} came early"

    @invariant()
    def no_active_key_is_lost(self) -> None:
        if hasattr(self, "wheel"):
            self.wheel.check()
            assert len(self.wheel) >= len(self.touched)

    def teardown(self) -> None:
        if hasattr(self, "wheel"):
            self.now += 2 * self.ttl_s
            self._end_idle(self.wheel.due(self.now, self.touched.get, ALL))
            assert not self.touched and len(self.wheel) == 0


TestIdleMachine = IdleMachine.TestCase
TestIdleMachine.settings = settings(max_examples=60, stateful_step_count=40)
