"""`inaho topics dead-letters`: messages that a subscription has given up, and publishing them again.

What was published again is remembered by the position of a subscription of the dead-letter topic, so a second run does
not repeat it.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.commands.topic_messages import describe_message
from inaho.cli.options import TopicArgument
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output, date_and_time
from inaho.config import ClusterConfig
from inaho.errors import InvalidTopic, NoSuchTopic

__all__ = ["dead_letters_app"]

REPLAYED: Final = "inaho-dead-letters"
"""Name of the subscription whose position says what was published again."""

IDLE_S: Final = 10.0
"""A dead letter that does not come within this time is held by another run of the command."""

LIST_COLUMNS: Final = ("at", "key", "subscription", "attempts", "reason", "message")

LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]

dead_letters_app = typer.Typer(help="Messages that a subscription has given up.", no_args_is_help=True)


@dead_letters_app.command("list")
@client_command
async def list_dead_letters(
    output: Output, settings: ClusterConfig, *, topic_name: TopicArgument, limit: LimitOption = 100
) -> int:
    """Show the dead letters of a topic, also those that were published again."""
    found: list[inaho.Message[Any]] = []
    async with inaho.connect(config=settings) as cluster:
        letters = await _dead_letters(cluster, await _logged(cluster, topic_name))
        if letters is not None:
            async with letters.replay("earliest") as messages:
                async for message in messages:
                    found.append(message)
                    if len(found) == limit:
                        break
    found.sort(key=lambda each: each.published_at)
    if output.as_json:
        output.document({"topic": topic_name, "dead_letters": [describe_message(each) for each in found]})
    rows = [
        (
            date_and_time(each.published_at),
            each.key,
            *(str(each.value[what]) for what in ("subscription", "attempts", "reason", "value")),
        )
        for each in found
    ]
    output.table(f"{len(rows)} dead letters of {topic_name!r}", LIST_COLUMNS, rows)
    return EXIT_OK


@dead_letters_app.command()
@client_command
async def replay(
    output: Output, settings: ClusterConfig, *, topic_name: TopicArgument, limit: LimitOption = 1_000_000
) -> int:
    """Publish dead letters to their topic again, each once, for all its subscriptions. Fails if some are left."""
    done = left = 0
    async with inaho.connect(config=settings) as cluster:
        topic = await _logged(cluster, topic_name)
        letters = await _dead_letters(cluster, topic)
        if letters is not None:
            async with letters.subscribe(REPLAYED, start="earliest") as messages:
                left = min(limit, await _waiting(letters))
                while left and await _publish_next(topic, messages):
                    done, left = done + 1, left - 1
    if output.as_json:
        output.document({"topic": topic_name, "published": done, "left": left})
    output.text(f"published {done} dead letters to {topic_name} again")
    if left:
        output.note(f"{left} dead letters did not come within {IDLE_S:g} s: does another command publish them?")
    return EXIT_FAILED if left else EXIT_OK


async def _logged(cluster: inaho.Cluster, name: str) -> inaho.Topic[Any]:
    topic = await cluster.topic(name)
    if not topic.definition.durable:
        raise InvalidTopic(f"topic {name!r} is at most once, so it has no dead letters")
    return topic


async def _dead_letters(cluster: inaho.Cluster, topic: inaho.Topic[Any]) -> inaho.Topic[Any] | None:
    """The dead-letter topic; None as long as there was no dead letter."""
    try:
        return await cluster.topic(topic.definition.dead_letters)
    except NoSuchTopic:
        return None


async def _waiting(letters: inaho.Topic[Any]) -> int:
    """Dead letters that were not published again."""
    partitions = await asyncio.gather(*(letters.partition(at) for at in range(letters.definition.partitions)))
    return sum(each.lag for partition in partitions for each in partition.subscriptions if each.name == REPLAYED)


async def _publish_next(topic: inaho.Topic[Any], messages: inaho.Subscription[Any]) -> bool:
    """Publishes one dead letter; False if none comes. Its id makes a repetition after a failure harmless."""
    try:
        async with asyncio.timeout(IDLE_S):
            message = await anext(messages)
    except TimeoutError:
        return False
    number = f"{topic.definition.dead_letters}/{message.partition}/{message.sequence}"
    await topic.publish(message.value["value"], key=message.key, id=number)
    await message.ack()
    return True
