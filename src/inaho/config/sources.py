"""Reads settings from files, the environment and arguments, and merges them into one checked `ClusterConfig`.

Later sources win: the profile's defaults, a TOML file, `INAHO_*` variables, arguments. Every source is first turned
into the same shape, a list of `Setting`s (path, value, where it came from), and only then checked and merged. So
there is one place that knows the names and types, and an error can always say which key of which source is wrong and
what was written there.

Why not decode each source straight into the groups with msgspec: it stops at the first unknown field without a
suggestion, cannot tell the user which of four sources the value came from, and half a group is not a group.

Forms of a key: `rpc.timeout_s` is `timeout_s` under `[rpc]` in TOML, `INAHO_RPC__TIMEOUT_S` in the environment and
`{"rpc": {"timeout_s": ...}}` as an argument. Besides the settings themselves:

- `profile` (`local`, `lan` or `wan`) chooses the defaults.
- `INAHO_CONFIG` names the TOML file when no file is given.
- `INAHO_SECRET_FILE` names a file that holds the secret.
- `INAHO_PROVIDERS` has the URLs of providers, separated by commas or white space.
- `INAHO_STORAGE` names the storage for `inaho up`, as its option `--storage` does, and is not read here.
- `INAHO_TEST_*` belongs to test runs and is not read.
"""

from __future__ import annotations

import difflib
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from inaho.config.base import Group
from inaho.config.cluster import ClusterConfig
from inaho.config.profiles import PROFILES, lan, local, wan
from inaho.config.provider_definitions import read_definitions, split_urls
from inaho.errors import InvalidConfig

__all__ = ["PROFILES", "lan", "load_config", "local", "wan"]

_PREFIX: Final = "INAHO_"
_IGNORED_PREFIX: Final = "INAHO_TEST_"
_OTHERS: Final = ("INAHO_CONFIG", "INAHO_STORAGE")
"""Variables that are no settings. `INAHO_STORAGE` is for the command line, which makes the storage."""
_SHOWN_MAX: Final = 80
"""Characters of a wrong value that an error shows."""


class Setting(msgspec.Struct, frozen=True):
    """One value as a source gave it.

    Attributes:
        path: names from the root, e.g. `("rpc", "timeout_s")`.
        value: as written: text in the environment, typed in TOML and arguments.
        key: the path as that source spells it, for messages.
        source: what the user has to open to correct it.
        folder: where relative paths of the source start; empty for the working directory.
        text: whether `value` is text that still has to become a number, a flag or a list.
    """

    path: tuple[str, ...]
    value: Any
    key: str
    source: str
    folder: str = ""
    text: bool = False

    def error(self, what: str) -> InvalidConfig:
        """An error that names key and source."""
        return self.error_of("", what)

    def error_of(self, part: str, what: str) -> InvalidConfig:
        """An error about a part of the setting, or about all of it if `part` is empty."""
        return InvalidConfig(f"{f'{part} ({self.key})' if part else self.key} in {self.source} {what}")


Typed: TypeAlias = Mapping[tuple[str, ...], tuple[Any, Setting]]
"""Values of the right type by path, each with the setting that it comes from."""


def load_config(
    *, file: Path | None = None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> ClusterConfig:
    """Reads all sources and returns the merged configuration.

    Args:
        file: TOML file; its relative paths of secret files start at its folder. None takes the one that
            `INAHO_CONFIG` names, if any.
        environ: usually `os.environ`. Lists are separated by commas; only names with `INAHO_` are read.
        overrides: arguments, nested like the file; a whole group (`RpcConfig(...)`) is fine too. None leaves a
            setting as the earlier sources have it.

    Returns:
        The merged and checked configuration. The secret is in it as text, its references resolved.

    Raises:
        InvalidConfig: a key is unknown (with the nearest name), a value has the wrong type or is out of range, a
            file cannot be read, or a secret's reference leads nowhere. Key, source and value are named.
    """
    if file is None and environ.get("INAHO_CONFIG"):
        file = Path(environ["INAHO_CONFIG"])
    settings: list[Setting] = []
    if file is not None:
        settings += _from_file(file)
    settings += _from_environ(environ)
    settings += _flatten(overrides, (), "arguments")
    merged: dict[tuple[str, ...], Setting] = {}
    for setting in settings:
        merged[setting.path] = setting
    base = _profile(merged.pop(("profile",), None))
    typed = {path: (_typed(setting, environ), setting) for path, setting in merged.items()}
    return typing.cast("ClusterConfig", _build(ClusterConfig, base, (), typed))


def _from_file(file: Path) -> list[Setting]:
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig(f"configuration file {file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"configuration file {file} is not valid TOML: {error}") from error
    return list(_flatten(content, (), f"file {file}", str(file.parent)))


def _from_environ(environ: Mapping[str, str]) -> Iterator[Setting]:
    if "INAHO_SECRET" in environ and "INAHO_SECRET_FILE" in environ:
        raise InvalidConfig("INAHO_SECRET and INAHO_SECRET_FILE are both set in the environment; keep one of them")
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name.startswith(_IGNORED_PREFIX) or name in _OTHERS:
            continue
        value: object = environ[name]
        path = tuple(part.lower() for part in name.removeprefix(_PREFIX).split("__"))
        text = True
        if path == ("secret_file",):
            path, value, text = ("secret",), {"file": environ[name]}, False
        setting = Setting(path, value, name, "the environment", text=text)
        _require_known(setting)
        yield setting


def _flatten(content: Mapping[str, Any], prefix: tuple[str, ...], source: str, folder: str = "") -> Iterator[Setting]:
    for name, value in content.items():
        path = (*prefix, name)
        setting = Setting(path, value, ".".join(path), source, folder)
        if value is None:
            continue
        table = bool(value) and path != ("profile",) and _field_type(path) is None
        if isinstance(value, Group):
            value = msgspec.structs.asdict(value)
        if isinstance(value, Mapping) and (table or _group_of(path) is not None):
            yield from _flatten(typing.cast("Mapping[str, Any]", value), path, source, folder)
        else:
            _require_known(setting)
            yield setting


def _profile(setting: Setting | None) -> ClusterConfig:
    if setting is None:
        return lan()
    make = PROFILES.get(setting.value) if isinstance(setting.value, str) else None
    if make is None:
        raise setting.error(f"must be one of {', '.join(PROFILES)}, not {_shown(setting)}")
    return make()


# Names and types, read from the groups themselves.


def _fields(group: type[Group]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(group)}


def _as_group(kind: Any) -> type[Group] | None:
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return next((member for member in members if isinstance(member, type) and issubclass(member, Group)), None)


def _group_of(path: Sequence[str]) -> type[Group] | None:
    """The group at `path`; None for a single setting and for what does not exist."""
    group: type[Group] | None = ClusterConfig
    for name in path:
        group = _as_group(_fields(group).get(name)) if group is not None else None
    return group


def _field_type(path: Sequence[str]) -> Any:
    """The type of the setting at `path`; None when there is none."""
    parent = _group_of(path[:-1])
    return _fields(parent).get(path[-1]) if parent is not None else None


def _all_paths(group: type[Group] = ClusterConfig, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, kind in _fields(group).items():
        nested = _as_group(kind)
        if nested is None:
            yield (*prefix, name)
        else:
            yield from _all_paths(nested, (*prefix, name))
    if not prefix:
        yield ("profile",)


def _require_known(setting: Setting) -> None:
    path = setting.path
    if path == ("profile",) or (_field_type(path) is not None and _group_of(path) is None):
        return
    in_environment = setting.key.startswith(_PREFIX)
    if _group_of(path) is not None:
        example = (*path, next(iter(_fields(_group_of(path) or ClusterConfig))))
        raise setting.error(f"is a group of settings; set one of them, e.g. {_spelled(example, in_environment)}")
    nearest = _nearest(path)
    hint = f"; did you mean {_spelled(nearest, in_environment)}?" if nearest else ""
    raise setting.error(f"is not a setting{hint}")


def _nearest(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The known path that the person probably meant: the same name in another group, else the closest spelling."""
    known = list(_all_paths())
    same_name = [candidate for candidate in known if candidate[-1] == path[-1]]
    if len(same_name) == 1:
        return same_name[0]
    by_text = {".".join(candidate): candidate for candidate in same_name or known}
    close = difflib.get_close_matches(".".join(path), by_text, n=1, cutoff=0.6)
    if not close and len(path) == 1:
        by_text = {candidate[-1]: candidate for candidate in known}
        close = difflib.get_close_matches(path[-1], by_text, n=1, cutoff=0.75)
    return by_text[close[0]] if close else None


def _spelled(path: Sequence[str], in_environment: bool) -> str:
    return _PREFIX + "__".join(path).upper() if in_environment else ".".join(path)


# Values.


def _typed(setting: Setting, environ: Mapping[str, str]) -> Any:
    if setting.path == ("secret",):
        return _secret(setting, environ)
    if setting.path == ("providers",):
        given = split_urls(setting.value) if setting.text else setting.value
        return read_definitions(given, setting.folder, setting.error_of)
    kind = _field_type(setting.path)
    value = setting.value
    if setting.text and typing.get_origin(kind) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        result = msgspec.convert(value, kind, strict=not setting.text)
    except msgspec.ValidationError as error:
        raise setting.error(f"must be {_type_name(kind)}, not {_shown(setting)}") from error
    if isinstance(result, float) and not math.isfinite(result):
        raise setting.error(f"must be finite, not {_shown(setting)}")
    return result


def _secret(setting: Setting, environ: Mapping[str, str]) -> str:
    """Text as it stands, or what `{ env = "NAME" }` or `{ file = "path" }` refers to."""
    value = setting.value
    if isinstance(value, str):
        return value
    reference = typing.cast("Mapping[str, object]", value) if isinstance(value, Mapping) else dict[str, object]()
    form, target = next(iter(reference.items()), ("", None))
    if len(reference) != 1 or not isinstance(target, str):
        raise setting.error('must be text, { env = "NAME" } or { file = "path" }')
    if form == "env":
        if not environ.get(target):
            raise setting.error(f"refers to the variable {target}, which is not set or empty")
        return environ[target]
    if form != "file":
        raise setting.error(f"has a reference of unknown form {form!r}; use env or file")
    path = Path(setting.folder, target)
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise setting.error(f"refers to {path}, which cannot be read: {error}") from error
    if not secret:
        raise setting.error(f"refers to {path}, which is empty")
    return secret


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return "a list of texts"
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "a flag (true or false)"}[kind]


def _shown(setting: Setting) -> str:
    if setting.path in (("secret",), ("providers",)):  # a URL may contain a password, although it must not
        return "***"
    text = repr(setting.value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


# Building, inside out.


def _build(group: type[Group], base: Group | None, prefix: tuple[str, ...], typed: Typed) -> Group:
    changes: dict[str, Any] = {}
    given: list[Setting] = []
    for name, kind in _fields(group).items():
        path = (*prefix, name)
        nested = _as_group(kind)
        if nested is None and path in typed:
            changes[name], setting = typed[path]
            given.append(setting)
        elif nested is not None and any(other[: len(path)] == path for other in typed):
            changes[name] = _build(nested, getattr(base, name, None), path, typed)
    if base is None:
        _require_complete(group, prefix, given)
    try:
        return base.replace(**changes) if base is not None else group(**changes)
    except InvalidConfig as error:
        written = "; ".join(f"{setting.key} = {_shown(setting)} in {setting.source}" for setting in given)
        raise InvalidConfig(f"{error.reason} ({written})" if written else error.reason) from error


def _require_complete(group: type[Group], prefix: tuple[str, ...], given: Sequence[Setting]) -> None:
    names = {setting.path[-1] for setting in given}
    missing = [field.name for field in msgspec.structs.fields(group) if field.required and field.name not in names]
    if missing:
        where = ", ".join(f"{setting.key} in {setting.source}" for setting in given)
        wanted = ", ".join(".".join((*prefix, name)) for name in missing)
        raise InvalidConfig(f"{wanted} must be set too, because the group has {where}")
