"""Makes a storage from a text, as in `join(storage="redis://localhost")` and `INAHO_STORAGE`.

    memory                                   with the process
    sqlite:path                              a file, for the nodes of one machine
    redis://host:port/number                 rediss:// with TLS, redis+unix:///path of a socket
    redis+cluster://host:port                rediss+cluster:// with TLS
    postgresql://user:password@host/name     as libpq accepts it

Such a text may contain a secret: errors, logs and `repr` show only what `shown` returns.

A module of an optional package is imported only when its scheme is used.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig
from inaho.storage.base import Storage
from inaho.storage.memory import MemoryStorage
from inaho.storage.sqlite import SqliteStorage

__all__ = ["missing_package", "shown", "storage_from_url"]

_SERVERS: Final[dict[str, tuple[str, str]]] = {
    "redis": ("inaho.storage.redis", "RedisStorage"),
    "rediss": ("inaho.storage.redis", "RedisStorage"),
    "redis+unix": ("inaho.storage.redis", "RedisStorage"),
    "redis+cluster": ("inaho.storage.redis", "RedisStorage"),
    "rediss+cluster": ("inaho.storage.redis", "RedisStorage"),
    "postgres": ("inaho.storage.postgres", "PostgresStorage"),
    "postgresql": ("inaho.storage.postgres", "PostgresStorage"),
}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_.-]*")
_BEGINNING: Final = re.compile(rf"\s*({_SCHEME.pattern})\s*([:=])(.*)", re.DOTALL)
_OPTION: Final = re.compile(r"[=\s]")
FORMS: Final = "memory, sqlite:path, redis://host:port, redis+cluster://host:port or postgresql://user@host/name"


def storage_from_url(url: str, config: StorageConfig | None = None) -> Storage:
    """The storage that `url` names, not yet open.

    Args:
        url: see the module.
        config: bounds.

    Raises:
        InvalidConfig: it names no storage, its package is not installed, or a part of it is wrong.
    """
    if url in ("memory", "memory:"):
        return MemoryStorage(config)
    scheme, colon, rest = url.partition(":")
    if scheme == "sqlite" and rest:
        return SqliteStorage(rest, config=config)
    if not colon or scheme not in _SERVERS or not rest.startswith("//"):
        raise InvalidConfig(f"storage {shown(url)!r} is none of {FORMS}")
    module, name = _SERVERS[scheme]
    make: Any = getattr(import_module(module), name)
    storage: Storage = make(url, config=config)
    return storage


def missing_package(package: str, extra: str) -> InvalidConfig:
    """The error for a storage whose client library is not installed."""
    return InvalidConfig(f"the package {package} is not installed: pip install 'inaho[{extra}]'")


def shown(url: str) -> str:
    """`url` for people: without user, password and options, which may hold secrets."""
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return _shown_beginning(url)
    try:
        parts = urlsplit(f"//{rest}")
        host, port, user = parts.hostname or "", parts.port, "@" in parts.netloc
    except ValueError:
        return f"{scheme}://***"
    if "@" in parts.path + parts.query + parts.fragment:  # a password with / ? or # that should be escaped
        return f"{scheme}://***"
    if _OPTION.search(host + parts.path):  # `host password=…`, a mixture of both notations
        return f"{scheme}://***"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{'***@' if user else ''}{host}{'' if port is None else f':{port}'}{parts.path}"


def _shown_beginning(text: str) -> str:
    """Only the first word of a text that is no URL: libpq's `host=db password=…` may be a secret as a whole."""
    if not text or text in ("memory", "sqlite", *_SERVERS):
        return text
    beginning = _BEGINNING.fullmatch(text)
    if beginning is None or "@" in text:
        return "***"
    word, separator, rest = beginning.groups()
    return f"{word}{separator}{'***' if rest else ''}"
