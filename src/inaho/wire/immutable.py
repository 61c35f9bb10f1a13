"""Decides which types have values that nothing can change, so that several subscribers may share one.

A type is immutable if it is a scalar, or consists of immutable types and is itself a tuple, a frozenset, a frozen
Struct or a frozen dataclass. For all other types each subscriber gets a value of its own, decoded once more: a
subscriber that changes its value must not change what another one sees.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import inspect

__all__ = ["is_immutable"]

_SCALARS: Final = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
)


def is_immutable(kind: Any) -> bool:
    """Whether no value of the type can be changed. The type must have passed `check_type`."""
    return _is_immutable(inspect.type_info(kind), set())


def _is_immutable(described: Any, seen: set[int]) -> bool:
    if isinstance(described, _SCALARS) or id(described) in seen:
        return True
    seen.add(id(described))
    parts: list[Any] = []
    if isinstance(described, inspect.Metadata):
        parts = [described.type]
    elif isinstance(described, inspect.UnionType):
        parts = list(described.types)
    elif isinstance(described, inspect.VarTupleType | inspect.FrozenSetType):
        parts = [described.item_type]
    elif isinstance(described, inspect.TupleType):
        parts = list(described.item_types)
    elif _is_frozen(described):
        parts = [field.type for field in described.fields]
    else:
        return False
    return all(_is_immutable(part, seen) for part in parts)


def _is_frozen(described: Any) -> bool:
    if isinstance(described, inspect.StructType):
        return described.cls.__struct_config__.frozen
    if isinstance(described, inspect.DataclassType):
        parameters = getattr(described.cls, "__dataclass_params__", None)
        return parameters is not None and bool(parameters.frozen)
    return isinstance(described, inspect.NamedTupleType)
