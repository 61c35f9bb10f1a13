"""One table of values, exceptions and context, called on the grain's own node and from elsewhere: the same outcome.

The outcome of a call is its value with the type of every part, or the class of its error with the reason, the identity
and whether it may have run.
"""

# ruff: noqa: N818, RUF012  names of the tests' stories; Structs copy mutable defaults
from __future__ import annotations

import asyncio
import collections
import contextvars
import dataclasses
import datetime
import decimal
import enum
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal

import pydantic
import pytest

import inaho
from inaho import Grain, GrainError, RemoteError, Struct, Timeout, register_exception


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Point(Struct, frozen=True):
    x: int
    name: str = ""


class Basket(Struct):
    items: dict[str, int] = {}
    tags: list[str] = []


class Bigger(Basket):
    more: int = 0


class Opaque:
    def __repr__(self) -> str:
        return "opaque"


@dataclasses.dataclass
class Address:
    street: str
    lines: list[str] = dataclasses.field(default_factory=list)
    size: int = dataclasses.field(init=False, default=3)


class Order(pydantic.BaseModel):
    number: int
    lines: list[str] = []


class Unwilling:
    """Cannot be encoded, and what its method raises has no text."""

    def __repr__(self) -> str:
        return "unwilling"

    @classmethod
    def model_validate(cls, _value: Any) -> Any:
        raise Mute("x")

    def model_dump(self, **_options: Any) -> Any:
        raise Mute("x")


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def looped() -> Any:
    value: Any = []
    value.append(value)
    return value


def shared() -> Any:
    inner = [1]
    return [inner, inner]


VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "zero": lambda: 0,
    "int": lambda: -5,
    "int, 63 bits": lambda: 2**63 - 1,
    "int, 64 bits": lambda: 2**64 - 1,
    "int, 65 bits": lambda: 2**64,
    "int, least": lambda: -(2**63),
    "int, too small": lambda: -(2**63) - 1,
    "int, 70 bits": lambda: 2**70,
    "int, subclass": lambda: Number(5),
    "float": lambda: 1.5,
    "float, whole": lambda: 3.0,
    "nan": lambda: float("nan"),
    "minus zero": lambda: -0.0,
    "infinity": lambda: float("inf"),
    "text": lambda: "text",
    "text, empty": lambda: "",
    "text, nul": lambda: "a\x00b",
    "text, beyond ascii": lambda: "日本",
    "text, lone surrogate": lambda: "\ud800",
    "text, 1 KiB": lambda: "x" * 1025,
    "text, 3 MB": lambda: "x" * 3_000_000,
    "text, subclass": lambda: Text("t"),
    "bytes": lambda: b"x\xff",
    "bytes, 3 MB": lambda: bytes(3_000_000),
    "bytearray": lambda: bytearray(b"x"),
    "memoryview": lambda: memoryview(b"x"),
    "list": lambda: [1, "a"],
    "list, of big int": lambda: [2**70],
    "list, long": lambda: [[]] * 40_000,
    "tuple": lambda: (1, "a"),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({1}),
    "dict": lambda: {"a": 1},
    "dict, int keys": lambda: {1: "a"},
    "dict, tuple keys": lambda: {(1, 2): 3},
    "dict, surrogate key": lambda: {"\ud800": 1},
    "enum": lambda: Colour.RED,
    "int enum": lambda: Level.LOW,
    "flag": lambda: Right.READ,
    "flags": lambda: Right.READ | Right.WRITE,
    "moment": lambda: datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
    "moment, utc": lambda: datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "moment, zone": lambda: datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
    "date": lambda: datetime.date(2024, 1, 2),
    "time": lambda: datetime.time(1, 2),
    "span": lambda: datetime.timedelta(seconds=1.5),
    "decimal": lambda: decimal.Decimal("1.50"),
    "decimal, nan": lambda: decimal.Decimal("NaN"),
    "uuid": lambda: uuid.UUID(int=5),
    "frozen struct": lambda: Point(1, "a"),
    "frozen struct, wrong": lambda: Point("x"),  # type: ignore[arg-type]
    "frozen struct, big": lambda: Point(1, "x" * 3_000_000),
    "frozen struct, surrogate": lambda: Point(1, "\ud800"),
    "struct": lambda: Basket({"a": 1}, ["b"]),
    "struct, subclass": lambda: Bigger({"a": 1}, ["b"], 5),
    "struct, wrong": lambda: Basket({"a": "x"}),  # type: ignore[dict-item]
    "dataclass": lambda: Address("s"),
    "model": lambda: Order(number=1),
    "model, wrong": lambda: Order.model_construct(number="x"),
    "opaque": Opaque,
    "unwilling": Unwilling,
    "class": lambda: Opaque,
    "function": lambda: len,
    "deque": lambda: collections.deque([1]),
    "ordered": lambda: collections.OrderedDict(a=1),
    "counter": lambda: collections.Counter("aa"),
    "range": lambda: range(3),
    "path": lambda: PurePosixPath("/x"),
    "complex": lambda: 1j,
    "deep": lambda: nested(50),
    "too deep": lambda: nested(5000),
    "looped": looped,
    "shared": shared,
}
TYPES: dict[str, Any] = {
    "anything": Any,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "bool": bool,
    "bytearray": bytearray,
    "optional": int | None,
    "union": int | str | None,
    "either": float | int,
    "colour": Colour,
    "level": Level,
    "right": Right,
    "literal": Literal["text", "a"],
    "list": list[int],
    "tuple": tuple[int, str],
    "set": set[int],
    "frozen": frozenset[int],
    "table": dict[int, str],
    "moment": datetime.datetime,
    "date": datetime.date,
    "span": datetime.timedelta,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "point": Point,
    "basket": Basket,
    "address": Address,
    "order": Order,
    "unwilling": Unwilling,
}


class Held(Struct):
    value: Any = None


class HoldingError(GrainError):
    def __init__(self, held: Any) -> None:
        super().__init__(held)


class Values(Grain[Held]):
    """`take_…`, `give_…` and `stream_…` for each type are added below."""

    async def fail(self, name: str) -> None:
        raise HoldingError(VALUES[name]())

    async def keep(self, name: str) -> None:
        self.state.value = VALUES[name]()
        await self.save()

    async def note(self, value: Any) -> None:
        self.noted = described(value)

    async def take_note(self) -> str:
        noted, self.noted = getattr(self, "noted", "nothing"), "nothing"
        return noted


def methods() -> dict[str, Any]:
    made: dict[str, Any] = {}

    def add(name: str, kind: Any) -> None:
        async def take(self: Any, value: Any) -> str:
            return described(value)

        async def give(self: Any, name: str) -> Any:
            return VALUES[name]()

        async def stream(self: Any, name: str) -> AsyncIterator[Any]:
            yield VALUES[name]()

        take.__annotations__ = {"value": kind, "return": str}
        give.__annotations__ = {"name": str, "return": kind}
        stream.__annotations__ = {"name": str, "return": AsyncIterator[kind]}
        made.update({f"take_{name}": take, f"give_{name}": give, f"stream_{name}": stream})

    for name, kind in TYPES.items():
        add(name, kind)
    return made


TypedValues: Any = type("TypedValues", (Values,), methods())


def described(value: Any) -> str:
    """The value with the type of every part, as short text."""
    text = f"{types_of(value, 0)} {value!r}"
    return ascii(text) if len(text) < 300 else f"{len(text)} {text[:100]!a}"


def types_of(value: Any, depth: int) -> str:
    name = type(value).__name__
    if depth > 3:
        return name
    if isinstance(value, list | tuple | set | frozenset):
        return f"{name}[{','.join(types_of(item, depth + 1) for item in list(value)[:3])}]"
    if isinstance(value, dict):
        return f"{name}[{','.join(types_of(item, depth + 1) for item in list(value.items())[:3])}]"
    return name


async def outcome(call: Callable[[], Any]) -> str:
    """What a call ends with, in words."""
    try:
        return f"gives {described(await call())}"
    except Exception as error:
        return told(error)


def python_has(error: BaseException, name: str) -> Any:
    """What Python keeps in an exception, whatever its class says."""
    return vars(BaseException)[name].__get__(error)


def look(error: BaseException, name: str) -> Any:
    """An attribute, or what its class raises instead."""
    try:
        return getattr(error, name, None)
    except BaseException as raised:
        return type(raised)


def told(error: BaseException, depth: int = 0) -> str:
    """An exception with all that code may look at."""
    parts = [type(error).__name__, ascii(python_has(error, "args"))[:200]]
    fields, cause = python_has(error, "__dict__"), python_has(error, "__cause__")
    if issubclass(type(error), inaho.InahoError):
        parts += [ascii(error.reason)[:300], error.identity, error.authority, str(error.maybe_executed)]
    if not issubclass(type(error), inaho.InahoError):
        parts += [f"in {python_has(error, '__context__')!r}", f"suppressed={python_has(error, '__suppress_context__')}"]
    if issubclass(type(error), RemoteError):
        parts += [error.type_name, ascii(error.message)[:100], str(len(error.message))]
        parts += ["traceback"] * ("Traceback" in error.remote_traceback)
    else:
        hidden = {"remote_traceback", "__notes__", "_inaho_made_with"}
        parts += [ascii({k: v for k, v in sorted(fields.items()) if k not in hidden})[:300]]
    for name in ("errno", "strerror", "filename", "filename2", "name", "path", "obj", "start", "code"):
        parts += [f"{name}={look(error, name)!r}"]
    parts += [note for note in fields.get("__notes__", ()) if not note.startswith("raised by")]
    if issubclass(type(error), BaseExceptionGroup):
        parts += [told(member, depth + 1) for member in error.exceptions]
    if cause is not None and depth < 6 and not issubclass(type(error), inaho.InahoError):
        parts += ["from", told(cause, depth + 1)]
    return " | ".join(parts)


@pytest.fixture
async def places(fleet):
    """The same activation as a caller on its node and one elsewhere see it."""
    kinds = (TypedValues, Raising, Context)
    member = await fleet.member(*kinds)
    client = await fleet.client()
    return member, client


async def differing(near: Any, far: Any, calls: dict[str, Callable[[Any], Any]]) -> dict[str, tuple[str, str]]:
    found = {}
    for name, call in calls.items():
        here, there = await outcome(lambda: call(near)), await outcome(lambda: call(far))  # noqa: B023
        if here != there:
            found[name] = (here, there)
    return found


async def first(stream: Any) -> Any:
    return [item async for item in stream]


@pytest.mark.parametrize("kind", TYPES)
async def test_values(places, kind):
    near, far = (cluster.grain(TypedValues, "a") for cluster in places)
    calls: dict[str, Callable[[Any], Any]] = {}
    for name, make in VALUES.items():
        calls[f"argument {name}"] = lambda grain, make=make: getattr(grain, f"take_{kind}")(make())
        calls[f"result {name}"] = lambda grain, name=name: getattr(grain, f"give_{kind}")(name)
        calls[f"item {name}"] = lambda grain, name=name: first(getattr(grain, f"stream_{kind}")(name))
    assert await differing(near, far, calls) == {}


async def test_values_that_exceptions_and_states_hold(places):
    near, far = (cluster.grain(TypedValues, "a") for cluster in places)
    calls: dict[str, Callable[[Any], Any]] = {}
    for name in VALUES:
        calls[f"exception {name}"] = lambda grain, name=name: grain.fail(name)
        calls[f"state {name}"] = lambda grain, name=name: grain.keep(name)
    assert await differing(near, far, calls) == {}


async def test_arguments_of_calls_that_nobody_waits_for(places):
    """They are refused when they are sent, or arrive as those of other calls do."""
    sent: list[str] = []
    for cluster in places:
        grain = cluster.grain(TypedValues, "a")

        async def send(make: Callable[[], Any], cluster: Any = cluster, grain: Any = grain) -> str:
            cluster.send(grain.note, make())
            return await grain.take_note()

        sent.append(
            "\n".join([f"{name}: {await outcome(lambda make=make: send(make))}" for name, make in VALUES.items()])
        )
    near, far = sent
    assert near.replace(places[0].authority, "") == far  # whoever sends refuses, and a client has no authority
    assert "nothing" not in near


# Exceptions.


class Kw(GrainError):
    def __init__(self, *, code: int, text: str = "t") -> None:
        super().__init__(f"code {code}")
        self.code = code


class Mixed(GrainError):
    def __init__(self, a: int, *rest: int, b: int = 5, **more: Any) -> None:
        super().__init__(a)
        self.b = (a, rest, b, sorted(more))


class Mute(GrainError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


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


class Raising(Grain):
    async def fail(self, name: str, later: bool) -> None:
        if later:
            await asyncio.sleep(0)
        raise EXCEPTIONS[name]()

    async def stream(self, name: str) -> AsyncIterator[int]:
        yield 1
        raise EXCEPTIONS[name]()

    async def fine(self) -> int:
        return 1


async def test_exceptions(places):
    near, far = (cluster.grain(Raising, "a") for cluster in places)
    await near.fine()
    calls: dict[str, Callable[[Any], Any]] = {}
    for name in EXCEPTIONS:
        calls[f"at once {name}"] = lambda grain, name=name: grain.fail(name, False)
        calls[f"later {name}"] = lambda grain, name=name: grain.fail(name, True)
        if name != "stop":
            calls[f"stream {name}"] = lambda grain, name=name: first(grain.stream(name))
    assert await differing(near, far, calls) == {}
    assert await near.fine() == await far.fine() == 1


class Starting(Grain):
    async def on_activate(self) -> None:
        raise EXCEPTIONS[self.identity.key]()

    async def fine(self) -> int:
        return 1


@pytest.mark.parametrize("name", ["frozen", "frozen, of ours", "__class__ hidden", "__bool__ interrupts", "mute"])
async def test_an_activation_that_fails_with_any_of_them_keeps_nobody_waiting(fleet, name):
    member = await fleet.member(Starting)
    client = await fleet.client()
    for cluster in (member, client):
        with pytest.raises(inaho.InahoError) as found:
            await cluster.grain(Starting, name, timeout=5).fine()
        assert not isinstance(found.value, Timeout)


async def test_what_exceptions_keep(places):
    for cluster in places:
        grain = cluster.grain(Raising, "a")
        with pytest.raises(FileNotFoundError) as found:
            await grain.fail("os", False)
        assert (found.value.errno, found.value.strerror, found.value.filename) == (2, "No such", "/x/y")
        with pytest.raises(Kw) as keyword:
            await grain.fail("keyword", False)
        assert keyword.value.code == 7
        with pytest.raises(Mixed) as mixed:
            await grain.fail("mixed", True)
        assert mixed.value.args == (1,)
        with pytest.raises(ExceptionGroup) as group:
            await grain.fail("group, nested", False)
        assert group.value.subgroup(KeyError) is not None
        with pytest.raises(Many):
            await grain.fail("group, own", True)
        with pytest.raises(RemoteError, match="big"):
            await grain.fail("group, big", False)
        with pytest.raises(ExceptionGroup) as deep:
            await grain.fail("group, deep", False)
        assert deep.value.subgroup(RemoteError) is not None
        with pytest.raises(ValueError, match="noted") as noted_error:
            await grain.fail("noted", False)
        assert noted_error.value.__notes__[0] == "first"
        with pytest.raises(ValueError, match="v") as caused_error:
            await grain.fail("caused", False)
        assert type(caused_error.value.__cause__) is KeyError
        with pytest.raises(OutOfStock) as frozen:
            await grain.fail("frozen, caused", False)
        assert (frozen.value.sku, repr(frozen.value.__cause__)) == ("x", "OutOfStock2(sku='y')")
        with pytest.raises(OutOfStock) as frozen:
            await grain.fail("frozen, noted", True)
        assert frozen.value.__notes__[0] == "note"
        with pytest.raises(Unchangeable):
            await first(grain.stream("unchangeable"))
        with pytest.raises(Empty):
            await grain.fail("empty", True)
        with pytest.raises(inaho.InahoError):
            await grain.fail("frozen, of ours", False)
        for name in ("made once", "made once, exiting", "made of something else"):
            with pytest.raises(RemoteError):
                await grain.fail(name, False)


async def test_a_frozen_exception_leaves_a_deadline(places):
    for cluster in places:
        with pytest.raises(OutOfStock), inaho.deadline(5):
            await cluster.grain(Raising, "a").fail("frozen", False)


async def test_a_caller_that_handles_an_error_is_the_context_of_the_next(places):
    for cluster in places:
        try:
            raise KeyError("the caller's")
        except KeyError as handled:
            with pytest.raises(ValueError, match="second") as found:
                await cluster.grain(Raising, "a").fail("in a context", False)
            assert found.value.__context__ is handled


# Context.

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


class Context(Grain):
    def __init__(self) -> None:
        self.at_start = seen.get()

    async def look(self) -> list[str]:
        before = seen.get()
        seen.set("grain")
        return [self.at_start, before]

    async def items(self) -> AsyncIterator[str]:
        yield seen.get()

    async def outer(self, key: str) -> list[str]:
        seen.set("outer")
        return await self.cluster.grain(Context, key).look()


async def test_a_grain_does_not_see_the_variables_of_its_caller(places):
    seen.set("caller")
    for number, cluster in enumerate(places):
        grain = cluster.grain(Context, f"k{number}")
        assert await grain.look() == ["nothing", "nothing"]
        assert await grain.look() == ["nothing", "nothing"]
        assert await first(grain.items()) == ["nothing"]
        assert await grain.outer(f"other{number}") == ["nothing", "nothing"]
        assert await grain.outer(f"other{number}") == ["nothing", "nothing"]
    assert seen.get() == "caller"
