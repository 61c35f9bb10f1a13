"""Reads definitions of providers as a source of settings has them: URLs, or tables as `[[providers]]` in TOML.

A mistake in the form is named here, with the key and the source: an unknown key, a wrong type, a secret as text, a URL
without a scheme or with a password, a name twice. The rest of a URL is checked by its back end.

Why not `msgspec.convert` for a whole table: its errors show what was written, and that may be a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from inaho.config.provisioning import ProviderDescriptor, SecretReference, with_names
from inaho.errors import InvalidConfig

__all__ = ["read_definitions", "split_urls"]

_BETWEEN_URLS: Final = re.compile(r"[\s,]+(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_KEYS: Final = ("name", "url", "priority", "secrets")

Refusal = Callable[[str, str], InvalidConfig]
"""Makes the error from a part of the setting, such as `url of provider 2` or empty for the whole, and what is wrong."""


def split_urls(text: str) -> list[str]:
    """The URLs in a text, separated by commas or white space: `etcd://a:1,b:1/shop seeds://c:2` has two.

    A comma before anything but a scheme belongs to the URL, which may have several servers.
    """
    stripped = text.strip(" \t\r\n,")
    return _BETWEEN_URLS.split(stripped) if stripped else []


def read_definitions(value: object, folder: str, refusal: Refusal) -> tuple[ProviderDescriptor, ...]:
    """The definitions, each with a name.

    Args:
        value: a list of URLs, tables or `ProviderDescriptor`s.
        folder: where relative paths of secrets start.
        refusal: see `Refusal`.

    Raises:
        InvalidConfig: made by `refusal`.
    """
    if not isinstance(value, list | tuple):
        raise refusal("", "must be a list of URLs, or of tables with name, url, priority and secrets")
    items = cast("Sequence[object]", value)
    found = tuple(_Entry(number, folder, refusal).read(item) for number, item in enumerate(items, 1))
    named = with_names(found)
    names = [definition.name for definition in named]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise refusal(f"name of provider {number}", f"is {name!r}, as that of provider {names.index(name) + 1}")
    return named


class _Entry:
    """Reads one definition; `number` counts from 1."""

    def __init__(self, number: int, folder: str, refusal: Refusal) -> None:
        self._number = number
        self._folder = folder
        self._refusal = refusal

    def read(self, item: object) -> ProviderDescriptor:
        if isinstance(item, ProviderDescriptor):
            definition = item
        elif isinstance(item, str):
            definition = ProviderDescriptor(url=item)
        elif isinstance(item, Mapping):
            definition = self._table(cast("Mapping[str, object]", item))
        else:
            raise self._error("", "must be a URL or a table")
        if not definition.url:
            raise self._error("url", "is missing")
        if not definition.scheme:
            raise self._error("url", "has no scheme; write for example etcd://127.0.0.1:2379/shop")
        if "@" in definition.url:
            raise self._error("url", 'contains a user or a password; write secrets = { password = { env = "NAME" } }')
        return definition

    def _table(self, table: Mapping[str, object]) -> ProviderDescriptor:
        for key in table:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_KEYS)}"
                raise self._error(key, f"is not a setting{hint}")
        priority = table.get("priority", 0)
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise self._error("priority", f"must be a whole number, not {priority!r:.80}")
        secrets = table.get("secrets", {})
        if not isinstance(secrets, Mapping):
            raise self._error("secrets", "must be a table of references")
        references = {
            str(name): self._reference(str(name), reference)
            for name, reference in cast("Mapping[Any, object]", secrets).items()
        }
        return ProviderDescriptor(
            name=self._text(table, "name"), url=self._text(table, "url"), priority=priority, secrets=references
        )

    def _text(self, table: Mapping[str, object], key: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            raise self._error(key, "must be a text")
        return value

    def _reference(self, name: str, value: object) -> SecretReference:
        if isinstance(value, SecretReference):
            return value
        reference = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else dict[str, object]()
        form, target = next(iter(reference.items()), ("", None))
        if len(reference) != 1 or form not in ("env", "file") or not isinstance(target, str) or not target:
            raise self._error(f"secrets.{name}", 'must be { env = "NAME" } or { file = "path" }, never the secret')
        if form == "env":
            return SecretReference(env=target)
        return SecretReference(file=str(Path(self._folder, target)))

    def _error(self, key: str, what: str) -> InvalidConfig:
        place = f"provider {self._number}"
        return self._refusal(f"{key} of {place}" if key else place, what)
