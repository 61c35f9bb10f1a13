"""The keys of a cluster in Consul's key-value store, and what is read from them.

    <prefix>/members/<authority>     a registration
    <prefix>/record                  the record of the cluster
    <prefix>/blocked/<authority>     an operator blocks the authority

Keys have commas where an authority has colons, and no brackets: `10.0.0.5,7700`, `fd00,,5,7700`. Consul 1.21.5 refuses
keys with colons, so no version may be asked for one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderInvalid
from inaho.providers.base import ProviderRead
from inaho.providers.entries import decode_member

__all__ = ["ConsulEntry", "ConsulKeys"]

_ALLOWED: Final = re.compile(r"[A-Za-z0-9,_.-]+(/[A-Za-z0-9,_.-]+)*")


class ConsulEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """A key with its value, as Consul shows it.

    Attributes:
        key: the whole key.
        value: decoded from base64; None if it is empty.
        session: that holds the key; empty if none does.
        modify_index: index of its last change.
    """

    key: str
    modify_index: int
    value: bytes | None = None
    session: str = ""


class ConsulKeys:
    """The keys below one prefix.

    Args:
        prefix: without slashes at its ends.
        provider: its name, for the text of errors.

    Attributes:
        all: the prefix of all keys, with its slash.
        record: the key of the record.

    Raises:
        ProviderInvalid: the prefix has characters that Consul refuses.
    """

    def __init__(self, prefix: str, provider: str) -> None:
        if not _ALLOWED.fullmatch(prefix) or ".." in prefix:
            raise ProviderInvalid(
                f"provider {provider}: Consul takes no keys below {prefix!r}; give a path of letters, digits and ,_.- "
                "as in consul://127.0.0.1:8500/inaho/shop"
            )
        self.all = f"{prefix}/"
        self.record = f"{prefix}/record"
        self._members = f"{prefix}/members/"
        self._blocked = f"{prefix}/blocked/"

    def member(self, authority: str) -> str:
        """The key of a registration."""
        return self._members + re.sub(r"[\[\]]", "", authority).replace(":", ",")

    def snapshot(self, entries: Sequence[ConsulEntry], position: str) -> ProviderRead:
        """Members and blocked nodes. Raises `InvalidSnapshot` for a registration that is none.

        Keys that end with a slash are the folders that Consul's UI makes.
        """
        members: list[ProviderMember] = []
        blocked: list[str] = []
        for entry in entries:
            if entry.key.endswith("/"):
                continue
            if entry.key.startswith(self._members):
                members.append(self.registration(entry))
            elif entry.key.startswith(self._blocked):
                blocked.append(_authority(entry.key.removeprefix(self._blocked)))
        return ProviderRead(tuple(members), tuple(blocked), position)

    def registration(self, entry: ConsulEntry) -> ProviderMember:
        """The member that an entry describes. Raises `InvalidSnapshot`."""
        authority = _authority(entry.key.removeprefix(self._members))
        return decode_member(entry.value or b"", f"of {authority} (key {entry.key})")


def _authority(name: str) -> str:
    """The authority that a key names; one with colons is taken as it is."""
    host, comma, port = name.rpartition(",")
    if not comma:
        return name
    host = host.replace(",", ":")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
