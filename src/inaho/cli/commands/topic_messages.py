"""`inaho topics publish` and `inaho topics subscribe`: the messages of a topic, as JSON or plain text."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.commands.call import parse_argument
from inaho.cli.options import TopicArgument
from inaho.cli.output import EXIT_OK, Output, time_of_day, to_json
from inaho.config import ClusterConfig
from inaho.errors import InvalidTopic

__all__ = ["describe_message", "parse_start", "publish", "subscribe", "write_message"]


@client_command
async def publish(
    output: Output,
    settings: ClusterConfig,
    *,
    topic_name: TopicArgument,
    value: Annotated[
        str, typer.Argument(help="The message: JSON, or plain text. `-` publishes each line of standard input.")
    ],
    key: Annotated[str, typer.Option("--key", help="Messages of one key are delivered in order.")] = "",
    message_id: Annotated[
        str, typer.Option("--id", help="At least once: a message with an id that was published is not stored again.")
    ] = "",
) -> int:
    """Publish a message to a topic. At least once it returns when the message is stored."""
    count = 0
    async with inaho.connect(config=settings) as cluster:
        topic = await cluster.topic(topic_name)
        if value == "-":
            if message_id:
                raise InvalidTopic("--id is of one message, and standard input has many")
            async for line in _lines():
                await topic.publish(parse_argument(line), key=key)
                count += 1
        else:
            await topic.publish(parse_argument(value), key=key, id=message_id)
            count = 1
    if output.as_json:
        output.document({"topic": topic_name, "published": count})
    output.text(f"published {count} to {topic_name}")
    return EXIT_OK


@client_command
async def subscribe(
    output: Output,
    settings: ClusterConfig,
    *,
    topic_name: TopicArgument,
    subscription: Annotated[
        str,
        typer.Option(
            "--subscription",
            help="At least once: take messages from this subscription and acknowledge them. Without it they are only "
            "looked at.",
            show_default=False,
        ),
    ] = "",
    start: Annotated[
        str, typer.Option("--start", help="At least once: latest, earliest, or an ISO time with its time zone.")
    ] = "latest",
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many messages.", show_default=False)
    ] = None,
) -> int:
    """Write the messages of a topic as they arrive, one line for each, until Ctrl-C."""
    begins = parse_start(start)
    async with inaho.connect(config=settings) as cluster:
        topic = await cluster.topic(topic_name)
        if topic.definition.durable and not subscription:
            messages = topic.replay(begins, follow=True)
        else:
            messages = topic.subscribe(subscription, start=begins)
        left = count
        async with messages:
            output.note(f"subscribed to {topic_name}")
            async for message in messages:
                write_message(output, message)
                await message.ack()
                if left is not None:
                    left -= 1
                    if not left:
                        break
    return EXIT_OK


def parse_start(text: str) -> str | datetime:
    """Where to begin, as it was typed.

    Raises:
        InvalidTopic: it is no beginning.
    """
    if text in ("latest", "earliest"):
        return text
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidTopic(
            f"--start must be latest, earliest or an ISO time with its time zone, not {text!r}"
        ) from None


def write_message(output: Output, message: inaho.Message[Any]) -> None:
    """Writes one message: a JSON document, or one line for a person."""
    if output.as_json:
        output.document(describe_message(message))
        return
    key = f" {message.key}" if message.key else ""
    missed = f" ({message.missed} missed before it)" if message.missed else ""
    again = f" (attempt {message.attempt})" if message.attempt > 1 else ""
    value = to_json(message.value).decode()
    output.text(f"{time_of_day(message.published_at)}{key}{missed}{again} {value}")


def describe_message(message: inaho.Message[Any]) -> dict[str, Any]:
    """A message as plain data."""
    return {
        "value": message.value,
        "key": message.key,
        "sequence": message.sequence,
        "published_at": message.published_at,
        "partition": message.partition,
        "attempt": message.attempt,
        "missed": message.missed,
        "publisher": message.publisher,
    }


async def _lines() -> AsyncIterator[str]:
    """The lines of standard input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        if text := line.rstrip("\n"):
            yield text
