"""Kubernetes as a provider: the members are the pods of a label, and each pod registers in its own annotation.

An annotation does not expire. The life of the pod is the life of the registration: a pod that is deleted, or has
ended, is not listed any more, and a container that starts again overwrites the annotation. Who is registered is known
by the uid of the pod and the node id, never by the IP address.

A list gives the pods and a version; a watch from that version keeps them up to date, so a change costs no further
list. Between the events of a watch another request shows every few seconds that the server answers: a watch of a
server that is stopped is as quiet as one without changes.

The record is a ConfigMap, and `resourceVersion` is the precondition of its updates. Why not a Lease: it has no field
for a text, and needs one permission more than clusters usually grant.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import msgspec

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderStreamFailed
from inaho.providers.base import ProviderRead
from inaho.providers.entries import decode_record, encode
from inaho.providers.http_answers import HttpAnswer
from inaho.providers.kubernetes_api import GUIDE, SERVICE_ACCOUNT, KubernetesApi, KubernetesStatus
from inaho.providers.kubernetes_pods import MEMBER, Metadata, Pod, PodEvent, PodList, Pods
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TLS_OPTIONS

__all__ = ["KubernetesProvider"]

READ_PERIOD_S: Final = 30.0
PING_S: Final = 5.0
"""A watch asks the server for a sign of life if no request was answered for this long."""
WATCH_S: Final = 120
"""A watch is begun again after this time, in case its connection is dead and nobody has said so."""
GATHER_S: Final = 0.05
"""Changes that follow each other this soon are one read."""
PAGE: Final = 500
PAGES_MAX: Final = 200
ATTEMPTS: Final = 5
OPTIONS: Final = ("selector", "pod", "record", "tls", *TLS_OPTIONS)
SECRETS: Final = ("token",)
RECORD_KEY: Final = "record"

_ACCEPT: Final = "application/json;as={};g=meta.k8s.io;v=v1,application/json"
_LIST: Final = {"Accept": _ACCEPT.format("PartialObjectMetadataList")}
_WATCH: Final = {"Accept": _ACCEPT.format("PartialObjectMetadata")}
_PATCH: Final = {**_WATCH, "Content-Type": "application/merge-patch+json"}
_ALIVE: Final = "status.phase!=Failed,status.phase!=Succeeded"
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

_event: Final = msgspec.json.Decoder(PodEvent).decode
_status: Final = msgspec.json.Decoder(KubernetesStatus).decode
_pod: Final = msgspec.json.Decoder(Pod).decode


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: Metadata
    data: dict[str, str] | None = None


class KubernetesProvider:
    """Pods of one label in one namespace. See the module.

    `kubernetes:///` takes the server, the token and the namespace that Kubernetes gives each pod;
    `kubernetes://host:port/namespace` names them.

    Args:
        setup: with the options of `OPTIONS` and the secret `token`.
        service_account: the folder with the token, the certificates and the namespace of this pod.

    Raises:
        ProviderInvalid: an option is unknown or wrong, or the URL names no server and this process is in no pod.
    """

    capabilities = Capabilities(watch=True, register=True, record=True, details=True, read_period_s=READ_PERIOD_S)

    def __init__(self, setup: ProviderSetup, service_account: Path = SERVICE_ACCOUNT) -> None:
        self.name = setup.name
        self._who = f"provider {setup.name}"
        self._api = api = KubernetesApi(setup, service_account)
        options = setup.url.options
        for kind, given, known in (("option", options, OPTIONS), ("secret", setup.secrets.names, SECRETS)):
            unknown = sorted(set(given) - set(known))
            if unknown:
                raise api.invalid(f"unknown {kind} {', '.join(unknown)}; known are {', '.join(known)}")
        self._cluster = setup.cluster
        self._selector = options.get("selector") or self._default_selector()
        self._pod = options.get("pod") or os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or ""
        self._record = api.checked(options.get("record") or f"inaho-{setup.cluster}", "ConfigMap", "the option record")
        self._uid = ""  # of the pod of this process, once it has registered
        self._node_id = ""  # that this process has registered
        self._listed = Pods(self._who, "")
        self._changes = 0  # that a watch has seen

    # The pods.

    async def read(self) -> ProviderRead:
        for _ in range(ATTEMPTS):
            changes = self._changes
            self._listed = await self._list()
            if self._changes == changes:  # else a watch may have said something newer meanwhile
                break
        return self._listed.read()

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        if self._listed.position == position:
            pods = self._listed.copy()
        else:
            pods = await self._list()
            yield pods.read()
        loop = asyncio.get_running_loop()
        end = loop.time() + WATCH_S + PING_S
        query = self._query() | {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S)}
        query["resourceVersion"] = pods.position
        async with self._api.watch(self._api.path("pods"), query, _WATCH) as lines:
            while loop.time() < end and not lines.ended:
                line = await lines.next(PING_S)
                began = loop.time()
                changed = line is None
                if changed and not lines.ended:
                    await self._ping()
                while line is not None:
                    changed |= self._apply(pods, line)
                    line = await lines.next(began + GATHER_S - loop.time()) if changed else None
                if changed:
                    yield pods.read()

    def _apply(self, pods: Pods, line: bytes) -> bool:
        """Applies an event of a watch. Returns whether the stream is to be told."""
        try:
            event = _event(line)
            if event.type == "ERROR":
                status = _status(event.object)
                raise ProviderStreamFailed(f"{self._who}: the watch failed: {status.code} {status.message}")
            pod: Metadata = _pod(event.object).metadata
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderStreamFailed(f"{self._who}: an event of the watch cannot be read: {error}") from error
        if event.type == "BOOKMARK":
            pods.position = pod.resource_version
            return True
        changed = pods.remove(pod) if event.type == "DELETED" else pods.put(pod)
        self._changes += changed
        return changed

    async def _ping(self) -> None:
        """Asks for a sign of life, unless another request has just been answered."""
        if asyncio.get_running_loop().time() - self._api.answered_at >= PING_S:
            await self._api.request("GET", self._api.path("configmaps", self._record), accept=(404,))

    async def _list(self) -> Pods:
        """All pods, in pages of one version. Pages that have expired are asked for again as one."""
        found: list[Metadata] = []
        query = self._query() | {"limit": str(PAGE)}
        for _ in range(PAGES_MAX):
            expiry = (410,) if "continue" in query else ()
            answer = await self._api.request("GET", self._api.path("pods"), query=query, headers=_LIST, accept=expiry)
            if answer.status in expiry:
                found, query = [], self._query()
                continue
            if answer.status != 200:
                raise answer.unexpected("the pods cannot be listed")
            page = answer.decode(PodList)
            found.extend(item.metadata for item in page.items)
            if not page.metadata.next_page:
                return Pods(self._who, page.metadata.resource_version, found)
            query["continue"] = page.metadata.next_page
        raise InvalidSnapshot(f"{self._who}: more than {PAGES_MAX * PAGE} pods have the labels {self._selector}")

    # The registration.

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """Writes the annotation of this pod, which stays until the pod is gone, whatever `ttl_s` is."""
        pod = await self._own_pod()
        if pod is None:
            raise self._api.invalid(
                f"the namespace {self._api.namespace} has no running pod {self._pod or '(name not known)'} with the "
                f"labels {self._selector}; label the pod, and give its name in the variable POD_NAME or the option pod"
            )
        if self._uid not in ("", pod.uid):
            raise ProviderStreamFailed(
                f"{self._who}: the pod of this process was deleted, and another pod has its name {self._pod}"
            )
        self._node_id = member.node_id
        answer = await self._annotate(pod.uid, encode(member))
        if answer.status != 200:
            raise answer.unexpected(f"the pod {self._pod} cannot be annotated")
        self._uid = pod.uid

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """Whether the annotation of this pod is still that of this process; nothing is written."""
        pod = await self._own_pod()
        return pod is not None and pod.is_of(member.node_id)

    async def deregister(self) -> None:
        for _ in range(ATTEMPTS):
            pod = await self._own_pod()
            if pod is None or not self._node_id or not pod.is_of(self._node_id):
                return
            answer = await self._annotate(pod.uid, None, pod.resource_version)
            if answer.status in (200, 404):
                return
        raise ProviderStreamFailed(f"{self._who}: the pod {self._pod} changes too often, its annotation stays")

    async def _own_pod(self) -> Metadata | None:
        """The pod of this process as a list with the labels has it, so one without them is not found either."""
        if not self._pod:
            return None
        query = self._query(f"{_ALIVE},metadata.name={self._pod}")
        answer = await self._api.request("GET", self._api.path("pods"), query=query, headers=_LIST)
        found = answer.decode(PodList).items
        return found[0].metadata if found else None

    async def _annotate(self, uid: str, text: str | None, version: str = "") -> HttpAnswer:
        """Writes or removes the annotation, if the pod is still that one and, where it is given, of that version."""
        metadata: dict[str, object] = {"uid": uid, "annotations": {MEMBER: text}}
        if version:
            metadata["resourceVersion"] = version
        path, patch = self._api.path("pods", self._pod), {"metadata": metadata}
        return await self._api.request("PATCH", path, body=patch, headers=_PATCH, accept=(404, 409, 422))

    # The record.

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        answer = await self._api.request("GET", self._api.path("configmaps", self._record), accept=(404,))
        if answer.status == 404:
            return None, ""
        found = answer.decode(_ConfigMap)
        where = f"{RECORD_KEY} of the ConfigMap {self._api.namespace}/{self._record}"
        return decode_record((found.data or {}).get(RECORD_KEY, ""), where), found.metadata.resource_version

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        metadata = {"name": self._record, **({"resourceVersion": token} if token else {})}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {RECORD_KEY: encode(record)}}
        if token:
            path = self._api.path("configmaps", self._record)
            answer = await self._api.request("PUT", path, body=body, accept=(404, 409))
        else:
            answer = await self._api.request("POST", self._api.path("configmaps"), body=body, accept=(409,))
        if answer.status in (200, 201):
            return True
        if answer.status in (404, 409):
            return False
        raise answer.unexpected(f"the ConfigMap {self._record} cannot be written")

    # The connection.

    async def check(self) -> None:
        """Lists, and reviews one's permissions; those to write only where this process is in a pod with the labels."""
        own = await self._own_pod()
        wanted = [("list", "pods", ""), ("watch", "pods", ""), ("get", "configmaps", self._record)]
        if own is not None:
            wanted += [("patch", "pods", self._pod), ("create", "configmaps", "")]
            wanted += [("update", "configmaps", self._record)]
        allowed = await asyncio.gather(*(self._api.may(*each) for each in wanted))
        lacking = [f"{verb} {kind}" for (verb, kind, _), may in zip(wanted, allowed, strict=True) if not may]
        if lacking:
            raise self._api.invalid(f"may not {', '.join(lacking)} in the namespace {self._api.namespace}; {GUIDE}")

    async def close(self) -> None:
        await self._api.close()

    def _query(self, fields: str = _ALIVE) -> dict[str, str]:
        return {"labelSelector": self._selector, "fieldSelector": fields}

    def _default_selector(self) -> str:
        if not _LABEL_VALUE.fullmatch(self._cluster):
            raise self._api.invalid(
                f"the name of the cluster, {self._cluster!r}, is no value of a label: give the option selector"
            )
        return f"app.kubernetes.io/name={self._cluster}"
