"""The double of Consul as a process: started on a free port, killed, paused and started again on its data."""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from inaho.testing.histories.grain_process import free_ports
from support.programs import TESTS
from support.service_servers import Server

SCALE = 0.02
"""A session of 10 s is gone 0.4 s after its last renewal: twice its TTL, at this scale."""


class ConsulServer(Server):
    """A double that keeps the state of its servers in a file, so it survives a kill.

    Args:
        scale: factor of the TTLs of sessions.
        certificate, key: files, for HTTPS.
        prefix: path of `url`.
    """

    def __init__(self, *, scale: float = 1.0, certificate: str = "", key: str = "", prefix: str = "inaho/shop") -> None:
        super().__init__()
        self.port = free_ports(1)[0]
        self.prefix = prefix
        self.url = f"consul{'s' if certificate else ''}://127.0.0.1:{self.port}/{prefix}"
        self._scale = scale
        self._tls = ["--certificate", certificate, "--key", key] if certificate else []

    def stop(self) -> None:
        """Ends the process; its data stays."""
        self.kill()

    def clear(self) -> None:
        """Removes faults, tokens, sessions and keys."""
        self.control("clear")
        for session in self.sessions():
            self.ask("PUT", f"/v1/session/destroy/{session['ID']}")
        self.ask("DELETE", "/v1/kv/?recurse")

    def expire(self, authority: str) -> None:
        """As if the registration at that authority had run out."""
        self.control(f"expire?key={self.key(f'members/{authority}')}")

    def lose_history(self) -> None:
        """All indexes become lower than they were."""
        self.control("rewind")

    def key(self, path: str) -> str:
        """The key of a path below the prefix; Consul takes no colons."""
        return f"{self.prefix}/{path.replace(':', ',')}"

    def control(self, what: str, **fields: Any) -> None:
        """Injects a fault, see `support.consul_double.control`."""
        self.ask("PUT", f"/control/{what}", json.dumps(fields).encode())

    def ask(self, method: str, path: str, body: bytes | None = None, token: str = "") -> bytes:
        """The body of the answer to a request without TLS. Raises `HTTPError`, `OSError`."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method=method)
        request.add_header("X-Consul-Token", token)
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            found: bytes = answer.read()
            return found

    def keys(self) -> list[str]:
        """All keys."""
        try:
            return [entry["Key"] for entry in json.loads(self.ask("GET", "/v1/kv/?recurse"))]
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return []

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions."""
        found: list[dict[str, Any]] = json.loads(self.ask("GET", "/v1/session/list"))
        return found

    def requests(self) -> dict[str, int]:
        """How often each request was made."""
        found: dict[str, int] = json.loads(self.ask("GET", "/control/requests"))
        return found

    def _command(self) -> list[str]:
        options = ["--port", str(self.port), "--state", str(Path(self.folder) / "state.json")]
        run = ["env", f"PYTHONPATH={TESTS}", sys.executable, "-m", "support.consul_double"]
        return [*run, *options, "--scale", str(self._scale), *self._tls]

    def _answers(self) -> bool:
        try:
            if self._tls:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return True
            return self.ask("GET", "/v1/status/leader") != b""
        except OSError:
            return False
