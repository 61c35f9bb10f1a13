"""What a call ends with, as text that two callers can compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import inaho
from inaho import RemoteError


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


async def differing(near: Any, far: Any, calls: dict[str, Callable[[Any], Any]]) -> dict[str, tuple[str, str]]:
    found = {}
    for name, call in calls.items():
        here, there = await outcome(lambda: call(near)), await outcome(lambda: call(far))  # noqa: B023
        if here != there:
            found[name] = (here, there)
    return found


async def first(stream: Any) -> Any:
    return [item async for item in stream]
