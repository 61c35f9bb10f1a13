"""Finds grain classes by name: `module:Grain`, `module:list_of_grains`, or `module` for all classes in it.

The working directory is searched first, as `python -m` does, so a file in it is found without an installation. An error
is one sentence with the place in the user's file; a traceback through the import system would be less helpful.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from inaho import Grain
from inaho.errors import InahoError, InvalidConfig
from inaho.errors.inspection import describe

__all__ = ["load_grains"]


def load_grains(targets: Sequence[str]) -> tuple[type[Grain[Any]], ...]:
    """The grain classes that `targets` name, in their order, each once.

    Args:
        targets: `module:Name`, where the name is a grain class or a list or tuple of them (dots go into
            attributes), or `module`, which means every grain class that the module itself defines.

    Raises:
        InvalidConfig: a target does not parse, cannot be imported or names no grain; the reason says which and why.
        InvalidGrain: a class in the module cannot be served.
    """
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found: dict[type[Grain[Any]], None] = {}
    for target in targets:
        found.update(dict.fromkeys(_load(target)))
    return tuple(found)


def _load(target: str) -> Iterable[type[Grain[Any]]]:
    module_name, colon, attribute = target.partition(":")
    if not module_name or (colon and not attribute) or not all(p.isidentifier() for p in module_name.split(".")):
        raise InvalidConfig(f"{target!r} is not of the form module:Grain, module:list or module")
    module = _import(target, module_name)
    if not colon:
        return _defined_in(module)
    value: Any = module
    for name in attribute.split("."):
        value = _attribute(target, value, name)
    listed: Any = value
    classes: list[Any] = [*listed] if isinstance(value, list | tuple) else [value]
    if not classes:
        raise InvalidConfig(f"{target}: the list is empty")
    for cls in classes:
        if not _is_grain(cls):
            raise InvalidConfig(f"{target}: {cls!r} is neither a Grain class nor a list or tuple of them")
    return classes


def _import(target: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except InahoError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            searched = os.getcwd()
            raise InvalidConfig(
                f"{target}: there is no module {missing!r}, neither in {searched} nor among the installed packages"
            ) from error
        raise InvalidConfig(f"{target}: {module_name} needs the module {missing!r}, which is not installed") from error
    except Exception as error:  # the user's module may raise anything while it is imported
        raise InvalidConfig(f"{target}: importing {module_name} failed{_place(error)}: {describe(error)}") from error


def _place(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text has the place
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    return f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _attribute(target: str, value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        grains = [cls.__name__ for cls in _grains(value)]
        near = difflib.get_close_matches(name, grains, n=1) or grains[:1]
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidConfig(f"{target}: {getattr(value, '__name__', value)!r} has no {name!r}{hint}") from None


def _defined_in(module: ModuleType) -> list[type[Grain[Any]]]:
    classes = [cls for cls in _grains(module) if cls.__module__ == module.__name__]
    if not classes:
        raise InvalidConfig(f"{module.__name__} defines no Grain class; name what is to be hosted as module:Grain")
    return classes


def _grains(holder: object) -> list[type[Grain[Any]]]:
    """Grain classes among the public attributes, in the order of the source."""
    return [value for name, value in vars(holder).items() if not name.startswith("_") and _is_grain(value)]


def _is_grain(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Grain) and value is not Grain
