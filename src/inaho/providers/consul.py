"""The provider of Consul: registrations are keys that belong to sessions.

A node makes a session with a TTL and the behaviour `delete`, and writes its entry with the session as its holder. It
renews the session; when it stops, Consul ends the session and deletes the entry. One read with a prefix gives all
entries, and a blocking query with the prefix waits for a change of them. The record of the cluster is a key without a
session, and is changed by `cas`.

Consul ends a session between its TTL and twice its TTL after the last renewal, and takes no TTL below 10 s. The session
has no health checks: with the default one, it would end when the agent is restarted, and the node still lives.

To replace the entry of a former process, one transaction deletes it and writes the new one. The former session then
holds nothing and runs out. The lock delay is 0: it protects holders of locks, and there is only one writer here.

Why not a service with a TTL check, which Consul is known for: the metadata of a service has 64 pairs of at most 512
characters, and an entry with many kinds does not fit. An expired service is only critical, and is removed after a
minute at the earliest. A service belongs to one agent, and is gone when that agent loses its disk. And services have no
compare-and-set, so the record would need keys anyway.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Final

import msgspec

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.consul_keys import ConsulEntry, ConsulKeys
from inaho.providers.consul_queries import QueryPace, usable_index
from inaho.providers.entries import decode_record, encode
from inaho.providers.http import HttpClient
from inaho.providers.http_answers import HttpAnswer, judge
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TLS_OPTIONS, TlsFiles

__all__ = ["ConsulProvider"]

PORT: Final = 8500
TLS_PORT: Final = 8501
TTL_MIN_S: Final = 10
TTL_MAX_S: Final = 86400
WAIT_S: Final = 40.0
"""A blocking query waits so long, and up to a sixteenth more: below the default of `provisioning.silence_s`."""
WAIT_MAX_S: Final = 60.0
JITTER: Final = 1 / 16
TOKEN: Final = "token"  # noqa: S105  the name of the secret
NEVER_INDEX: Final = 1
"""No key has this index, so `delete-cas` with it deletes nothing."""

_FILTERED: Final = "X-Consul-Results-Filtered-By-ACLs"
_INDEX: Final = "X-Consul-Index"


class _Session(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")


class _Problem(msgspec.Struct, frozen=True, rename="pascal"):
    what: str


class _Refused(msgspec.Struct, frozen=True, rename="pascal"):
    errors: tuple[_Problem, ...] = ()


class ConsulProvider:
    """Members in Consul (SPEC PR-1 to PR-4). See the module and `docs/providers/consul.md`.

    Args:
        setup: the scheme is `consul` or `consuls` (with TLS). Option `wait_s`: how long a blocking query waits, 1 to
            60 s; with TLS also `ca`, `cert`, `key` and `server_name`. Secret `token`: an ACL token.

    Raises:
        ProviderInvalid: an option or a secret is unknown or wrong.
    """

    capabilities: Final = Capabilities(watch=True, register=True, record=True, details=True)

    def __init__(self, setup: ProviderSetup) -> None:
        self.name = setup.name
        self._cluster = setup.cluster
        self._secrets = setup.secrets
        tls = setup.url.scheme == "consuls"
        _refuse_unknown(setup.name, "option", setup.url.options, ("wait_s", *(TLS_OPTIONS if tls else ())))
        _refuse_unknown(setup.name, "secret", setup.secrets.names, (TOKEN,))
        self._wait_s = _wait_s(setup)
        self._keys = ConsulKeys(setup.prefix, setup.name)
        self._http = HttpClient(
            setup, port=TLS_PORT if tls else PORT, tls=TlsFiles.of(setup) if tls else None, judge=_judge
        )
        self._own: ProviderMember | None = None
        self._read_index = 0  # of the last answer to `read`
        self._closed = False

    async def check(self) -> None:
        """Reads all keys and the record, makes a session, and asks for two deletions that delete nothing."""
        await self._tree()
        await self._entry(self._keys.record)
        session = await self._create_session("check of permissions", TTL_MIN_S)
        try:
            keys = (self._keys.member("check:1"), self._keys.record)
            await self._transact(*({"Verb": "delete-cas", "Key": key, "Index": NEVER_INDEX} for key in keys))
        finally:
            await self._destroy_session(session)

    async def read(self) -> ProviderRead:
        entries, index = await self._tree()
        self._read_index = index
        return self._keys.snapshot(entries, str(index))

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None]:
        loop = asyncio.get_running_loop()
        index, pace = usable_index(position), QueryPace(loop.time())
        while True:
            await asyncio.sleep(pace.delay_s(loop.time()))
            began = loop.time()
            entries, found = await self._tree(index)
            if found < index:
                raise ProviderStreamFailed(
                    f"provider {self.name}: Consul's index went back from {index} to {found}: it has lost history; all "
                    "entries are read again"
                )
            early = loop.time() < began + self._wait_s
            pace.answered(for_nothing=early and found == index)
            index = found
            if index < self._read_index:  # a read has overtaken this answer
                yield None
            else:
                yield self._keys.snapshot(entries, str(index))

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        # If the transaction fails the session holds nothing, and ends after its TTL.
        session = await self._create_session(member.authority, ttl_s)
        key = self._keys.member(member.authority)
        value = base64.b64encode(encode(member).encode()).decode()
        refused = await self._transact(
            {"Verb": "delete", "Key": key}, {"Verb": "lock", "Key": key, "Value": value, "Session": session}
        )
        if refused:
            raise ProviderStreamFailed(f"{refused}; the registration is written again after a pause")
        self._own = member

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        entry = await self._own_entry(member)
        if entry is None or not entry.session:
            return False
        return (await self._ask("PUT", f"/v1/session/renew/{entry.session}", accept=(404,))).status == 200

    async def deregister(self) -> None:
        if self._closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")
        entry = await self._own_entry(self._own) if self._own is not None else None
        self._own = None
        if entry is None:
            return
        if entry.session:
            await self._destroy_session(entry.session)
        else:
            await self._ask("DELETE", f"/v1/kv/{entry.key}", {"cas": str(entry.modify_index)})

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        entry = await self._entry(self._keys.record)
        if entry is None:
            return None, ""
        return decode_record(entry.value or b"", entry.key), str(entry.modify_index)

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        answer = await self._ask("PUT", f"/v1/kv/{self._keys.record}", {"cas": token or "0"}, encode(record).encode())
        return answer.decode(bool)

    async def close(self) -> None:
        self._closed = True
        await self._http.close()

    # Keys.

    async def _tree(self, after: int = 0) -> tuple[list[ConsulEntry], int]:
        """All entries and their index: as they are now, or when the index `after` is passed or the time is over."""
        query, wait_s = {"recurse": "", "consistent": ""}, 0.0
        if after:
            query = {"recurse": "", "index": str(after), "wait": f"{self._wait_s:g}s"}
            wait_s = self._wait_s * (1.0 + JITTER)
        answer = await self._ask("GET", f"/v1/kv/{self._keys.all}", query, accept=(404,), wait_s=wait_s)
        if answer.headers.get(_FILTERED, "") == "true":
            raise ProviderInvalid(
                f"{answer.who}: the token does not read all keys below {self._keys.all}; allow it key_prefix "
                f'"{self._keys.all}" with the policy write'
            )
        entries = answer.decode(list[ConsulEntry]) if answer.status == 200 else []
        return entries, usable_index(answer.headers.get(_INDEX, ""))

    async def _entry(self, key: str) -> ConsulEntry | None:
        answer = await self._ask("GET", f"/v1/kv/{key}", {"consistent": ""}, accept=(404,))
        return answer.decode(tuple[ConsulEntry])[0] if answer.status == 200 else None

    async def _own_entry(self, member: ProviderMember) -> ConsulEntry | None:
        """The entry of this process; None if there is none, or another process has written it."""
        entry = await self._entry(self._keys.member(member.authority))
        if entry is None or self._keys.registration(entry).node_id != member.node_id:
            return None
        return entry

    async def _transact(self, *operations: Mapping[str, Any]) -> str:
        """Carries out all operations or none; why none was, empty if they were.

        Consul answers with a conflict also where a permission is missing.
        """
        body = [{"KV": operation} for operation in operations]
        answer = await self._ask("PUT", "/v1/txn", body=body, accept=(409,))
        if answer.status == 200:
            return ""
        problems = "; ".join(error.what for error in answer.decode(_Refused).errors)
        if "ermission denied" in problems:
            raise ProviderInvalid(
                f"{answer.who}: a permission is missing: {problems}; allow the token key_prefix "
                f'"{self._keys.all}" with the policy write'
            )
        return f"{answer.who}: the transaction was refused: {problems}"

    # Sessions.

    async def _create_session(self, what: str, ttl_s: float) -> str:
        body: dict[str, object] = {
            "Name": f"inaho {self._cluster} {what}",
            "TTL": f"{min(max(math.ceil(ttl_s), TTL_MIN_S), TTL_MAX_S)}s",
            "Behavior": "delete",
            "LockDelay": "0s",
            "NodeChecks": [],
            "Checks": [],  # for Consul before 1.7
        }
        return (await self._ask("PUT", "/v1/session/create", body=body)).decode(_Session).id

    async def _destroy_session(self, session: str) -> None:
        await self._ask("PUT", f"/v1/session/destroy/{session}")

    # All.

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: Collection[int] = (),
        wait_s: float = 0.0,
    ) -> HttpAnswer:
        """The answer, with status 200 or one to accept. The token is read for each request, so it may be renewed."""
        try:
            token = self._secrets.read(TOKEN)
        except ProviderInvalid as error:
            raise ProviderInvalid(f"provider {self.name}: {error.reason}") from error
        headers = {"X-Consul-Token": token} if token else {}
        answer = await self._http.request(
            method, path, query=query, body=body, headers=headers, accept=accept, wait_s=wait_s
        )
        if answer.status != 200 and answer.status not in accept:
            raise answer.unexpected(f"{method} {path}")
        return answer


def _judge(answer: HttpAnswer) -> ProviderError | None:
    if answer.status == 403:
        return ProviderInvalid(
            f"{answer.who}: Consul refuses the token (status 403): {answer.text}; give the secret {TOKEN} a token with "
            "the policy in docs/providers/consul.md"
        )
    return judge(answer)


def _refuse_unknown(provider: str, what: str, given: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ProviderInvalid(
            f"provider {provider}: unknown {what} {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )


def _wait_s(setup: ProviderSetup) -> float:
    text = setup.url.options.get("wait_s", "")
    try:
        wait_s = float(text) if text else WAIT_S
    except ValueError:
        wait_s = 0.0
    if not 1.0 <= wait_s <= WAIT_MAX_S:
        raise ProviderInvalid(f"provider {setup.name}: wait_s must be a number from 1 to {WAIT_MAX_S:g}, not {text!r}")
    return wait_s
