"""A map in parts behaves as a dict, and no part grows beyond its bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core import parted_map
from inaho.core.parted_map import PART_MAX, PartedMap

KEYS = st.sampled_from([f"k{number}" for number in range(12)])


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "pop"]), KEYS), max_size=60))
def test_it_behaves_as_a_dict(steps: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parted_map, "PART_MAX", 3)
        parted: PartedMap[str] = PartedMap()
        model: dict[str, str] = {}
        for what, key in steps:
            if what == "add" and key not in model:
                parted.add(key, key.upper())
                model[key] = key.upper()
            elif what == "remove" and key in model:
                parted.remove(key)
                del model[key]
            elif what == "remove":
                with pytest.raises(KeyError):
                    parted.remove(key)
            elif what == "pop" and model:
                del model[parted.pop_last()]
            elif what == "pop":
                with pytest.raises(KeyError):
                    parted.pop_last()
            parted.check()
            assert len(parted) == len(model)
            assert dict(parted.items()) == model
            assert sorted(parted.values()) == sorted(model.values())
            assert parted.get(key) == model.get(key)


def test_parts_are_bounded_and_go_when_they_are_empty() -> None:
    parted: PartedMap[int] = PartedMap()
    for number in range(PART_MAX * 2 + 1):
        parted.add(f"k{number}", number + 1)
    assert [len(part) for part in parted.older] == [PART_MAX, PART_MAX]
    for number in range(PART_MAX):
        parted.remove(f"k{number}")
    assert [len(part) for part in parted.older] == [PART_MAX]
    assert parted.get(f"k{PART_MAX}") == PART_MAX + 1
    assert parted.get("k0") is None
