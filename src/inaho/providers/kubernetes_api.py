"""Requests to the API server of Kubernetes: where it is, the token, the errors that it answers with.

In a pod Kubernetes says where the server is and puts a token, certificates and the namespace into a folder. The token
is replaced every hour or sooner, so its file is read for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from inaho.errors import ProviderError, ProviderInvalid, ProviderUnreachable
from inaho.providers.http import HttpClient, HttpStream
from inaho.providers.http_answers import HttpAnswer
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TlsFiles

__all__ = ["GUIDE", "SERVICE_ACCOUNT", "KubernetesApi", "KubernetesStatus", "Lines"]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the token, the certificates and the namespace of a pod."""

GUIDE: Final = "docs/providers/kubernetes.md has the Role"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class KubernetesStatus(msgspec.Struct, frozen=True):
    """An error of the API."""

    message: str = ""
    code: int = 0


_status: Final = msgspec.json.Decoder(KubernetesStatus).decode


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus


class KubernetesApi:
    """The API server, for one namespace.

    Args:
        setup: the servers of its URL; none takes those that Kubernetes gives this pod. The path is the namespace.
        service_account: see `SERVICE_ACCOUNT`.

    Attributes:
        namespace: its name.
        answered_at: when a request was answered last, by the clock of the loop.

    Raises:
        ProviderInvalid: the URL names no server, and this process is in no pod; or an option is wrong.
    """

    def __init__(self, setup: ProviderSetup, service_account: Path) -> None:
        self.answered_at = float("-inf")
        self._who = f"provider {setup.name}"
        self._secrets = setup.secrets
        self._in_pod = not setup.url.servers
        self._service_account = service_account
        self._http = HttpClient(self._reached(setup), port=443, tls=self._tls(setup), judge=_judge)
        self.namespace = self.checked(setup.url.path or self._own_namespace(), "namespace", "the path of the URL")

    @contextlib.asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> AsyncGenerator[Lines]:
        """The lines of a watch."""
        sent = self._headers(headers)
        async with (
            self._http.stream("GET", path, query=query, headers=sent) as stream,
            contextlib.aclosing(Lines(stream)) as lines,
        ):
            yield lines

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> HttpAnswer:
        """One request. If the token was replaced just now, it is sent again with the new one."""
        sent = self._headers(headers or {})
        expected = (401, *accept)
        answer = await self._http.request(method, path, query=query, body=body, headers=sent, accept=expected)
        fresh = self._headers(headers or {})
        if answer.status == 401 and fresh != sent:
            answer = await self._http.request(method, path, query=query, body=body, headers=fresh, accept=expected)
        wrong = _judge(answer) if answer.status == 401 else None
        if wrong is not None:
            raise wrong
        self.answered_at = asyncio.get_running_loop().time()
        return answer

    async def may(self, verb: str, resource: str, name: str) -> bool:
        """Whether this process has a permission; the server says so and does nothing."""
        attributes = {"namespace": self.namespace, "verb": verb, "resource": resource, "name": name}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self.request("POST", path, body=body)
        return answer.decode(_Review).status.allowed

    async def close(self) -> None:
        """Ends connections."""
        await self._http.close()

    def path(self, resource: str, name: str = "") -> str:
        """The path of a resource, or of one object of it."""
        return f"/api/v1/namespaces/{self.namespace}/{resource}{'/' if name else ''}{name}"

    def checked(self, name: str, kind: str, source: str) -> str:
        """The name, if it can be one; `source` says where it was given. Raises `ProviderInvalid`."""
        if not _NAME.fullmatch(name):
            raise self.invalid(
                f"{name!r} is no name of a {kind} (lower-case letters, digits, '-', '.'): give it in {source}"
            )
        return name

    def invalid(self, problem: str) -> ProviderInvalid:
        """An error of the definition or of permissions."""
        return ProviderInvalid(f"{self._who}: {problem}")

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers with the token, which is read for each request: its file is replaced while the node runs."""
        try:
            token = self._secrets.read("token")
            if not token and self._in_pod:
                token = (self._service_account / "token").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self.invalid(f"the token cannot be read: {error}") from error
        except ProviderInvalid as error:
            raise self.invalid(error.reason) from error
        return {**headers, "Authorization": f"Bearer {token}"} if token else dict(headers)

    # What the URL says.

    def _reached(self, setup: ProviderSetup) -> ProviderSetup:
        """The setup with the server that Kubernetes names to each pod, if the URL names none."""
        if not self._in_pod:
            return setup
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not host:
            raise self.invalid(
                "the URL names no server, and this process is in no pod (KUBERNETES_SERVICE_HOST is not set): write "
                "kubernetes://HOST:PORT/NAMESPACE"
            )
        server = f"[{host}]:{port or 443}" if ":" in host else f"{host}:{port or 443}"
        return msgspec.structs.replace(setup, url=msgspec.structs.replace(setup.url, servers=(server,)))

    def _tls(self, setup: ProviderSetup) -> TlsFiles | None:
        wanted = setup.url.options.get("tls", "true")
        if wanted not in ("true", "false"):
            raise self.invalid(f"the option tls is true or false, not {wanted!r}")
        if wanted == "false":
            return None
        files = TlsFiles.of(setup)
        if self._in_pod and not files.ca:
            files = msgspec.structs.replace(files, ca=str(self._service_account / "ca.crt"))
        return files

    def _own_namespace(self) -> str:
        if not self._in_pod:
            return "default"
        try:
            return (self._service_account / "namespace").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self.invalid(
                f"the namespace of this pod cannot be read, write kubernetes:///NAMESPACE: {error}"
            ) from error


class Lines:
    """The lines of a watch, each awaited for a limited time; a line that comes later is not lost.

    Attributes:
        ended: whether the server has ended the watch.
    """

    def __init__(self, stream: HttpStream) -> None:
        self.ended = False
        self._lines = stream.lines()
        self._next: asyncio.Task[bytes | None] | None = None

    async def next(self, limit_s: float) -> bytes | None:
        """The next line; None if there is none in time, or at the end."""
        if self.ended:
            return None
        if self._next is None:
            self._next = asyncio.create_task(self._advance())
        done, _ = await asyncio.wait((self._next,), timeout=max(0.0, limit_s))
        if not done:
            return None
        line = self._next.result()
        self._next = None
        self.ended = line is None
        return line

    async def aclose(self) -> None:
        """Stops waiting."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)

    async def _advance(self) -> bytes | None:
        return await anext(self._lines, None)


def _judge(answer: HttpAnswer) -> ProviderError | None:
    """The error that an answer means; the text is that of its `Status`."""
    try:
        text = _status(answer.body).message or answer.text
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = answer.text
    if answer.status == 401:
        return ProviderInvalid(f"{answer.who}: the token is refused (status 401: {text}); correct the secret token")
    if answer.status == 403:
        return ProviderInvalid(f"{answer.who}: {text} (status 403); {GUIDE}")
    if answer.status == 429 or answer.status >= 500:
        return ProviderUnreachable(f"{answer.who}: status {answer.status}: {text}")
    return None
