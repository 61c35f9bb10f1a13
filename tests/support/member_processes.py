"""Members that are processes of their own: started on free ports, watched, and never left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

import inaho
from inaho.config import (
    ActivationConfig,
    ClusterConfig,
    DetectionConfig,
    MembershipConfig,
    StorageConfig,
    TransportConfig,
)
from inaho.testing.histories.grain_process import free_ports
from support.programs import command, environment
from support.programs.network_node import Probe

SECRET = "a secret of these tests"
NAME = "integration"
LIMIT_S = 30.0
"""For whatever must happen: a busy machine takes its time, and nothing waits that long elsewhere."""


async def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Polls until `condition` gives something true, and returns it."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        await asyncio.sleep(0.01)
    return found


def free_port() -> int:
    """A port that nobody listens on just now, and that the system gives to nobody else."""
    return free_ports(1)[0]


def settings(**changes: Any) -> ClusterConfig:
    """Short periods, so that a death is noticed within seconds, and yet patience with a busy machine."""
    config = ClusterConfig(
        authority="127.0.0.1:0",
        name=NAME,
        secret=SECRET,
        membership=MembershipConfig(found_after_s=0.3, join_timeout_s=10.0, remove_unreachable_after_s=2.0),
        detection=DetectionConfig(probe_interval_s=0.2, probe_timeout_s=0.15, suspicion_factor=6.0),
        transport=TransportConfig(
            handshake_timeout_s=5.0, redial_max_s=0.5, definitions_max=64, goodbye_timeout_s=1.0, stall_timeout_s=1.0
        ),
        activation=ActivationConfig(drain_s=15.0),
        storage=StorageConfig(busy_timeout_s=30.0),
    )
    return config.replace(**changes) if changes else config


class MemberProcess:
    """One child, and every line that it has said.

    Attributes:
        lines: decoded, in order; filled by a thread, so that no test's event loop owns the pipe.
    """

    def __init__(self, config: ClusterConfig, storage: str, program: str = "network_node.py") -> None:
        self.config = config
        document = msgspec.json.encode({"config": config, "storage": storage}).decode()
        self._process = subprocess.Popen(
            command(program, document),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        self.lines: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(msgspec.json.decode(line))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors.append(line.decode(errors="replace"))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def said(self, kind: str, since: int = 0, **details: Any) -> list[dict[str, Any]]:
        """Lines of that kind from the `since`th on whose fields equal `details`; a callable value judges its field."""
        return [
            line
            for line in self.lines[since:]
            if line["event"] == kind and all(_fits(line.get(name), wanted) for name, wanted in details.items())
        ]

    async def says(self, kind: str, since: int = 0, limit_s: float = LIMIT_S, **details: Any) -> dict[str, Any]:
        """The first such line, waited for."""
        found = await until(
            lambda: self.said(kind, since, **details) or (kind == "ready" and not self.alive),
            f"{kind} {details}; said {self.lines[since:]}; errors {self.errors}",
            limit_s,
        )
        assert found is not True, f"ended with {self.returncode}: {self.lines} {''.join(self.errors)}"
        return dict(found[0])

    async def ready(self) -> MemberProcess:
        line = await self.says("ready")
        self.authority: str = line["authority"]
        self.node_id: str = line["node_id"]
        return self

    def kill(self) -> None:
        """SIGKILL: no word, no clean-up."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM: leave."""
        self._process.terminate()

    async def ended(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code, once it has ended and all that it has said is in `lines` and `errors`."""
        await until(
            lambda: not self.alive and not any(reader.is_alive() for reader in self._readers),
            "the end of the process",
            limit_s,
        )
        code = self.returncode
        assert code is not None
        return code

    def check_unharmed(self) -> None:
        """It lives, and nothing went past its error handling."""
        assert self.alive, "".join(self.errors)
        assert not self.said("Unhandled"), self.said("Unhandled")
        assert not any("Traceback" in line for line in self.errors), "".join(self.errors)

    def end(self) -> None:
        """Whatever happened, nothing stays."""
        if self.alive:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def _fits(value: Any, wanted: Any) -> bool:
    return bool(wanted(value)) if callable(wanted) else value == wanted


class Processes:
    """Starts members and ends all of them."""

    def __init__(self) -> None:
        self._started: list[MemberProcess] = []

    def spawn(
        self,
        *,
        storage: str = "memory",
        config: ClusterConfig | None = None,
        program: str = "network_node.py",
        **changes: Any,
    ) -> MemberProcess:
        """Starts a process and does not wait for it."""
        process = MemberProcess((config or settings()).replace(**changes), storage, program)
        self._started.append(process)
        return process

    async def start(self, **arguments: Any) -> MemberProcess:
        return await self.spawn(**arguments).ready()

    async def cluster(self, size: int, **arguments: Any) -> list[MemberProcess]:
        """Members of one cluster; each has heard of all."""
        first = await self.start(**arguments)
        rest = [self.spawn(seeds=(first.authority,), **arguments) for _ in range(size - 1)]
        members = [first, *[await process.ready() for process in rest]]
        for member in members:
            for other in members:
                if other is not member:
                    await knows(member, other)
        return members

    def end(self) -> None:
        for process in self._started:
            process.end()


async def knows(member: MemberProcess, other: MemberProcess) -> None:
    """Waits until a client of `member` alone would see `other` up."""
    async with client(member) as cluster:
        await until(
            lambda: any(seen.node_id == other.node_id and seen.status == 1 for seen in cluster.members()),
            f"{member.authority} knows {other.authority}",
        )


def client(*members: MemberProcess, **changes: Any) -> Any:
    """A client of those members, in this process; credentials are theirs unless given."""
    theirs = {name: getattr(members[0].config, name) for name in ("name", "secret", "tls")}
    seeds = tuple(member.authority for member in members)
    return inaho.connect(config=settings(authority="", seeds=seeds, **{**theirs, **changes}))


class Bystander:
    """Somebody else's calls, one after another, for as long as an attack takes."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[BaseException] = []


@asynccontextmanager
async def unharmed(*members: MemberProcess, **changes: Any) -> AsyncIterator[Bystander]:
    """While the block runs another client calls; at its end the members live and no call of it has failed."""
    bystander = Bystander()

    async def call_on(caller: inaho.Cluster) -> None:
        while True:
            try:
                expected = bystander.answers
                assert await caller.grain(Probe, f"bystander{expected % 8}").echo(expected) == expected
            except Exception as error:
                bystander.failures.append(error)
                return
            bystander.answers += 1
            await asyncio.sleep(0.001)

    async with client(*members, **changes) as caller:
        task = asyncio.create_task(call_on(caller))
        await until(lambda: bystander.answers or bystander.failures, "the first answer")
        try:
            yield bystander
            after = bystander.answers
            await until(lambda: bystander.answers > after + 3 or bystander.failures, "answers after the attack")
            assert not bystander.failures, bystander.failures
        finally:
            task.cancel()
            await asyncio.wait((task,))
    for member in members:
        member.check_unharmed()
