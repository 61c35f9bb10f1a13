"""The back end etcd: registrations bound to leases, the record by transactions, a watch from the revision of a read.

Keys under the prefix of the cluster:

- `members/<authority>`: the registration, bound to a lease. etcd removes it when the lease is not renewed.
- `record`: the record of the cluster, without a lease. Its version is the revision that wrote it last.
- `blocked/<authority>`: an operator blocks that authority.

All reads are linearizable. A list of many entries is read in pages, all at the revision of the first one.

A registration is renewed through the lease that its key has. So a lease that is gone, and a key that another process
has written since, are both noticed, whichever object of this process has registered.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.entries import decode_member, decode_record, encode
from inaho.providers.etcd_gateway import OUT_OF_RANGE, EtcdGateway, EtcdRefused, KeyValue
from inaho.providers.setup import ProviderSetup

__all__ = ["EtcdProvider"]

PAGE: Final = 1000
"""Keys of one request."""

KEYS_MAX: Final = 200_000
"""A prefix with more keys is refused."""

_TRIES: Final = 3


class EtcdProvider:
    """A provider of etcd 3.4 or newer, through its JSON gateway; see the module.

    Args:
        setup: `etcd://host:port,host:port/prefix`, or `etcds://` for TLS with the options `ca`, `cert`, `key`,
            `server_name`; the secrets `username` and `password`.

    Raises:
        ProviderInvalid: an option, a secret or a server is wrong.
    """

    capabilities: Capabilities = Capabilities(watch=True, register=True, record=True, details=True)

    def __init__(self, setup: ProviderSetup) -> None:
        self.name = setup.name
        self._gateway = EtcdGateway(setup)
        self._prefix = f"{setup.prefix}/".encode()
        self._end = f"{setup.prefix}0".encode()  # `0` follows `/`
        self._own: ProviderMember | None = None

    async def check(self) -> None:
        """See `TopologyProvider`. A transaction that writes nothing needs the permissions, and room in etcd."""
        key = self._prefix + b"check"
        await self._gateway.transact(
            {"key": key, "target": "CREATE", "result": "LESS", "create_revision": 0},  # never holds
            {"request_put": {"key": key}},
            {"request_range": {"key": self._prefix, "range_end": self._end, "limit": 1}},
        )

    async def read(self) -> ProviderRead:
        """See `TopologyProvider`."""
        for _ in range(_TRIES):
            try:
                return await self._read_pages()
            except EtcdRefused as error:
                if error.grpc_code != OUT_OF_RANGE:
                    raise
        raise ProviderStreamFailed(f"provider {self.name}: etcd compacts its history faster than it can be read")

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None]:
        """See `TopologyProvider`."""
        if not position.isdecimal():
            raise ProviderStreamFailed(f"provider {self.name}: {position!r} is no revision of etcd")
        async with aclosing(self._gateway.watch(self._prefix, self._end, int(position) + 1)) as changes:
            async for _ in changes:
                yield None

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """See `TopologyProvider`. The lease of the entry before is not revoked: it runs out by itself."""
        lease = await self._gateway.grant(math.ceil(ttl_s))
        self._own = member
        await self._gateway.put(self._key(member), encode(member), lease)

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """See `TopologyProvider`. The entry lasts as long as when it was registered: `ttl_s` is not used."""
        found = await self._find(member)
        return found is not None and await self._gateway.keep_alive(found.lease)

    async def deregister(self) -> None:
        """See `TopologyProvider`."""
        if self._gateway.closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")
        if self._own is None:
            return
        for _ in range(_TRIES):
            found = await self._find(self._own)
            if found is None:
                return
            removed, _ = await self._gateway.transact(
                {"key": found.key, "target": "MOD", "result": "EQUAL", "mod_revision": found.mod_revision},
                {"request_delete_range": {"key": found.key}},
            )
            if removed:
                return
        raise ProviderStreamFailed(f"provider {self.name}: the entry of this node changes while it is removed")

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """See `TopologyProvider`."""
        found = (await self._gateway.range(self._prefix + b"record")).kvs
        if not found:
            return None, ""
        return decode_record(found[0].value, self._described(found[0].key)), str(found[0].mod_revision)

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """See `TopologyProvider`.

        A request whose answer was lost is repeated at the next server, and then finds what it has written itself.
        """
        key, text = self._prefix + b"record", encode(record)
        compare = {"target": "MOD", "mod_revision": token} if token else {"target": "CREATE", "create_revision": 0}
        written, found = await self._gateway.transact(
            {"key": key, "result": "EQUAL", **compare},
            {"request_put": {"key": key, "value": text.encode()}},
            {"request_range": {"key": key}},
        )
        return written or (found is not None and any(each.value == text.encode() for each in found.kvs))

    async def close(self) -> None:
        """See `TopologyProvider`."""
        await self._gateway.close()

    async def _read_pages(self) -> ProviderRead:
        members: list[ProviderMember] = []
        blocked: list[str] = []
        page = await self._gateway.range(self._prefix, self._end, limit=PAGE)
        revision, keys = page.header.revision, 0
        while True:
            keys += len(page.kvs)
            if keys > KEYS_MAX:
                raise InvalidSnapshot(f"provider {self.name}: etcd has more than {KEYS_MAX} keys under the prefix")
            for each in page.kvs:
                room, slash, authority = each.key[len(self._prefix) :].decode(errors="replace").partition("/")
                if slash and room == "members":
                    members.append(self._member(each, authority))
                elif slash and room == "blocked":
                    blocked.append(authority)
            if not page.more or not page.kvs:
                return ProviderRead(tuple(members), tuple(blocked), str(revision))
            page = await self._gateway.range(
                self._prefix, self._end, limit=PAGE, revision=revision, after=page.kvs[-1].key
            )

    def _member(self, entry: KeyValue, authority: str) -> ProviderMember:
        member = decode_member(entry.value, self._described(entry.key))
        if member.authority != authority:
            raise InvalidSnapshot(f"the entry {self._described(entry.key)} is of the authority {member.authority!r}")
        return member

    async def _find(self, member: ProviderMember) -> KeyValue | None:
        """The entry of a member, if its process has written it."""
        found = (await self._gateway.range(self._key(member))).kvs
        if not found:
            return None
        try:
            written = decode_member(found[0].value, self._described(found[0].key))
        except InvalidSnapshot:  # somebody else has written there
            return None
        return found[0] if written.node_id == member.node_id else None

    def _key(self, member: ProviderMember) -> bytes:
        return self._prefix + f"members/{member.authority}".encode()

    def _described(self, key: bytes) -> str:
        return f"{key.decode(errors='replace')} of the provider {self.name} in etcd"
