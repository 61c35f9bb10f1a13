"""etcd for tests: one server or several, with a small quota, authentication, TLS, and what an operator does to it."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from inaho.config import TlsConfig
from inaho.testing.histories.grain_process import free_ports
from support.service_servers import Server, program

HEARTBEAT_MS = 20
"""Short, so a lease may be as short as 1 s; etcd allows none below 1.5 elections of 10 heartbeats."""
CLUSTER_HEARTBEAT_MS = 60
"""With several servers: a busy machine must not end a leader."""

ROOT_PASSWORD = "s3cret of root"
USER, USER_PASSWORD = "shop", "s3cret of shop"


def encoded(text: str) -> str:
    """A key or a value as the gateway takes it."""
    return base64.b64encode(text.encode()).decode()


class EtcdServer(Server):
    """One etcd with a database of its own.

    Args:
        quota_bytes: beyond it etcd raises the alarm NOSPACE; 0 for its own default.
        tls: its certificate; None serves plain HTTP.
        client_certificates: demand a certificate of the authority from clients.

    Attributes:
        url: of the provider, without a prefix.
        port: of clients.
        peer: URL for the other servers of its cluster.
        initial_cluster: all servers of its cluster, as etcd writes them; only itself at first.
        heartbeat_ms: of its leader, milliseconds.
        runs: whether it was started and not killed.
    """

    def __init__(
        self, *, quota_bytes: int = 0, tls: TlsConfig | None = None, client_certificates: bool = False
    ) -> None:
        self._program = program("etcd")
        super().__init__()
        self.port, peer_port = free_ports(2)
        self.peer = f"http://127.0.0.1:{peer_port}"
        self.name = f"etcd-{self.port}"
        self.initial_cluster = f"{self.name}={self.peer}"
        self.heartbeat_ms = HEARTBEAT_MS
        self._quota_bytes = quota_bytes
        self._tls = tls
        self._client_certificates = client_certificates
        self._token = ""
        self.url = f"{'etcds' if tls else 'etcd'}://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return self._process is not None

    def order(self, path: str, **request: Any) -> dict[str, Any]:
        """The answer of the gateway to one request, past any provider."""
        asked = urllib.request.Request(
            f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v3/{path}",
            json.dumps(request).encode(),
            {"Authorization": self._token} if self._token else {},
        )
        with urllib.request.urlopen(asked, timeout=10.0, context=self._context()) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def put(self, key: str, value: str = "") -> None:
        """Writes a key without a lease."""
        self.order("kv/put", key=encoded(key), value=encoded(value))

    def delete(self, key: str) -> None:
        """Removes a key."""
        self.order("kv/deleterange", key=encoded(key))

    def transact(self, put: Mapping[str, str], delete: Sequence[str] = ()) -> None:
        """Writes and removes keys in one transaction."""
        operations = [{"request_put": {"key": encoded(key), "value": encoded(put[key])}} for key in put]
        operations += [{"request_delete_range": {"key": encoded(key)}} for key in delete]
        self.order("kv/txn", success=operations)

    def keys(self) -> dict[str, dict[str, Any]]:
        """All keys with what etcd knows of each."""
        found = self.order("kv/range", key=encoded("\0"), range_end=encoded("\0")).get("kvs", [])
        return {base64.b64decode(each["key"]).decode(): each for each in found}

    def leases(self) -> list[str]:
        """All leases."""
        return [each["ID"] for each in self.order("lease/leases").get("leases", [])]

    def revoke(self, key: str) -> None:
        """Ends the lease of a key, as if it had expired; nothing happens if there is none."""
        lease = self.keys().get(key, {}).get("lease")
        if lease:
            try:
                self.order("lease/revoke", ID=lease)
            except urllib.error.HTTPError as error:
                with error:
                    assert error.code == 404, error.read()  # it has expired meanwhile

    def compact(self) -> None:
        """Forgets the history of all revisions before a new one."""
        revision = self.order("kv/put", key=encoded("compact"))["header"]["revision"]
        self.order("kv/compaction", revision=revision)

    def fill(self) -> None:
        """Writes until the alarm NOSPACE is raised."""
        for number in range(10_000):
            try:
                self.put(f"filler/{number}", "x" * 250_000)
            except urllib.error.HTTPError as error:
                with error:
                    assert b"space exceeded" in error.read()
                return
        raise AssertionError("etcd does not become full; give it a quota")

    def make_room(self) -> None:
        """Removes the filler as an operator does, and ends the alarm."""
        removed = self.order("kv/deleterange", key=encoded("filler/"), range_end=encoded("filler0"))
        self.order("kv/compaction", revision=removed["header"]["revision"], physical=True)
        self.order("maintenance/defragment")
        for alarm in self.order("maintenance/alarm", action="GET").get("alarms", []):
            self.order("maintenance/alarm", action="DEACTIVATE", memberID=alarm["memberID"], alarm=alarm["alarm"])

    def enable_authentication(self, prefix: str, permission: str = "READWRITE") -> None:
        """Users with passwords: `root`, and `USER` with a permission for the prefix."""
        self.order("auth/user/add", name="root", password=ROOT_PASSWORD)
        self.order("auth/user/add", name=USER, password=USER_PASSWORD)
        self.order("auth/role/add", name="root")
        self.order("auth/role/add", name="shop")
        self.permit(prefix, permission)
        self.order("auth/user/grant", user="root", role="root")
        self.order("auth/user/grant", user=USER, role="shop")
        self.order("auth/enable")
        self.log_in()

    def log_in(self) -> None:
        """What this object asks is asked as `root` from here on."""
        self._token = ""
        self._token = self.order("auth/authenticate", name="root", password=ROOT_PASSWORD)["token"]

    def lose_tokens(self) -> None:
        """Forgets all tokens, as when they were not used for 5 minutes."""
        self.order("auth/disable")
        self._token = ""
        self.order("auth/enable")
        self.log_in()

    def permit(self, prefix: str, permission: str) -> None:
        """Gives the user that permission for all keys under the prefix."""
        granted = {"permType": permission, "key": encoded(f"{prefix}/"), "range_end": encoded(f"{prefix}0")}
        self.order("auth/role/grant", name="shop", perm=granted)

    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = ssl.create_default_context(cafile=self._tls.authority_certificates)
        context.check_hostname = False
        context.load_cert_chain(self._tls.certificate, self._tls.private_key)
        return context

    def _command(self) -> list[str]:
        client = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        settings = {"name": self.name, "data-dir": str(self.folder / "data"), "log-level": "warn"}
        settings |= {"listen-client-urls": client, "advertise-client-urls": client}
        settings |= {"listen-peer-urls": self.peer, "initial-advertise-peer-urls": self.peer}
        settings |= {"bcrypt-cost": "4", "initial-cluster": self.initial_cluster}
        settings |= {
            "heartbeat-interval": str(self.heartbeat_ms),
            "election-timeout": str(10 * self.heartbeat_ms),
        }
        if self._quota_bytes:
            settings["quota-backend-bytes"] = str(self._quota_bytes)
        if self._tls:
            settings |= {"cert-file": self._tls.certificate, "key-file": self._tls.private_key}
            if self._client_certificates:
                settings |= {"client-cert-auth": "true", "trusted-ca-file": self._tls.authority_certificates}
        return [self._program, *(f"--{name}={value}" for name, value in settings.items())]

    def _answers(self) -> bool:
        try:
            self.order("kv/range", key=encoded("ready"))
        except urllib.error.HTTPError as error:
            with error:
                return error.code in (400, 401)  # it demands a user, or a new token
        except OSError:
            return False
        return True


class EtcdServers:
    """One etcd of several servers.

    Attributes:
        servers: in the order of the URL.
        url: of the provider, without a prefix; it names all of them.
    """

    def __init__(self, count: int) -> None:
        self.servers = [EtcdServer() for _ in range(count)]
        members = ",".join(each.initial_cluster for each in self.servers)
        for each in self.servers:
            each.initial_cluster = members
            each.heartbeat_ms = CLUSTER_HEARTBEAT_MS
        self.url = "etcd://" + ",".join(f"127.0.0.1:{each.port}" for each in self.servers)

    def start(self) -> None:
        """Starts all of them, and waits until they have a leader."""
        for each in self.servers:
            each.launch()
        for each in self.servers:
            each.wait()

    def end(self) -> None:
        """Ends all of them."""
        for each in self.servers:
            each.end()
