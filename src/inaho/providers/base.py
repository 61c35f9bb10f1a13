"""The protocol of a provider: what each back end offers to the stream that watches it.

A provider only sends requests to one back end and returns what it finds. `ProviderStream` does what is the same for all
of them: when to read, what a silent watch means, when to register again, how long to wait after a failure. So a
provider of your own needs few methods.

All methods may be called at the same time, and raise only errors of `inaho.errors.ProviderError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember

__all__ = ["Capabilities", "ClusterRecord", "ProviderMember", "ProviderRead", "TopologyProvider"]


class ProviderRead(msgspec.Struct, frozen=True):
    """The result of a full read.

    Attributes:
        members: all entries, in any order.
        blocked_nodes: authorities that are blocked.
        position: where a watch goes on from here; opaque, empty where there is no watch.
    """

    members: tuple[ProviderMember, ...]
    blocked_nodes: tuple[str, ...] = ()
    position: str = ""


class TopologyProvider(Protocol):
    """One back end (SPEC PR-1 to PR-4). See the module.

    Attributes:
        name: unique among the providers of a node; up to 64 letters, digits, `-`, `_` and `.`.
        capabilities: what it can do. Methods that need another capability are not called, and need not be there.
    """

    name: str
    capabilities: Capabilities

    async def check(self) -> None:
        """Reaches the back end once, with the credentials and permissions that the other methods need.

        Raises:
            ProviderUnreachable: it cannot be reached (`connectivity`).
            ProviderInvalid: it refuses the credentials, lacks a permission, or is not what the URL says (`validation`).
        """
        ...

    async def read(self) -> ProviderRead:
        """All entries of this cluster. Raises `ProviderError`."""
        ...

    def watch(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        """Changes since `position`, until it fails or is closed (`watch`).

        Yields a read where the back end sends the entries; None where something has changed and must be read, or where
        the back end says that nothing has changed. It may end at any time: the stream reads again and watches on.
        """
        ...

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """Writes the entry of this node, which lasts `ttl_s` seconds (`register`).

        It replaces an entry of its authority: that of a former process, or its own.
        """
        ...

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """Makes the entry of this node last `ttl_s` seconds from now (`register`).

        Returns:
            False if there is no such entry, or another process has written it since: nothing was changed.
        """
        ...

    async def deregister(self) -> None:
        """Removes the entry of this node; nothing happens if there is none (`register`)."""
        ...

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """The record of the cluster, and a token that names its version; an empty token if there is none (`record`)."""
        ...

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """Writes the record if its version is still that of the token. Returns whether it did (`record`)."""
        ...

    async def close(self) -> None:
        """Ends connections. The entry of this node stays until `ttl_s` is over unless `deregister` was called."""
        ...
