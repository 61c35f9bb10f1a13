"""Messages between actors of real processes: through broken connections, and to a process that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inaho
from inaho import ClusterConfig, MembershipConfig
from inaho.actor import StopReason
from inaho.errors import Unreachable
from inaho.events import MessageInDoubt
from support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
SECRET = "known to both"
LIMIT_S = 20.0


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def receiver() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A member with actors that take notes, in a process of its own, and its authority."""
    process = subprocess.Popen(
        [sys.executable, str(BENCHMARKS / "delivery_server.py"), SECRET],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_eight_senders_through_forced_reconnections():
    done = subprocess.run(
        [
            sys.executable, str(BENCHMARKS / "delivery.py"), "--only", "interrupted", "--messages", "4000",
            "--senders", "8", "--reconnections", "20", "--json",
        ],
        env=environment(), capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["messages"] == 32_000
    assert figures["interruptions"] == 20
    assert figures["reconnections"] >= 10
    wrong = ("inversions", "duplicates", "unexplained", "dead_but_received", "law_error")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert figures["accepted"] == figures["delivered"] + figures["in_doubt"] + figures["dead_lettered"]
    assert figures["delivered"] <= figures["received"] + 20  # what the saboteur was told is not in the notes
    assert figures["in_doubt"] > 0


async def test_a_killed_process_ends_watches_and_leaves_the_unanswered_in_doubt(receiver: Any):
    process, authority = receiver
    config = ClusterConfig(secret=SECRET, membership=MembershipConfig(remove_unreachable_after_s=0.2))
    async with inaho.join("127.0.0.1:0", seeds=[authority], config=config, storage="memory") as cluster:
        remote = cluster.actor(f"inaho://inaho@{authority}/user/counter")
        assert await remote.ask("count") == 0
        watching = asyncio.ensure_future(remote.wait_terminated())
        await until(lambda: remote.target.channel._watches._sent)  # type: ignore[attr-defined]
        process.send_signal(signal.SIGSTOP)
        with cluster.system.events.subscribe(MessageInDoubt) as doubtful:
            for number in range(10):
                remote.tell(number)
            asking = asyncio.ensure_future(remote.ask("count", timeout_s=LIMIT_S))
            await until(lambda: cluster.delivery_counts().unacknowledged == 11)
            process.kill()
            with pytest.raises(Unreachable) as failed:
                await asking
            assert failed.value.maybe_executed
            assert [event.message for event in doubtful.drain()] == [*range(10), "count"]
        async with asyncio.timeout(LIMIT_S):
            terminated = await watching
        assert (terminated.reason, terminated.exists) == (StopReason.NODE_REMOVED, True)
        remote.tell("too late")
        assert cluster.system.dead_letters.recent[-1].message == "too late"
        cluster._node.remoting.check()
        counts = cluster.delivery_counts()
        assert (counts.in_doubt, counts.waiting, counts.unacknowledged) == (11, 0, 0)


async def test_a_stopped_process_costs_bounded_memory_and_holds_up_nobody_else(receiver: Any):
    process, authority = receiver
    patient = MembershipConfig(remove_unreachable_after_s=60.0)  # what is sent to a removed member waits no more
    config = ClusterConfig(secret=SECRET, membership=patient)
    async with (
        inaho.join("127.0.0.1:0", seeds=[authority], config=config, storage="memory") as cluster,
        inaho.join("127.0.0.1:0", seeds=[cluster.authority], config=config, storage="memory") as third,
    ):
        await until(lambda: len(cluster.members()) == 3)
        slow = cluster.actor(f"inaho://inaho@{authority}/user/counter")
        got: list[Any] = []

        class Recorder(inaho.Actor):
            async def receive(self, message: Any) -> None:
                got.append(message)

        quick = cluster.actor(third.pid(third.system.spawn(inaho.Props(Recorder), "recorder")))
        assert await slow.ask("count") == 0
        process.send_signal(signal.SIGSTOP)
        try:
            payload = bytes(1000)
            for number in range(50_000):
                slow.tell(payload)
                if number % 1000 == 0:
                    quick.tell(number)
                    await asyncio.sleep(0)
            counts = cluster.delivery_counts()
            delivery = config.delivery
            queue = slow.target.channel.queue  # type: ignore[attr-defined]
            assert queue.waiting <= delivery.queue_messages_max
            assert queue.waiting_bytes <= delivery.queue_bytes_max
            assert queue.sent_bytes <= delivery.unacknowledged_bytes_max + config.transport.frame_bytes_max
            assert counts.dead_lettered >= 50_000 - queue.waiting - queue.sent
            await until(lambda: len(got) == 50)
            assert got == sorted(got)
        finally:
            process.send_signal(signal.SIGCONT)
