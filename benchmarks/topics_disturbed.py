"""What one bad subscriber costs the others: latencies of a topic at most once beside one that reads badly or not.

    python benchmarks/topics_disturbed.py [--rounds N] [--seconds S] [--rate N] [--json]

One process publishes at a steady rate, one reads, and one is bad: it `hangs` (its loop never takes a message again),
`raises` (its loop ends with an exception at each message, and subscribes again), `never_reads` (it takes no message at
all), or is `stopped` (SIGSTOP, so that it does not even read from its connection). Each round measures all of them, and
a `good` one in their place, in turn. Target: the p99 of the reader is at most 1.2 times that of the same round beside
the good one; the median over the rounds counts.

A latency begins when the message was due, so a publisher that is held up shows. For a process that reads nothing at all
`publish` waits once, at most `pubsub.room_wait_s`: a measurement must be so long that this is below its 1 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import statistics
import time
from collections import defaultdict

import uvloop
from inaho_topics_peer import once_topic
from measuring import Figures, percentile, show, until_input_ends
from topics_measuring import BODY, Sample, Subscriber, publish_last, say, subscriber

import inaho
from inaho import Cluster

HOW = ("good", "hangs", "raises", "never_reads", "stopped")
TARGET = 1.2
TOGETHER_S = 0.005
"""The publisher wakes up this often, and publishes what is due."""


async def read(cluster: Cluster) -> Figures:
    """The one that is measured: latencies of all messages."""
    topic = await once_topic(cluster)
    taken: list[float] = []
    missed = 0
    async with topic.subscribe() as messages:
        say("subscribed")
        async for message in messages:
            if message.value.at < 0:
                break
            missed += message.missed
            taken.append(time.monotonic() - message.value.at)
    taken.sort()
    return {"p50_us": percentile(taken, 0.5) * 1e6, "p99_us": percentile(taken, 0.99) * 1e6, "missed": missed}


async def misbehave(cluster: Cluster, how: str) -> None:
    """The bad one; `stopped` reads until its process is stopped."""
    topic = await once_topic(cluster)
    said = False
    while True:
        with contextlib.suppress(ArithmeticError):
            async with topic.subscribe() as messages:
                if not said:
                    say("subscribed")
                    said = True
                if how == "never_reads":
                    await asyncio.Event().wait()
                async for _ in messages:
                    if how == "hangs":
                        await asyncio.Event().wait()
                    if how == "raises":
                        raise ArithmeticError("as a bad handler does")


async def serve(authority: str, secret: str, how: str) -> None:
    async with inaho.join("127.0.0.1:0", seeds=[authority], secret=secret, storage="memory") as cluster:
        if how == "reads":
            say(json.dumps(await read(cluster)))
            await until_input_ends()
            return
        bad = asyncio.ensure_future(misbehave(cluster, how))
        await until_input_ends()
        bad.cancel()


async def measure_one(how: str, seconds: float, rate: float) -> Figures:
    """The reader's figures with one disturbance."""
    secret = secrets.token_hex(16)
    async with inaho.join("127.0.0.1:0", secret=secret, storage="memory") as cluster:
        program = (__file__, "--serve", cluster.authority, secret)
        async with subscriber(*program, "reads") as reader, subscriber(*program, how) as bad:
            if how != "stopped":
                return await publish(cluster, reader, seconds, rate)
            bad.send_signal(signal.SIGSTOP)
            try:
                return await publish(cluster, reader, seconds, rate)
            finally:
                bad.send_signal(signal.SIGCONT)


async def publish(cluster: Cluster, reader: Subscriber, seconds: float, rate: float) -> Figures:
    topic = await once_topic(cluster)
    each, due = max(1, round(rate * TOGETHER_S)), time.monotonic()
    until, longest = due + seconds, 0.0
    while due < until:
        due += TOGETHER_S
        await asyncio.sleep(due - time.monotonic())
        for _ in range(each):
            await topic.publish(Sample(due, BODY))
        longest = max(longest, time.monotonic() - due)
    figures = await publish_last(topic.publish, reader)
    return {**figures, "longest_publish_us": longest * 1e6}


async def measure(rounds: int, seconds: float, rate: float) -> Figures:
    """Medians over the rounds; ratios are those of each round."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        undisturbed = 0.0
        for how in HOW:
            figures = await measure_one(how, seconds, rate)
            found[f"{how}_p50_us"].append(figures["p50_us"])
            found[f"{how}_p99_us"].append(figures["p99_us"])
            found[f"{how}_missed"].append(figures["missed"])
            found[f"{how}_longest_publish_us"].append(figures["longest_publish_us"])
            if how == "good":
                undisturbed = figures["p99_us"]
            else:
                found[f"{how}_p99_ratio"].append(figures["p99_us"] / undisturbed)
    return {**{name: statistics.median(values) for name, values in found.items()}, "target_p99_ratio": TARGET}


def main() -> None:
    parser = argparse.ArgumentParser(description="What one bad subscriber costs the others.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=25.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=20_000.0, help="messages per second")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--serve", nargs=3, metavar=("AUTHORITY", "SECRET", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(*options.serve))
        return
    show(uvloop.run(measure(options.rounds, options.seconds, options.rate)), options.json)


if __name__ == "__main__":
    main()
