"""`inaho quickstart`: runs a cluster of processes on this machine and shows that it works (SPEC CL-8).

It does what a careful new user would do by hand: start nodes, list the members from each of them, call grains on other
nodes, kill a node with SIGKILL and call again the grain that was there. Every step is kept in a `Record`, which is the
JSON answer and the source of the report, also when a step fails.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from inaho import Cluster, connect
from inaho.cli.member_output import MEMBER_COLUMNS, describe_member, member_rows
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output, describe_error
from inaho.cli.quickstart.plan import Plan
from inaho.cli.quickstart.processes import NodeProcess, process_age_s
from inaho.cli.quickstart.record import CallRecord, NodeRecord, Record, Survival
from inaho.cli.quickstart.report import write_report
from inaho.cli.sample import Counter, Place
from inaho.config import ClusterConfig
from inaho.core.identity.pid import format_pid
from inaho.errors import InahoError, RemoteError, Timeout
from inaho.types import ClusterIdentity, MemberStatus, Pid

__all__ = ["run_quickstart"]

START_TIMEOUT_S: Final = 20.0
SURVIVAL_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.005
KEYS_TRIED_MAX: Final = 1000

T = TypeVar("T")


async def run_quickstart(output: Output, plan: Plan, *, keep: bool = False) -> int:
    """Does the whole run, ends everything that it started, and writes the report.

    Args:
        output: takes each step as it happens; one JSON document at the end under `--json`.
        plan: what to start and where.
        keep: keep the cluster up until this command is interrupted.

    Returns:
        The exit code: 0 only if every step succeeded.
    """
    logging.basicConfig(filename=plan.directory / "quickstart.log", level=logging.INFO)
    run = Quickstart(output, plan)
    interrupted: BaseException | None = None
    try:
        await run.steps(keep=keep)
    except InahoError as error:
        run.record.error = describe_error(error)
        output.note(f"error [{error.code}]: {error}")
    except asyncio.CancelledError as error:
        if not run.kept:  # else this is the intended end of the command
            run.record.error = {"code": "interrupted", "reason": "the run was interrupted"}
            interrupted = error
    finally:
        await run.stop()
    run.record.ok = run.record.error is None and run.record.succeeded()
    write_report(plan, run.record)
    output.text(f"report: {run.record.report}")
    if output.as_json:
        output.document(run.record)
    if interrupted is not None:
        raise interrupted
    return EXIT_OK if run.record.ok else EXIT_FAILED


class Quickstart:
    """The steps of one run.

    Args:
        output: takes each step as it happens.
        plan: what to start and where.

    Attributes:
        record: what has happened so far.
        kept: all steps are done, and the cluster runs until the command is interrupted.
    """

    def __init__(self, output: Output, plan: Plan) -> None:
        self.record = Record(
            run_directory=str(plan.directory),
            report=str(plan.directory / "quickstart-report.md"),
            cluster=plan.settings.name,
            seeds=plan.settings.seeds,
        )
        self.kept = False
        self._output = output
        self._plan = plan
        self._nodes: list[NodeProcess] = []

    async def steps(self, *, keep: bool) -> None:
        """All steps except the end."""
        output = self._output
        output.text(f"starting {len(self._plan.authorities)} nodes; their files: {self._plan.directory}")
        for index in range(len(self._plan.authorities)):
            await self._start_node(index)
        await asyncio.gather(*(node.wait_ready(START_TIMEOUT_S) for node in self._nodes))
        async with self._clients() as clients:
            await self._show_members(clients)
            keys = await self._sample_grains(clients[0])
            await self._calls_from_here(clients, keys)
            await self._calls_between(clients[0], keys)
        if not self.record.succeeded():
            return
        async with connect(config=self._client_settings(0)) as client:
            await self._survive(client, keys[-1])
        if keep:
            await self._keep()

    async def stop(self) -> None:
        """Ends every process of this run, and no other."""
        within_s = self._plan.settings.activation.drain_s + 2.0
        left = await asyncio.gather(*(node.stop(within_s) for node in self._nodes))
        for node, by_itself in zip(self._nodes, left, strict=True):
            if not by_itself:
                self._output.note(f"{node.name} did not leave cleanly; its log: {node.log_file}")
        self.record.stopped = [node.pid for node in self._nodes]

    # Steps.

    async def _start_node(self, index: int, name: str = "") -> NodeProcess:
        plan = self._plan
        authority, command = plan.authorities[index], plan.node_command(index)
        node = await NodeProcess.start(name or f"node-{index + 1}", authority, command, plan.directory, plan.environ)
        self._nodes.append(node)
        self.record.nodes.append(NodeRecord(node.name, authority, node.pid, command, str(node.log_file)))
        return node

    @asynccontextmanager
    async def _clients(self) -> AsyncGenerator[list[Cluster]]:
        """A client for each node, to see each node's own view."""
        async with AsyncExitStack() as stack:
            nodes = range(len(self._plan.authorities))
            joinings = [connect(config=self._client_settings(index)) for index in nodes]
            yield [await stack.enter_async_context(joining) for joining in joinings]

    def _client_settings(self, index: int) -> ClusterConfig:
        return self._plan.settings.replace(seeds=(self._plan.authorities[index],))

    async def _show_members(self, clients: list[Cluster]) -> None:
        wanted = {(str(node.ready and node.ready["authority"]), MemberStatus.UP) for node in self._nodes}

        async def all_see_all() -> bool | None:
            seen = [{(member.authority, member.status) for member in client.members()} for client in clients]
            return True if all(wanted <= statuses for statuses in seen) else None

        await _poll("all nodes see each other", all_see_all, START_TIMEOUT_S)
        self.record.members_up_s = round(process_age_s(), 3)
        members = clients[0].members()
        self.record.members = [describe_member(member) for member in members]
        up_s = self.record.members_up_s
        self._output.text(f"success: {len(members)} members see each other, {up_s:.2f} s after the command's start")
        self._output.table(f"members of {self.record.cluster!r}", MEMBER_COLUMNS, member_rows(members))

    async def _sample_grains(self, client: Cluster) -> list[str]:
        """One key for each node, found by asking grains where they live."""
        places: dict[str, tuple[str, Place]] = {}
        for number in range(1, KEYS_TRIED_MAX + 1):
            key = f"counter-{number}"
            place = await client.grain(Counter, key).place()
            places.setdefault(place.authority, (key, place))
            if len(places) == len(self._nodes):
                break
        else:
            raise RemoteError(f"{KEYS_TRIED_MAX} grains live on {', '.join(places)} only")
        found = [places[node.authority] for node in self._nodes]
        for key, place in found:
            pid = format_pid(Pid(place.authority, place.node_id, ClusterIdentity("Counter", key)), self.record.cluster)
            self.record.pids.append(pid)
            self._output.text(f"sample grain: {pid}")
        return [key for key, _ in found]

    async def _calls_from_here(self, clients: list[Cluster], keys: list[str]) -> None:
        """Through each node's client to a grain of the next node."""
        for index, client in enumerate(clients):
            key = keys[(index + 1) % len(keys)]
            counter = client.grain(Counter, key)
            source = f"client of {self._nodes[index].authority}"
            await self._call(source, self._nodes[(index + 1) % len(keys)].authority, key, counter.add)

    async def _calls_between(self, client: Cluster, keys: list[str]) -> None:
        """From a grain of each node to a grain of the next, and the reverse."""
        count = len(keys)
        pairs = [(index, (index + 1) % count) for index in range(count)]
        if count > 2:
            pairs += [(second, first) for first, second in pairs]
        for first, second in pairs:
            asking, asked = self._nodes[first].authority, self._nodes[second].authority

            async def ask(first: int = first, second: int = second, asking: str = asking, asked: str = asked) -> int:
                told = await client.grain(Counter, keys[first]).ask(keys[second])
                if (told.asked_from, told.answered_by) != (asking, asked):
                    raise RemoteError(f"{told.asked_from} asked {told.answered_by} instead")
                return told.value

            await self._call(f"{keys[first]} on {asking}", asked, keys[second], ask)

    async def _call(self, source: str, target: str, key: str, ask: Callable[[], Awaitable[int]]) -> None:
        """One ask and its reply, printed and recorded; a failure is printed with its reason."""
        started = time.perf_counter()
        call = CallRecord(source, target, f"Counter/{key}")
        try:
            call.reply = await ask()
            call.ok = True
        except InahoError as error:
            call.error = describe_error(error)
        except Exception as error:  # an exception of the grain may be of any class
            call.error = describe_error(RemoteError(type_name=type(error).__name__, message=str(error)))
        call.took_ms = round((time.perf_counter() - started) * 1e3, 3)
        self.record.calls.append(call)
        outcome = f"replied {call.reply} in {call.took_ms:.2f} ms" if call.error is None else "failed"
        self._output.text(f"ask: {source} -> {call.identity} on {target}: {outcome}")
        if call.error is not None:
            self._output.note(f"the ask failed [{call.error['code']}]: {call.error['reason']}")

    async def _survive(self, client: Cluster, key: str) -> None:
        """Kills the node with the activation of the grain, and calls the grain until it answers from another node."""
        counter = client.grain(Counter, key, timeout=1.0)
        before = await counter.value()
        place = await counter.place()
        victim = next(node for node in self._nodes if node.authority == place.authority)
        self._output.text(f"kill -9 {victim.pid}: {victim.name} at {victim.authority}, where Counter/{key} is {before}")
        killed_at = time.perf_counter()
        await victim.kill()

        async def answer() -> tuple[int, Place] | None:
            try:
                value, now = await counter.value(), await counter.place()
            except InahoError as error:
                if error.code not in ("timeout", "unreachable", "topology_unavailable", "ownership_changed"):
                    raise
                return None
            return None if now.node_id == place.node_id else (value, now)

        value, now = await _poll(f"Counter/{key} answers from another node", answer, SURVIVAL_TIMEOUT_S)
        took_s = round(time.perf_counter() - killed_at, 3)
        goes_on = await counter.add()
        self.record.survival = Survival(
            key=key,
            killed_pid=victim.pid,
            lived_on=place.authority,
            answers_from=now.authority,
            value_before=before,
            value_after=value,
            value_then=goes_on,
            took_s=took_s,
        )
        outcome = "with its saved state" if value == before else f"but its state was {before}"
        self._output.text(f"survived: Counter/{key} is {value} on {now.authority}, {outcome}, after {took_s:.2f} s")
        self._output.text(f"and it goes on: one more makes {goes_on}")

    async def _keep(self) -> None:
        """Restarts the killed node and waits to be interrupted."""
        index = next(index for index, node in enumerate(self._nodes) if not node.running)
        node = await self._start_node(index, f"node-{index + 1}-again")
        await node.wait_ready(START_TIMEOUT_S)
        self.kept = True
        self._output.text(f"{node.name} is up. The cluster runs until Ctrl-C; its settings: {self._plan.config_file}")
        await asyncio.Event().wait()


async def _poll(what: str, ask: Callable[[], Awaitable[T | None]], within_s: float) -> T:
    """Asks until the answer is not None.

    Raises:
        Timeout: it stayed None; `what` names what was waited for.
    """
    until = time.monotonic() + within_s
    while (found := await ask()) is None:
        if time.monotonic() >= until:
            raise Timeout(f"waited {within_s:g} s in vain until {what}", maybe_executed=False)
        await asyncio.sleep(POLL_S)
    return found
