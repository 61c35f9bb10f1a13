"""Checks the definition of a provider, and takes its URL apart.

The URL says all: `etcd://10.0.0.9:2379/shop?ttl_s=15`. The scheme names the back end; then come its servers, the prefix
of this cluster, options. Secrets are not in it: they are references to the environment or to a file, so a definition
can be written to a file and shown to people (SPEC PR-1.5).

`problems` names all that is wrong at once, not only the first mistake (SPEC PR-1.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from inaho.config import ProviderDescriptor
from inaho.errors import ProviderInvalid

__all__ = ["Capabilities", "ProviderUrl", "parse_url", "problems"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_SECRET_OPTIONS: Final = ("password", "passwd", "secret", "token")

URL_CHARACTERS_MAX: Final = 4096


class Capabilities(msgspec.Struct, frozen=True):
    """What a back end can do.

    Attributes:
        watch: it says when something changes; otherwise it is read periodically.
        register: members write themselves into it.
        record: it keeps a record that changes by compare-and-set, so a cluster is founded by it and never twice.
        details: its entries have node ids, kinds and weights, so it can be the membership.
        read_period_s: how often it is read; 0 takes `provisioning.read_period_s`. For a back end without a watch.
    """

    watch: bool = False
    register: bool = False
    record: bool = False
    details: bool = False
    read_period_s: float = 0.0


class ProviderUrl(msgspec.Struct, frozen=True):
    """The parts of the URL of a provider.

    Attributes:
        scheme: the back end, such as `dns+srv`.
        servers: `host:port` or `host` of each server; empty if there is none.
        path: the prefix, without slashes at its ends.
        options: after the question mark.
    """

    scheme: str
    servers: tuple[str, ...]
    path: str
    options: Mapping[str, str]


def parse_url(url: str) -> ProviderUrl:
    """Takes the URL of a provider apart.

    Raises:
        ProviderInvalid: it has no scheme, contains a user or a password, or an option twice. The reason never has the
            URL itself, which may contain a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ProviderInvalid("the URL has no scheme; write for example etcd://127.0.0.1:2379/shop")
    if "@" in rest:  # anywhere: a password that contains a slash would look like a path
        raise ProviderInvalid("the URL contains a user or a password; give them as secrets of the provider")
    if "#" in rest or not rest.isprintable() or len(url) > URL_CHARACTERS_MAX:
        raise ProviderInvalid(
            f"the URL must be at most {URL_CHARACTERS_MAX} printable characters without '#'; write %23 for one"
        )
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError as error:
        raise ProviderInvalid(f"the URL cannot be read: {error}") from error
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _SECRET_OPTIONS:
            raise ProviderInvalid(f"the URL contains a {name}; give it as a secret of the provider")
        if name in options:
            raise ProviderInvalid(f"the URL has the option {name} twice")
        options[name] = value
    servers = tuple(server.strip() for server in parts.netloc.split(",") if server.strip())
    return ProviderUrl(scheme, servers, unquote(parts.path).strip("/"), options)


def problems(descriptor: ProviderDescriptor) -> tuple[str, ...]:
    """What is wrong with a definition, one sentence each, whatever its back end is; empty if nothing is."""
    found: list[str] = []
    if not descriptor.name:
        found.append("name is missing")
    elif not _NAME.fullmatch(descriptor.name):
        found.append(f"name {descriptor.name!r} must be 1 to 64 letters, digits, '-', '_' or '.', and begin with one")
    if not descriptor.url:
        found.append("url is missing")
    else:
        try:
            parse_url(descriptor.url)
        except ProviderInvalid as error:
            found.append(f"url: {error.reason}")
    for name, reference in sorted(descriptor.secrets.items()):
        if bool(reference.env) == bool(reference.file):
            found.append(f"secrets.{name}: give either env or file")
    return tuple(found)
