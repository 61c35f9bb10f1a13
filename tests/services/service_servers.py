"""Real servers for tests: started on this machine with data of their own, killed, stopped and started again at will.

Each lives in a temporary folder and ends with the process that started it, also if that is killed. As root PostgreSQL
refuses to run, so its processes belong to another user then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

START_S = 30.0
POLL_S = 0.02
USERS = ("postgres", "nobody")
PASSWORD = "s3cret/of the test"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Missing(Exception):  # noqa: N818  a condition of the machine
    """The service is not installed."""


def program(name: str) -> str:
    """The path of an executable; PostgreSQL's are not on the PATH in Debian."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: each.parent.name, reverse=True)
    path = shutil.which(name) or next((str(each / name) for each in folders if (each / name).exists()), None)
    if path is None:
        raise Missing(f"{name} is not installed (make test as root installs it)")
    return path


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """A server with its data in `folder`.

    Attributes:
        url: for `storage_from_url`.
    """

    url: str

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="inaho-service-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user: str | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """What runs the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes connections."""

    def start(self) -> None:
        """Starts it on the data that is there, and waits until it answers.

        Call it on the main thread: the server ends with the thread that has started it.
        """
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  no other thread of a test holds a lock that it needs
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command()[0]} did not start:\n{self.log()[-2000:]}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL to all its processes: what it had not written is gone."""
        process = self._process
        if process is None:
            return
        family = _family(process.pid)
        for each in family:
            _signal(each, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + START_S
        while any(_lives(each) for each in family) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self._process is not None
        for each in _family(self._process.pid):
            _signal(each, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: what was received meanwhile is carried out."""
        assert self._process is not None
        for each in _family(self._process.pid):
            _signal(each, signal.SIGCONT)

    def end(self) -> None:
        """Kills it and removes its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "log").read_text(errors="replace")


class RedisServer(Server):
    """Redis with an append-only file.

    Args:
        flush: when that is written to the disk: `always`, or `everysec`, where a kill may take what was acknowledged
            while the disk was busy: Redis writes behind a flush that has not ended.
        clustered: a Redis Cluster of one node.
    """

    def __init__(self, flush: str = "always", *, clustered: bool = False) -> None:
        self._program = program("redis-server")
        super().__init__()
        self._flush = flush
        self._clustered = clustered
        self.port = free_port()
        scheme = "redis+cluster" if clustered else "redis"
        escaped = PASSWORD.replace("/", "%2F").replace(" ", "%20")
        self.url = f"{scheme}://:{escaped}@127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        if self._clustered and "cluster_state:ok" not in self.ask("CLUSTER", "INFO"):
            self.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            deadline = time.monotonic() + START_S
            while "cluster_state:ok" not in self.ask("CLUSTER", "INFO") and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def ask(self, *words: str) -> str:
        """The answer to one command, as it comes over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            connection.sendall(_packed("AUTH", PASSWORD) + _packed(*words))
            connection.settimeout(0.5)
            received = b""
            lines = 0
            while lines < 2 or not received.endswith(b"\r\n"):
                received += connection.recv(65536)
                lines = received.count(b"\r\n")
        return received.partition(b"\r\n")[2].decode(errors="replace")

    def _command(self) -> list[str]:
        return [
            self._program,
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", self._flush, "--requirepass", PASSWORD),
            *(("--cluster-enabled", "yes", "--cluster-port", str(free_port())) if self._clustered else ()),
        ]

    def _answers(self) -> bool:
        try:
            return "PONG" in self.ask("PING")
        except OSError:
            return False


class PostgresServer(Server):
    """PostgreSQL as `initdb` makes it, reached through a socket in its folder."""

    def __init__(self) -> None:
        self._program, initdb = program("postgres"), program("initdb")
        super().__init__()
        self.url = f"postgresql://inaho:{PASSWORD.replace('/', '%2F').replace(' ', '%20')}@/postgres?host={self.folder}"
        if os.geteuid() == 0:
            known = {each.pw_name for each in pwd.getpwall()}
            self._user = next(name for name in USERS if name in known)
            shutil.chown(self.folder, self._user)
        options = ["--no-sync", "--auth=trust", "--username=inaho", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [initdb, *options, "-D", str(self.folder / "data")],
            user=self._user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{made.stderr}")

    def _command(self) -> list[str]:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "shared_buffers": "16MB"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._program, "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines() if self._started() else []
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _started(self) -> bool:
        """Whether the file is of this start, and not of one that was killed."""
        file = self.folder / "data" / "postmaster.pid"
        try:
            return self._process is not None and file.read_text().split("\n", 1)[0] == str(self._process.pid)
        except OSError:
            return False


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _lives(process: int) -> bool:
    """Whether it runs; one that only waits to be collected by `init` does not."""
    try:
        return _stat(process)[0] != "Z"
    except OSError:
        return False


def _stat(process: int) -> list[str]:
    """State, parent and so on of a process."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _family(process: int) -> list[int]:
    """A process and its children: PostgreSQL gives each of them a session of its own. It has no grandchildren."""
    children: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int(_stat(int(entry.name))[1]) == process:
                    children.append(int(entry.name))
    return [process, *children]


def _packed(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in encoded)
