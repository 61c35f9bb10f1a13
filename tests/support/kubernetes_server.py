"""The double of the Kubernetes API server as a process of a test, which also plays kubelet and operator."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

from inaho.config import TlsConfig
from inaho.testing.histories.grain_process import free_ports
from support.programs import environment
from support.service_servers import Server

CLUSTER = "shop"
NAMESPACE = "shop"
LABELS = {"app.kubernetes.io/name": CLUSTER}
TOKEN = "first"
"""The token that is valid at the start."""


class KubernetesServer(Server):
    """A running double.

    Args:
        tls: its certificate; None serves plain HTTP.

    Attributes:
        url: of the provider.
        port: of the API.
    """

    def __init__(self, tls: TlsConfig | None = None) -> None:
        super().__init__()
        self._tls = tls
        self.port, self._control_port = free_ports(2)
        query = f"ca={tls.authority_certificates}" if tls else "tls=false"
        self.url = f"kubernetes://127.0.0.1:{self.port}/{NAMESPACE}?{query}"

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed."""
        return self._process is not None

    def make_pod(
        self,
        name: str,
        ip: str = "10.0.0.1",
        phase: str = "Running",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Makes a pod of the cluster, or one with other labels."""
        wanted = {"name": name, "ip": ip, "phase": phase, "labels": labels or LABELS, "annotations": annotations or {}}
        made: dict[str, Any] = self.order("make_pod", namespace=NAMESPACE, **wanted)
        return made

    def pod_url(self, pod: str) -> str:
        """The URL of the provider of a process in that pod."""
        return f"{self.url}&pod={pod}"

    def delete_pod(self, name: str, grace_s: int = 0) -> None:
        """Begins the deletion of a pod; without a grace it is gone at once, as the registration in it."""
        self.order("delete_pod", namespace=NAMESPACE, name=name, grace_s=grace_s)

    def patch_pod(self, name: str, patch: Mapping[str, Any]) -> None:
        """Changes a pod, as the kubelet or a person would."""
        self.order("patch", resource="pods", namespace=NAMESPACE, name=name, patch=patch)

    def annotate(self, name: str, **annotations: str | None) -> None:
        """Writes annotations `inaho.dev/...` of a pod; None removes one."""
        named = {f"inaho.dev/{key}": value for key, value in annotations.items()}
        self.patch_pod(name, {"metadata": {"annotations": named}})

    def get(self, resource: str, name: str) -> dict[str, Any]:
        """An object as it is."""
        found: dict[str, Any] = self.order("get", resource=resource, namespace=NAMESPACE, name=name)
        return found

    def set_tokens(self, *tokens: str) -> None:
        """These tokens are valid, and no others."""
        self.order("tokens", tokens={token: {"user": "system:serviceaccount:shop:inaho"} for token in tokens})

    def grant(self, **verbs: str) -> None:
        """These verbs are allowed, by resource, and no others."""
        self.order("grants", grants=[{"resources": [name], "verbs": each.split()} for name, each in verbs.items()])

    def fault(self, status: int = 0, verb: str = "*", resource: str = "*", **more: Any) -> None:
        """A fault of requests, see `Fault`."""
        self.order("fault", status=status, verb=verb, resource=resource, **more)

    def heal(self) -> None:
        """Ends all faults."""
        self.order("heal")

    def lose_history(self, *, as_event: bool = False) -> None:
        """Watches of an older position get 410, as status or as event, and so do `continue` tokens."""
        self.order("compact", as_event=as_event)

    def end_watches(self, how: str = "close", error: Mapping[str, Any] | None = None) -> None:
        """Ends all open watches: `close`, `cut` or `error`."""
        self.order("end_watches", how=how, error=error or {})

    def counts(self) -> dict[str, int]:
        """Requests so far, by verb and resource."""
        found: dict[str, int] = self.order("counts")
        return found

    def order(self, order: str, /, **arguments: Any) -> Any:
        """Sends an order to the double and returns its answer."""
        url = f"http://127.0.0.1:{self._control_port}/{order}"
        request = urllib.request.Request(url, json.dumps(arguments).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            return json.load(answer)

    def _command(self) -> list[str]:
        files = ("--certificate", self._tls.certificate, "--key", self._tls.private_key) if self._tls else ()
        ports = ("--port", str(self.port), "--control-port", str(self._control_port))
        path = f"PYTHONPATH={environment()['PYTHONPATH']}"
        return [
            "env",
            path,
            sys.executable,
            "-m",
            "support.kubernetes_double",
            *ports,
            "--file",
            str(self.folder / "state"),
            *files,
        ]

    def _answers(self) -> bool:
        try:
            for port in (self.port, self._control_port):
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            return False
        return True
