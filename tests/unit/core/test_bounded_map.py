"""A dict that forgets its oldest entry: against a list of keys in the order in which they came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.bounded_map import BoundedMap


def test_the_oldest_goes_first() -> None:
    bounded: BoundedMap[str, int] = BoundedMap(2)
    bounded["a"] = 1
    bounded["b"] = 2
    bounded["a"] = 3  # keeps its age
    bounded["c"] = 4
    assert dict(bounded) == {"b": 2, "c": 4}
    bounded.renew("b", 5)
    bounded["d"] = 6
    assert list(bounded.items()) == [("b", 5), ("d", 6)]
    bounded.check()


def test_no_way_of_setting_passes_the_bound() -> None:
    bounded: BoundedMap[int, str] = BoundedMap(3)
    bounded.update(dict.fromkeys(range(10), "x"))
    assert list(bounded) == [7, 8, 9]
    bounded |= {10: "y"}
    assert list(bounded) == [8, 9, 10]
    assert bounded.setdefault(8, "z") == "x"
    assert bounded.setdefault(11, "z") == "z"
    assert list(bounded) == [9, 10, 11]
    with pytest.raises(AssertionError):
        BoundedMap(0)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["set", "renew", "setdefault", "pop"]), st.integers(0, 6), st.integers())),
)
def test_it_is_a_list_of_pairs(size_max: int, steps: list[tuple[str, int, int]]) -> None:
    bounded: BoundedMap[int, int] = BoundedMap(size_max)
    model: list[tuple[int, int]] = []
    for what, key, value in steps:
        present = any(key == known for known, _ in model)
        if what == "pop":
            bounded.pop(key, None)
            model = [pair for pair in model if pair[0] != key]
        elif what == "renew" or not present:
            if what == "renew":
                bounded.renew(key, value)
            elif what == "set":
                bounded[key] = value
            else:
                bounded.setdefault(key, value)
            model = [*(pair for pair in model if pair[0] != key), (key, value)][-size_max:]
        elif what == "set":
            bounded[key] = value
            model = [(known, value if known == key else before) for known, before in model]
        else:
            bounded.setdefault(key, value)
        bounded.check()
        assert list(bounded.items()) == model
