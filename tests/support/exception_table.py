"""A table of exceptions: of Python, of inaho and of a program, and classes that resist whoever looks at them."""

# ruff: noqa: N818  names of the tests' stories

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, ClassVar

import inaho
from inaho import GrainError, RemoteError, Timeout, register_exception
from support.value_table import Mute, Opaque


class Kw(GrainError):
    def __init__(self, *, code: int, text: str = "t") -> None:
        super().__init__(f"code {code}")
        self.code = code


class Mixed(GrainError):
    def __init__(self, a: int, *rest: int, b: int = 5, **more: Any) -> None:
        super().__init__(a)
        self.b = (a, rest, b, sorted(more))


class Held2(GrainError):
    def __init__(self, held: Any) -> None:
        super().__init__("holds")
        self.held = held


class Unknown(Exception):
    pass


@register_exception
class Pickled(Exception):
    """Only `__reduce__` knows how it is made."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")
        self.both = a + b

    def __reduce__(self) -> Any:
        return Pickled, (1, 2)


class Ours(inaho.InahoError):
    def __init__(self) -> None:
        super().__init__("ours, extended")
        self.more = [1]


@register_exception
class Many(ExceptionGroup):
    pass


# Classes that resist: what arrives is the class itself where it can be had, else `RemoteError`.


@dataclasses.dataclass(frozen=True)
class OutOfStock(GrainError):
    sku: str


@register_exception
@dataclasses.dataclass(frozen=True)
class OutOfStock2(Exception):
    sku: str


@dataclasses.dataclass(frozen=True)
class OurFrozen(inaho.InahoError):
    sku: str


class Unchangeable(GrainError):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("read only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("read only")


class Empty(GrainError):
    def __len__(self) -> int:
        return 0


class False_(GrainError):  # noqa: N801
    def __bool__(self) -> bool:
        return False


def refuse(*_given: Any, **_named: Any) -> Any:
    raise LookupError("refused")


def interrupt(*_given: Any, **_named: Any) -> Any:
    raise asyncio.CancelledError


REFUSING = """
__bool__ __len__ __eq__ __hash__ __str__ __repr__ __format__ __reduce__ __reduce_ex__ __copy__ __deepcopy__ __iter__
__setattr__ __delattr__ __getattribute__ __getattr__ __dir__ __sizeof__ with_traceback add_note
"""
HIDDEN = """
args __dict__ __cause__ __context__ __suppress_context__ __traceback__ __notes__ __doc__ __class__
_inaho_made_with code reason identity authority maybe_executed obj filename name message exceptions type_name
"""


def resisting() -> dict[str, Any]:
    """Registered classes with one method, or property, that raises."""
    made: dict[str, Any] = {}
    for name in REFUSING.split():
        made[f"{name} refuses"] = type(f"Refuses{name}", (GrainError,), {name: refuse})
        made[f"{name} interrupts"] = type(f"Interrupts{name}", (GrainError,), {name: interrupt})
    for name in HIDDEN.split():
        hidden = property(refuse)
        made[f"{name} hidden"] = type(f"Hides{name}", (GrainError,), {name: hidden})
        made[f"{name} of a file hidden"] = type(f"HidesFile{name}", (OSError,), {name: hidden})
        parts = {"__init__": lambda *_: None, name: hidden}
        made[f"{name} of ours hidden"] = type(f"HidesOur{name}", (inaho.InahoError,), parts)
    for kind in made.values():
        register_exception(kind)
    return made


@register_exception
class Twice(Exception):
    """What it holds is not what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "more")


class Once(GrainError):
    """Can be made by the grain only."""

    how: ClassVar[Callable[..., Any] | None] = None

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if self.how is not None:
            self.how()


class OnceRefused(Once):
    pass


class OnceInterrupted(Once):
    pass


class OnceExits(Once):
    pass


def once(how: Callable[..., Any], kind: Any) -> Exception:
    """An exception whose constructor, the next time, does `how`."""
    kind.how = None
    error: Exception = kind("once")
    kind.how = how
    return error


class NoPath:
    def __repr__(self) -> str:
        return "no path"

    def __fspath__(self) -> str:
        raise LookupError("refused")


class BadText(str):
    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        raise LookupError("refused")

    def __str__(self) -> str:
        raise LookupError("refused")

    isascii = encode = strip = refuse


class Says(GrainError):
    def __str__(self) -> str:
        return BadText("text")


def with_note(error: Exception, note: str) -> Exception:
    vars(error).setdefault("__notes__", []).append(note)
    return error


def in_context() -> Exception:
    """One that was raised while another was handled."""
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904
    except ValueError as error:
        return error


def noted() -> Exception:
    error = ValueError("noted")
    error.add_note("first")
    error.add_note("\ud800")
    return error


def attributed(value: Any) -> Exception:
    error = ValueError("attributed")
    error.more = value  # type: ignore[attr-defined]
    return error


def caused(error: Exception, *causes: BaseException) -> Exception:
    outer: BaseException = error
    for cause in causes:
        vars(BaseException)["__cause__"].__set__(outer, cause)
        outer = cause
    return error


def circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def big_group() -> Exception:
    return ExceptionGroup("big", [ValueError(number) for number in range(100)])


def deep_group() -> Exception:
    error: Exception = ValueError("deep")
    for _ in range(20):
        error = ExceptionGroup("level", [error])
    return error


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: ValueError("bad", 5),
    "nothing": ValueError,
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "os": lambda: FileNotFoundError(2, "No such", "/x/y"),
    "os, two names": lambda: OSError(18, "cross", "/x", None, "/y"),
    "os, path": lambda: FileNotFoundError(2, "No such", PurePosixPath("/x")),
    "os, surrogate": lambda: FileNotFoundError(2, "No such", "\udce9"),
    "import": lambda: ImportError("none", name="n", path="p"),
    "name": lambda: NameError("none", name="n"),
    "attribute": lambda: AttributeError("none", name="n", obj=Opaque()),
    "key": lambda: KeyError(("a", 1)),
    "big int": lambda: KeyError(2**70),
    "keyword": lambda: Kw(code=7),
    "mixed": lambda: Mixed(1, 2, 3, b=4, c=5),
    "mute": lambda: Mute("x"),
    "object": lambda: Held2(Opaque()),
    "list": lambda: Held2([1, 2]),
    "long": lambda: ValueError("x" * 5_000_000),
    "rather long": lambda: ValueError("x" * 5_000),
    "surrogate": lambda: ValueError("a\x00\ud800b"),
    "timeout": lambda: TimeoutError("mine"),
    "called process": lambda: subprocess.CalledProcessError(3, "ls"),
    "json": lambda: json.JSONDecodeError("m", "doc", 1),
    "unknown": lambda: Unknown("u", [1]),
    "unknown, long": lambda: Unknown("u" * 10_000),
    "pickled": lambda: Pickled(1, 2),
    "stop": lambda: StopIteration(5),
    "noted": noted,
    "attributed": lambda: attributed([1]),
    "attributed, short": lambda: attributed("x"),
    "attributed, opaque": lambda: attributed(Opaque()),
    "caused": lambda: caused(ValueError("v"), KeyError("k")),
    "caused by unknown": lambda: caused(ValueError("v"), Unknown("u"), Kw(code=1)),
    "circle": circle,
    "group": lambda: ExceptionGroup("g", [ValueError("a"), Kw(code=1)]),
    "group, nested": lambda: ExceptionGroup("g", [ExceptionGroup("h", [KeyError("k")]), ValueError("a")]),
    "group, of unknown": lambda: ExceptionGroup("g", [Unknown("u"), ValueError("a")]),
    "group, own": lambda: Many("m", [ValueError("a")]),
    "group, big": big_group,
    "group, deep": deep_group,
    "group, of ours": lambda: ExceptionGroup("g", [inaho.Overloaded("o")]),
    "ours": lambda: inaho.Overloaded("too much", identity="Other/x"),
    "ours, bare": lambda: inaho.StateConflict("c"),
    "ours, long": lambda: inaho.StateConflict("c" * 10_000),
    "ours, extended": Ours,
    "ours, remote": lambda: RemoteError("by hand"),
    "ours, timeout": lambda: Timeout("mine"),
    "in a context": in_context,
    "frozen": lambda: OutOfStock("x"),
    "frozen, registered": lambda: OutOfStock2("x"),
    "frozen, of ours": lambda: OurFrozen("x"),
    "frozen, caused": lambda: caused(OutOfStock("x"), OutOfStock2("y"), ValueError("v")),
    "frozen, noted": lambda: with_note(OutOfStock("x"), "note"),
    "frozen, in a group": lambda: ExceptionGroup("g", [OutOfStock("x"), Unchangeable("y")]),
    "unchangeable": lambda: Unchangeable("x"),
    "unchangeable, caused": lambda: caused(with_note(Unchangeable("x"), "note"), Unchangeable("y")),
    "empty": Empty,
    "false": lambda: False_("x"),
    "made of something else": lambda: Twice("x"),
    "made once": lambda: once(refuse, OnceRefused),
    "made once, interrupting": lambda: once(interrupt, OnceInterrupted),
    "made once, exiting": lambda: once(sys.exit, OnceExits),
    "hostile path": lambda: FileNotFoundError(2, "No such", NoPath()),
    "hostile text": lambda: Says("x"),
    "hostile note": lambda: with_note(ValueError("x"), BadText("note")),
    "hostile arguments": lambda: Held2(BadText("x")),
}
EXCEPTIONS |= {name: (lambda kind=kind: kind("x")) for name, kind in resisting().items()}
