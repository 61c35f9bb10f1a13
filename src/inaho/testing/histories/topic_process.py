"""Members in processes of their own that publish and read topics under load, and can be restarted, killed and stopped.

    async with TopicCluster(3, folder) as cluster:
        await cluster.members[2].kill()
        await cluster.members[2].start()
        await cluster.settle()
    nothing_unhandled(cluster.history())

`python -m inaho.testing.histories.topic_process SETTINGS` is such a member, see `grain_process`. It publishes to a
topic at most once and to one at least once, reads the first, and is a member of a group of the second. A line on its
standard input ends its publishing; it goes on reading.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from typing import Any, Final

import msgspec

from inaho.errors import InahoError
from inaho.events import NodePaused, SelfRemoved, TopicEvent
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.cluster.join import join
from inaho.runtime.topics.topic import Topic
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Journal, Record
from inaho.testing.histories.grain_process import GrainCluster, Settings, say
from inaho.testing.histories.topic_checkers import nothing_unhandled
from inaho.testing.histories.topic_history import Leaving, Published, read_topic_journals, record_of
from inaho.testing.histories.topic_workload import TopicPublisher, TopicReader

__all__ = ["TopicCluster"]

LOOSE: Final = "loose"
KEPT: Final = "kept"
GROUP: Final = "readers"
POLICIES: Final[dict[str, dict[str, Any]]] = {
    LOOSE: {"delivery": "at_most_once", "allow_no_subscribers": True},
    KEPT: {
        "delivery": "at_least_once",
        "partitions": 4,
        "attempts_max": 100_000,
        "ack_timeout_s": 5.0,
        "retry_base_s": 0.1,
        "retry_max_s": 1.0,
    },
}
KEYS: Final = ("", *(f"key-{number}" for number in range(20)))
PAUSE_S: Final = 0.005
"""Between two publishes of one task."""

PUBLISHERS: Final = 4
"""Tasks of one member that publish at least once; at most once it is one, so that its order is known."""

POLL_S: Final = 0.5


class TopicCluster(GrainCluster):
    """Several members on loopback that share one storage; see `GrainCluster`."""

    program = "inaho.testing.histories.topic_process"

    def history(self) -> list[Record]:
        """All records of all members so far."""
        return read_topic_journals(self.folder.glob("*.journal"))

    async def publishes(self, count: int, within_s: float = 60.0) -> None:
        """Returns when so many more messages were acknowledged, of all members together.

        Raises:
            TimeoutError: that takes longer than `within_s`.
        """

        def acknowledged() -> int:
            return sum(isinstance(record, Published) for record in self.history())

        wanted = await asyncio.to_thread(acknowledged) + count
        async with asyncio.timeout(within_s):
            while await asyncio.to_thread(acknowledged) < wanted:  # noqa: ASYNC110  other processes write it
                await asyncio.sleep(POLL_S)

    async def settle(self, told_s: float, within_s: float = 60.0) -> None:
        """Ends all publishing and waits until the group has handled everything that was acknowledged.

        Args:
            told_s: waits so long in any case, for what nodes tell of losses.
            within_s: gives up then, and leaves the verdict to the checkers.
        """
        for member in self.members:
            member.order("quiet")
        await asyncio.sleep(told_s)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            history = await asyncio.to_thread(self.history)
            try:
                nothing_unhandled(history)
                return
            except PromiseBroken:
                await asyncio.sleep(POLL_S)


async def _tell(cluster: Cluster, journal: Journal) -> None:
    async for event in cluster.events(TopicEvent, NodePaused, SelfRemoved, capacity=65_536):
        record = record_of(event, node=cluster.self.node_id, at=journal.now())
        if record is not None:
            journal.write(record)


async def _topic(cluster: Cluster, name: str) -> Topic[str]:
    while True:
        try:
            topic: Topic[str] = await cluster.topic(name, str, **POLICIES[name])
        except InahoError:
            await asyncio.sleep(0.2)
        else:
            return topic


async def _publish(publisher: TopicPublisher, quiet: asyncio.Event) -> None:
    chance = random.Random()
    while not quiet.is_set():
        if await publisher.publish(chance.choice(KEYS)) is not None:
            await asyncio.sleep(0.1)
        await asyncio.sleep(chance.uniform(0.0, 2 * PAUSE_S))


async def _work(cluster: Cluster, journal: Journal, quiet: asyncio.Event) -> None:
    node = cluster.self.node_id
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell(cluster, journal))
        for name in POLICIES:
            topic = await _topic(cluster, name)
            group = GROUP if name == KEPT else ""
            tasks.create_task(TopicReader(journal, topic, node, f"{node}-{name}", group=group).run())
            for number in range(PUBLISHERS if name == KEPT else 1):
                publisher = TopicPublisher(journal, topic, node, f"{node}-{name}-{number}")
                tasks.create_task(_publish(publisher, quiet))


async def _member(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stop, quiet = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def read() -> None:
        (quiet if os.read(0, 4096) else stop).set()

    loop.add_reader(0, read)
    journal = Journal(time.monotonic, settings.journal)
    try:
        cluster = await join(config=settings.config, storage=settings.storage)
    except InahoError as error:
        say("failed", code=error.code, reason=error.reason)
        return 3
    working = loop.create_task(_work(cluster, journal, quiet))
    say("ready", authority=cluster.authority, node_id=cluster.self.node_id)
    stopping = loop.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(0)
    journal.write(Leaving(at=journal.now(), node=cluster.self.node_id))
    await cluster.close()
    working.cancel()
    await asyncio.wait([working])
    say("left")
    return 0 if working.cancelled() else 4


def main() -> int:
    """The program of a member; its one argument is `Settings` in JSON."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_member(settings))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_member(settings))


if __name__ == "__main__":
    sys.exit(main())
