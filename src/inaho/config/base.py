"""The base class of every group of settings: frozen, and checked when an instance is made.

A running node never sees half of a change, and a node with an invalid configuration does not start.
"""

from __future__ import annotations

import math
from typing import Any, Self

import msgspec

from inaho.errors import InvalidConfig

__all__ = ["Group"]


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a group of settings: every number is finite, and above 0 unless the group says otherwise."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                if not math.isfinite(value):
                    raise InvalidConfig(f"{type(self).__name__}.{name} must be a number of finite size, not {value}")
                if value < 0 or (value == 0 and name not in self.may_be_zero()):
                    raise InvalidConfig(f"{type(self).__name__}.{name} must be above 0, not {value}")
        self.check()

    @classmethod
    def may_be_zero(cls) -> frozenset[str]:
        """Names of the numbers for which 0 has a meaning."""
        return frozenset()

    def check(self) -> None:
        """Checks relations between fields; raises `InvalidConfig`."""

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, checked again."""
        return msgspec.structs.replace(self, **changes)
