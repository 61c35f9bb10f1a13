"""Records the steps of a quickstart as plain data, for the JSON answer and for the report."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["CallRecord", "NodeRecord", "Record", "Survival"]


class NodeRecord(msgspec.Struct, frozen=True):
    """A process that was started.

    Attributes:
        name: of the node in this run.
        authority: that it was told to bind.
        pid: process id.
        command: that starts it by hand.
        log: file with its output.
    """

    name: str
    authority: str
    pid: int
    command: list[str]
    log: str


class CallRecord(msgspec.Struct):
    """One call and its result.

    Attributes:
        source: who asked: a grain and its node, or a client.
        target: node on which the asked grain lives.
        identity: of the asked grain.
        ok: the reply came, from the right node.
        reply: the value.
        error: `code`, `reason` and the rest, when it failed.
        took_ms: from the ask to the reply.
    """

    source: str
    target: str
    identity: str
    ok: bool = False
    reply: int | None = None
    error: dict[str, Any] | None = None
    took_ms: float = 0.0


class Survival(msgspec.Struct, frozen=True):
    """How a grain survived the death of its node.

    Attributes:
        key: of the counter.
        killed_pid: process that was killed.
        lived_on, answers_from: authorities before and after.
        value_before, value_after: what it answered before the kill, and first after it.
        value_then: after one more was added.
        took_s: from the kill to the first answer.
    """

    key: str
    killed_pid: int
    lived_on: str
    answers_from: str
    value_before: int
    value_after: int
    value_then: int
    took_s: float


class Record(msgspec.Struct, kw_only=True):
    """A whole run.

    Attributes:
        ok: every step succeeded.
        run_directory: of everything that the run wrote.
        report: path of the report.
        cluster: its name.
        seeds: of all nodes.
        members_up_s: from the command's start until all nodes saw each other.
        nodes, members, pids, calls, survival: what was started, seen and done, in order.
        stopped: ids of the processes that were started, all of which have ended.
        error: why the run ended early.
    """

    ok: bool = False
    run_directory: str
    report: str
    cluster: str
    seeds: tuple[str, ...]
    members_up_s: float | None = None
    nodes: list[NodeRecord] = []
    members: list[dict[str, Any]] = []
    pids: list[str] = []
    calls: list[CallRecord] = []
    survival: Survival | None = None
    stopped: list[int] = []
    error: dict[str, Any] | None = None

    def succeeded(self) -> bool:
        """Whether all steps so far succeeded."""
        survived = self.survival is None or self.survival.value_before == self.survival.value_after
        return bool(self.calls) and all(call.ok for call in self.calls) and survived
