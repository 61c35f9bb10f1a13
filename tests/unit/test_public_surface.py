"""Everything that is exported: it exists, is documented, and importing it costs no more than it must."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import inaho
from inaho import config, errors, events
from inaho.config import Group
from inaho.errors import InahoError, error_from_code

OPTIONAL = {"asyncpg", "fastapi", "httpx", "kubernetes", "nats", "redis", "starlette", "uvicorn"}
"""Packages of extras: the module that is named after one cannot be imported without it."""


SOURCE = Path(inaho.__path__[0])


def module_names() -> Iterator[str]:
    """All modules of the package, by their files, so that one which cannot be imported fails its own test only."""
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def errors_below(kind: type[InahoError]) -> Iterator[type[InahoError]]:
    """`kind` and all its subclasses in the one tree; other modules may refine them under the same code."""
    if kind.__module__.startswith(errors.__name__):
        yield kind
    for child in kind.__subclasses__():
        yield from errors_below(child)


@pytest.mark.parametrize("name", list(module_names()))
def test_a_module_says_what_it_is_for_and_exports_what_it_names(name: str):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert (module.__doc__ or "").strip()
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names))
    for exported in names:
        value = getattr(module, exported)
        ours = (getattr(value, "__module__", None) or "").startswith("inaho")
        if ours and (inspect.isclass(value) or inspect.isroutine(value)):
            assert (inspect.getdoc(value) or "").strip(), f"{exported} has no docstring"


def test_the_package_is_typed():
    assert (SOURCE / "py.typed").is_file()


def test_importing_the_package_leaves_out_what_a_server_does_not_need():
    program = (
        "import sys, inaho; print(sorted({'typer', 'rich', 'pytest', 'hypothesis', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize(
    "names",
    [
        "Timeout Blocked ShuttingDown OwnershipChanged NoSuchKind Unreachable Quarantined Overloaded SchemaMismatch "
        "SerializationFailed Pending",
        "InvalidConfig TopologyUnavailable BridgeCreateFailed StatusStore",
    ],
    ids=["VA-3.a", "BS-1.a"],
)
def test_the_errors_of_the_specification_exist_and_have_codes(names: str):
    kinds = [getattr(errors, name) for name in names.split()]
    assert all(issubclass(kind, InahoError) for kind in kinds)
    assert all(type(error_from_code(kind.code, "why")) is kind for kind in kinds)


def test_error_codes_are_unique_and_stable_text():
    kinds = list(errors_below(InahoError))
    codes = [kind.code for kind in kinds]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z_]+", kind.code) for kind in kinds)
    assert {kind.__name__ for kind in kinds} <= set(errors.__all__)


@pytest.mark.parametrize("kind", list(errors_below(InahoError)))
def test_an_error_crosses_a_process_boundary_by_its_code(kind: type[InahoError]):
    sent = kind("reason", identity="Kind/key", authority="host:1", maybe_executed=True)
    received = error_from_code(
        sent.code,
        sent.reason,
        identity=sent.identity,
        authority=sent.authority,
        maybe_executed=sent.maybe_executed,
    )
    assert type(received) is kind
    assert str(received) == str(sent)
    assert received.maybe_executed


def test_an_error_survives_copying_with_all_that_it_knows():
    sent = errors.Unreachable("reason", authority="host:1", maybe_executed=True)
    received = copy.copy(sent)
    assert (type(received), str(received), received.maybe_executed) == (errors.Unreachable, str(sent), True)


def test_an_error_of_a_grain_survives_copying_with_its_traceback():
    sent = errors.RemoteError(type_name="ValueError", message="no", remote_traceback="Traceback ...")
    assert str(copy.copy(sent)) == str(sent)


@pytest.mark.parametrize("name", inaho.__all__)
def test_what_is_exported_can_be_looked_up(name: str):
    value = getattr(inaho, name)
    pydoc.render_doc(value)
    with contextlib.suppress(ValueError):  # some have no signature; one that names what is unknown is another error
        inspect.signature(value)


def test_events_are_frozen_and_say_when():
    for name in events.__all__:
        kind = getattr(events, name)
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            continue
        assert issubclass(kind, events.Event)
        assert kind.__struct_config__.frozen
        assert {"at", "cause"} <= set(kind.__struct_fields__)


GROUPS = [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, Group)]


@pytest.mark.parametrize("group", [kind for kind in GROUPS if kind is not Group])
def test_every_setting_is_documented(group: type[Group]):
    documentation = inspect.getdoc(group) or ""
    undocumented = [n for n in group.__struct_fields__ if not re.search(rf"(^|[\s,]){n}(,|:)", documentation)]
    assert undocumented == []
    assert group.__name__ in config.__all__
