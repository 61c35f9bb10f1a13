"""Reads a grain class: which methods are its interface, and the types of its type variables.

The interface consists of the public methods that callers can await or iterate: `async def`, async generators, and a
plain `def` whose annotation is an `AsyncIterator`, for an abstract or a delegating stream. Any other public plain `def`
is refused when the class is defined. A type checker would let callers call it through a reference, which does not have
it.

A method that a class inherits may use type variables of the class that defines it. Their types are found along the
generic bases, so that `ItemBox(Box[Item])` decodes an `Item` where `Box` says `T`. Annotations that are text are
evaluated where the method was written: a name in the module of the derived class may mean something else.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Generic

from inaho.errors import InvalidGrain
from inaho.errors.inspection import describe
from inaho.runtime.grains.method import STREAMS
from inaho.runtime.grains.method_options import OPTIONS

__all__ = ["HOOKS", "Found", "bindings", "complete", "find_methods", "hints_of", "make_state", "state_type"]

HOOKS: Final = frozenset({"on_activate", "on_deactivate", "on_reminder"})

Bindings = dict[Any, dict[Any, Any]]
"""Per class of an MRO, the values of its own type variables."""


class Found:
    """A method of the interface: its name, the class in which it is written, and the function."""

    __slots__ = ("function", "name", "owner")

    def __init__(self, name: str, owner: type[Any], function: Callable[..., Any]) -> None:
        self.name = name
        self.owner = owner
        self.function = function


def find_methods(cls: type[Any], root: type[Any], reserved: frozenset[str], local_names: dict[str, Any]) -> list[Found]:
    """The interface of `cls`, sorted by name; inherited methods included.

    Args:
        cls: the class that is made.
        root: `Grain`.
        reserved: names that belong to `Grain`.
        local_names: the local names around the class statement.

    Raises:
        InvalidGrain: a public plain `def`, a reserved name, a hook that cannot be awaited, or `@method` on a function
            that is no method of the interface.
    """
    found: dict[str, Found] = {}
    local: set[str] = set()  # plain methods of bases that are no grains: those were not written to be called by others
    for base in reversed(cls.__mro__):
        if base in (object, Generic, root):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or name in HOOKS:
                _check_hidden(cls, name, value)
                continue
            if name in reserved:
                raise InvalidGrain(f"{cls.__name__}.{name} hides Grain.{name}; choose another name")
            plain = isinstance(value, types.FunctionType) and not _is_asynchronous(value)
            if _is_asynchronous(value) or (plain and _promises_stream(Found(name, base, value), cls, local_names)):
                found[name] = Found(name, base, value)
                continue
            if hasattr(value, OPTIONS):
                raise InvalidGrain(
                    f"{cls.__name__}.{name} has @method but is not an async def, nor a def that returns an "
                    "AsyncIterator"
                )
            found.pop(name, None)
            if not issubclass(base, root):
                local.add(name)
            elif plain and name not in local:
                raise InvalidGrain(
                    f"{base.__name__}.{name} is a public method and a plain def, which no caller can await: write "
                    f"`async def {name}` (a stream may be a def annotated with AsyncIterator), or, if only the grain "
                    f"itself uses it, name it `_{name}` or make it a @staticmethod"
                )
    return [found[name] for name in sorted(found)]


def _is_asynchronous(value: Any) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)


def _check_hidden(cls: type[Any], name: str, value: Any) -> None:
    """What callers cannot call: it has no options, and a hook can be awaited."""
    if hasattr(value, OPTIONS):
        raise InvalidGrain(f"{cls.__name__}.{name} has @method but is not a public method")
    if name in HOOKS and isinstance(value, types.FunctionType) and not inspect.iscoroutinefunction(value):
        raise InvalidGrain(f"{cls.__name__}.{name} is awaited by the runtime: write it as an async def")


def _promises_stream(found: Found, cls: type[Any], local_names: dict[str, Any]) -> bool:
    """Whether the annotation of a plain function says that it returns an asynchronous iterator."""
    if "return" not in found.function.__annotations__:
        return False
    try:
        result = hints_of(found, cls, local_names)["return"]
    except InvalidGrain:
        if "Async" in str(found.function.__annotations__["return"]):
            raise  # it is meant to be a stream, and the error must name the unknown name
        return False
    return (typing.get_origin(result) or result) in STREAMS


# Types.


def resolve(hints: dict[str, Any], scope: dict[str, Any]) -> dict[str, Any]:
    """Annotations with every name that is only text looked up. Raises what `typing.get_type_hints` does."""
    holder = types.SimpleNamespace(__annotations__=hints)
    return typing.get_type_hints(holder, scope, include_extras=True)


def hints_of(found: Found, cls: type[Any], local_names: dict[str, Any]) -> dict[str, Any]:
    """Annotations of a method as its class has written them, type variables included.

    Args:
        found: the method.
        cls: the class that is made.
        local_names: what is around its class statement.

    Raises:
        InvalidGrain: an annotation has a name that is not defined.
    """
    owner = found.owner
    known = vars(owner).get("inaho_kind")
    if owner is not cls and known is not None and found.name in known.hints:
        hints: dict[str, Any] = known.hints[found.name]
        return hints
    module = vars(sys.modules[found.function.__module__])
    near = found.function.__module__ == cls.__module__
    names = {**module, **local_names} if near else {**local_names, **module}
    names.update({variable.__name__: variable for variable in getattr(owner, "__type_params__", ())})
    try:
        return typing.get_type_hints(
            found.function, {**names, owner.__name__: owner, cls.__name__: cls}, include_extras=True
        )
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise InvalidGrain(f"the annotations of {cls.__name__}.{found.name} cannot be read: {error}") from error


def bindings(cls: type[Any], local_names: dict[str, Any]) -> Bindings:
    """The values of the type variables of every base of `cls`, as far as its generic bases give them."""
    found: Bindings = {}

    def visit(base: type[Any], arguments: tuple[Any, ...], names: dict[str, Any]) -> None:
        own = dict(zip(getattr(base, "__parameters__", ()), arguments, strict=False))
        known = found.setdefault(base, {})
        for variable, value in own.items():
            if isinstance(known.get(variable, variable), typing.TypeVar):
                known[variable] = value
        parents: tuple[Any, ...] = vars(base).get("__orig_bases__", base.__bases__)
        for parent in parents:
            origin: Any = typing.get_origin(parent) or parent
            if not inspect.isclass(origin) or origin in (object, Generic, typing.Protocol):
                continue
            given = {str(index): each for index, each in enumerate(typing.get_args(parent))}
            given = {index: substitute(each, own) for index, each in resolve(given, names).items()}
            visit(origin, tuple(given.values()), vars(sys.modules[origin.__module__]))

    try:
        visit(cls, (), {**vars(sys.modules[cls.__module__]), **local_names, cls.__name__: cls})
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise InvalidGrain(f"the bases of {cls.__name__} cannot be read: {error}") from error
    return found


def substitute(hint: Any, known: dict[Any, Any]) -> Any:
    """`hint` with its known type variables replaced, at any depth; the others stay."""
    if isinstance(hint, typing.TypeVar):
        return known.get(hint, hint)
    variables = getattr(hint, "__parameters__", ())
    if not variables or isinstance(hint, type) or not any(variable in known for variable in variables):
        return hint
    return hint[tuple(known.get(variable, variable) for variable in variables)]


def complete(hint: Any, known: dict[Any, Any], scope: dict[str, Any]) -> Any:
    """As `substitute`; an unknown variable is replaced by its default, else by its bound, else by `Any`."""
    hint = substitute(hint, known)
    left = (hint,) if isinstance(hint, typing.TypeVar) else getattr(hint, "__parameters__", ())
    if not left or isinstance(hint, type):
        return hint
    return substitute(hint, {variable: _fallback(variable, scope) for variable in left})


def _fallback(variable: Any, scope: dict[str, Any]) -> Any:
    if not isinstance(variable, typing.TypeVar):  # a ParamSpec, or a TypeVarTuple: `check_type` says what it thinks
        return variable
    has_default = getattr(variable, "has_default", None)
    value: Any = typing.cast(Any, variable).__default__ if has_default is not None and has_default() else None
    if value is None:
        value = variable.__bound__
    return Any if value is None else resolve({"value": value}, scope)["value"]


# State.


def state_type(cls: type[Any], root: type[Any], bound: Bindings) -> Any:
    """S of `Grain[S]`, followed through generic bases; None if there is none, or if it is left open."""
    given = next(iter(bound.get(root, {}).values()), None)
    if given is None or given is type(None) or isinstance(given, typing.TypeVar):
        return None
    return complete(given, {}, vars(sys.modules[cls.__module__]))


def make_state(kind_of_state: Any, kind: str) -> Any:
    """The state of an identity that was never saved.

    Raises:
        InvalidGrain: it cannot be made without arguments.
    """
    try:
        return kind_of_state()
    except Exception as error:  # a pydantic model raises its own errors, and `__post_init__` any error
        raise InvalidGrain(
            f"the state of {kind} ({kind_of_state!r}) must be constructible without arguments, because an identity "
            f"that was never saved begins with it: give every field a default, for instance `field: T | None = None` "
            f"({describe(error)})"
        ) from error
