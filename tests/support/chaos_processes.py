"""Processes that can be told to call, on this machine's loopback or in a network namespace."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from inaho.config import ClusterConfig
from inaho.types import Member, MemberStatus
from support.member_processes import LIMIT_S, MemberProcess
from support.programs import command, environment


class Refused(Exception):  # noqa: N818  what the process was told, not our error
    """A call that failed in the process: its code, and whether it may have run."""

    def __init__(self, code: str, maybe_executed: bool, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.maybe_executed = maybe_executed


class ChaosProcess(MemberProcess):
    """A member or client that runs `chaos_node.py` and calls for the test.

    Args:
        config: its settings; without an authority it is a client.
        storage: as for `join`.
        before: what stands before its command.
    """

    def __init__(self, config: ClusterConfig, storage: str, before: Sequence[str] = ()) -> None:
        self.config = config
        self.lines: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._commands = 0
        document = msgspec.json.encode({"config": config, "storage": storage}).decode()
        self._process = subprocess.Popen(
            [*before, *command("chaos_node.py", document)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_lines, self._read_errors)]
        for reader in self._readers:
            reader.start()

    async def call(self, kind: str, key: str, method: str, *arguments: Any, timeout_s: float = 10.0) -> Any:
        """What that method of that grain answers to this process.

        Raises:
            Refused: the call failed there.
        """
        command = {"kind": kind, "key": key, "method": method, "arguments": arguments, "timeout_s": timeout_s}
        return await self._ask(command, timeout_s + 10.0)

    async def members(self) -> tuple[Member, ...]:
        """The members as this process sees them now."""
        return msgspec.convert(await self._ask({}, 15.0), tuple[Member, ...])

    async def _ask(self, command: dict[str, Any], limit_s: float) -> Any:
        self._commands += 1
        number, since = self._commands, len(self.lines)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"number": number, **command}) + b"\n")
        self._process.stdin.flush()
        answer = await self.says("answer", since, limit_s, number=number)
        if answer["code"]:
            raise Refused(answer["code"], answer["maybe_executed"], answer["reason"])
        return answer["value"]

    async def sees_up(self, members: Sequence[MemberProcess], limit_s: float = LIMIT_S) -> None:
        """Waits until exactly these members are up, as this process sees them."""
        expected = {member.node_id for member in members}
        deadline = time.monotonic() + limit_s
        while (seen := {m.node_id for m in await self.members() if m.status is MemberStatus.UP}) != expected:
            assert time.monotonic() < deadline, f"{self.authority} sees {seen}, not {expected}; said {self.lines[-20:]}"

    async def told_of(
        self, kind: str, member: MemberProcess, since: int = 0, limit_s: float = LIMIT_S
    ) -> dict[str, Any]:
        """The first event of that kind about `member`, waited for."""
        return await self.says(kind, since, limit_s, member=lambda told: told["node_id"] == member.node_id)

    def removed(self) -> set[str]:
        """Node ids of all that this process ever saw removed."""
        return {line["member"]["node_id"] for line in self.said("MemberRemoved")}


class ChaosProcesses:
    """Starts them and ends all of them."""

    def __init__(self) -> None:
        self._started: list[ChaosProcess] = []

    def spawn(self, config: ClusterConfig, storage: str = "memory", before: Sequence[str] = ()) -> ChaosProcess:
        process = ChaosProcess(config, storage, before)
        self._started.append(process)
        return process

    async def start(self, config: ClusterConfig, storage: str = "memory", before: Sequence[str] = ()) -> ChaosProcess:
        process = self.spawn(config, storage, before)
        await process.ready()
        return process

    def end(self) -> None:
        """Harmless when repeated."""
        while self._started:
            self._started.pop().end()


async def key_at(caller: ChaosProcess, kind: str, member: MemberProcess) -> str:
    """A key whose grain of that kind lives at that member."""
    for number in range(200):
        if await caller.call(kind, f"k{number}", "where") == member.authority:
            return f"k{number}"
    raise AssertionError(f"no key lives at {member.authority}")
