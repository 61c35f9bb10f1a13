"""Checks what the definition of a provider says to a back end with servers, options and secrets of its own names.

A name that the back end does not know is a mistake of who wrote it, and nothing else would show it: if an option
`tsl=true` were ignored, the connection would be without TLS.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from inaho.errors import ProviderInvalid
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TlsFiles

__all__ = ["check_names", "servers_of", "tls_context"]

_PORT_MAX: Final = 65_535


def check_names(setup: ProviderSetup, options: Collection[str], secrets: Collection[str]) -> None:
    """Refuses options of the URL and secrets that the back end does not know.

    Raises:
        ProviderInvalid: it names the unknown ones, and those that are known.
    """
    for what, given, known in (
        ("option", sorted(setup.url.options), options),
        ("secret", setup.secrets.names, secrets),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ProviderInvalid(
                f"provider {setup.name}: unknown {what} {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )


def servers_of(setup: ProviderSetup, port: int) -> tuple[tuple[str, int], ...]:
    """Host and port of each server of the URL; `port` is the one of a server that names none.

    Raises:
        ProviderInvalid: a server cannot be read.
    """
    found: list[tuple[str, int]] = []
    for server in setup.url.servers:
        try:
            parts = urlsplit(f"//{server}")
            address = (parts.hostname or "", port if parts.port is None else parts.port)
        except ValueError:
            address = ("", 0)
        if not address[0] or not 0 < address[1] <= _PORT_MAX:
            raise ProviderInvalid(f"provider {setup.name}: {server!r} is no server; write host or host:port")
        found.append(address)
    return tuple(found)


def tls_context(setup: ProviderSetup) -> ssl.SSLContext:
    """What the options of TLS say. Raises `ProviderInvalid` that names a file that cannot be read."""
    try:
        return TlsFiles.of(setup).context()
    except ProviderInvalid as error:
        raise ProviderInvalid(f"provider {setup.name}: {error.reason}") from error
