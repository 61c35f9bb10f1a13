"""`inaho topics`: lists topics, shows one with its partitions, lag and bottleneck, and deletes.

`topic_messages` publishes and subscribes, `dead_letters` lists dead letters and publishes them again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.commands.dead_letters import dead_letters_app
from inaho.cli.commands.topic_messages import publish, subscribe
from inaho.cli.member_output import name_silent
from inaho.cli.options import TopicArgument
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output, describe_error
from inaho.config import ClusterConfig
from inaho.errors import InahoError, InvalidTopic

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.operators.topic_bottlenecks import TopicBottlenecks
    from inaho.runtime.topic_logs.keeper_messages import PartitionDescription, SubscriptionDescription

__all__ = ["consumers_of", "lags_of", "topics_app"]

LIST_COLUMNS: Final = ("topic", "delivery", "type", "when cut off", "partitions")
PARTITION_COLUMNS: Final = ("partition", "keeper", "first", "end", "bytes")
LAG_COLUMNS: Final = ("subscription", "lag", "oldest s", "in flight", "held", "again", "dead", "consumers")
BOTTLENECK_COLUMNS: Final = ("member", "limited by", "figure")

Silent = list[tuple[int, InahoError]]
"""Partitions whose keepers did not answer, with the reason."""


topics_app = typer.Typer(help="Topics: their messages, subscriptions and dead letters.", no_args_is_help=True)
topics_app.command()(publish)
topics_app.command()(subscribe)
topics_app.add_typer(dead_letters_app, name="dead-letters")


@topics_app.command("list")
@client_command
async def list_topics(output: Output, settings: ClusterConfig) -> int:
    """Show all topics and how they deliver."""
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.topics()
    if output.as_json:
        output.document({"cluster": settings.name, "topics": [msgspec.to_builtins(each) for each in found]})
    rows = [
        (
            each.name,
            each.delivery,
            each.message_type or "any",
            each.when_cut_off,
            str(each.partitions) if each.durable else "",
        )
        for each in found
    ]
    output.table(f"{len(rows)} topics of {settings.name!r}", LIST_COLUMNS, rows)
    return EXIT_OK


@topics_app.command()
@client_command
async def show(output: Output, settings: ClusterConfig, *, topic_name: TopicArgument) -> int:
    """Show one topic: its settings, the partitions of its log, and what limits it.

    Fails when a keeper or a member does not answer.
    """
    async with inaho.connect(config=settings) as cluster:
        topic = await cluster.topic(topic_name)
        (partitions, silent), limits = await asyncio.gather(_partitions(topic), cluster.bottlenecks(topic_name))
    if output.as_json:
        output.document(
            {
                "topic": msgspec.to_builtins(topic.definition),
                "partitions": msgspec.to_builtins(partitions),
                "silent": _describe(silent),
                **_describe_limits(limits),
            }
        )
    for setting in _settings(topic.definition):
        output.text(setting)
    if topic.definition.durable:
        rows = [
            (str(each.partition), each.authority, str(each.first), str(each.end), str(each.size_bytes))
            for each in partitions
        ]
        output.table(f"{len(rows)} partitions", PARTITION_COLUMNS, rows)
    return max(_show_limits(output, limits), _name(output, silent))


@topics_app.command()
@client_command
async def lag(
    output: Output,
    settings: ClusterConfig,
    *,
    topic_name: TopicArgument,
    most: Annotated[
        int | None,
        typer.Option("--max", min=0, help="Fail when a subscription has a greater lag.", show_default=False),
    ] = None,
) -> int:
    """Show how far each subscription of a topic at least once is behind, and what limits the topic.

    lag: messages that are not settled. oldest s: seconds since the oldest of them was published. in flight: with
    consumers, and not settled. held: keys that wait because a message of theirs failed. again, dead: deliveries
    after the first one, and messages given up, since the keepers began. consumers: loops, handlers, and
    members with grains that share the messages.

    Fails when a keeper or a member does not answer.
    """
    async with inaho.connect(config=settings) as cluster:
        topic = await cluster.topic(topic_name)
        if not topic.definition.durable:
            raise InvalidTopic(
                f"topic {topic_name!r} is at most once: its messages are not kept, so nothing waits in it"
            )
        (partitions, silent), limits = await asyncio.gather(_partitions(topic), cluster.bottlenecks(topic_name))
    lags = lags_of(partitions)
    if output.as_json:
        output.document(
            {
                "topic": topic_name,
                "subscriptions": lags,
                "silent": _describe(silent),
                **_describe_limits(limits),
            }
        )
    now = time.time()
    rows = [
        (
            each["name"],
            str(each["lag"]),
            f"{max(0.0, now - each['oldest_at']):.1f}" if each["oldest_at"] else "",
            *(str(each[what]) for what in ("in_flight", "held_keys", "redelivered", "dead_letters")),
            str(consumers_of(each)),
        )
        for each in lags
    ]
    output.table(f"{len(rows)} subscriptions of {topic_name!r}", LAG_COLUMNS, rows)
    code = _show_limits(output, limits)
    behind = [each["name"] for each in lags if most is not None and each["lag"] > most]
    for subscription in behind:
        output.note(f"subscription {subscription} has a lag of more than {most}")
    return EXIT_FAILED if behind else max(code, _name(output, silent))


@topics_app.command()
@client_command
async def delete(
    output: Output,
    settings: ClusterConfig,
    *,
    topic_name: TopicArgument,
    subscription: Annotated[
        str | None,
        typer.Option("--subscription", help="Only this subscription of it, at least once.", show_default=False),
    ] = None,
) -> int:
    """Delete a topic with its messages and subscriptions, or one subscription; for ever. Fails if there is none."""
    async with inaho.connect(config=settings) as cluster:
        if subscription is None:
            await cluster.delete_topic(topic_name)
            deleted = True
        else:
            deleted = await (await cluster.topic(topic_name)).delete_subscription(subscription)
    what = f"topic {topic_name}" if subscription is None else f"subscription {subscription} of topic {topic_name}"
    if output.as_json:
        output.document({"topic": topic_name, "subscription": subscription, "deleted": deleted})
    if not deleted:
        output.note(f"there is no {what}")
        return EXIT_FAILED
    output.text(f"{what} was deleted")
    return EXIT_OK


def lags_of(partitions: Sequence[PartitionDescription]) -> list[dict[str, Any]]:
    """The subscriptions of a topic, sorted by name, each with the sums over its partitions."""
    by_name: dict[str, list[SubscriptionDescription]] = {}
    for partition in partitions:
        for each in partition.subscriptions:
            by_name.setdefault(each.name, []).append(each)
    return [_lag_of(name, by_name[name]) for name in sorted(by_name)]


def consumers_of(lag: Mapping[str, Any]) -> int:
    """How many share the messages; each has a consumer in every partition, `<node>/<number>/<partition>`."""
    return len({consumer.rpartition("/")[0] for _, consumer in lag["consumers"]})


def _lag_of(name: str, parts: Sequence[SubscriptionDescription]) -> dict[str, Any]:
    return {
        "name": name,
        "lag": sum(part.lag for part in parts),
        "oldest_at": min((part.oldest_at for part in parts if part.oldest_at), default=0.0),
        "in_flight": sum(part.in_flight for part in parts),
        "held_keys": sum(part.held_keys for part in parts),
        "waiting_s": min((part.waiting_s for part in parts if part.waiting_s), default=0.0),
        "attempts_most": max(part.attempts_most for part in parts),
        "redelivered": sum(part.redelivered for part in parts),
        "dead_letters": sum(part.dead_letters for part in parts),
        "consumers": sorted({(each.authority, each.consumer) for part in parts for each in part.consumers}),
    }


async def _partitions(topic: inaho.Topic[Any]) -> tuple[list[PartitionDescription], Silent]:
    """The partitions, and those without an answer; none of a topic at most once."""
    count = topic.definition.partitions if topic.definition.durable else 0
    asked = (topic.partition(number) for number in range(count))
    found: list[PartitionDescription] = []
    silent: Silent = []
    for number, answer in enumerate(await asyncio.gather(*asked, return_exceptions=True)):
        if isinstance(answer, InahoError):
            silent.append((number, answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append(answer)
    return found, silent


def _settings(definition: TopicDefinition) -> list[str]:
    """One line for each setting that matters for this delivery."""
    only_logged = ("partitions", "retention", "backlog", "attempts", "ack_timeout", "retry", "dedup")
    return [
        f"{setting}: {value}"
        for setting, value in msgspec.to_builtins(definition).items()
        if definition.durable or not setting.startswith(only_logged)
    ]


def _describe_limits(limits: TopicBottlenecks) -> dict[str, Any]:
    return {"bottlenecks": msgspec.to_builtins(limits.found), "silent_members": msgspec.to_builtins(limits.silent)}


def _show_limits(output: Output, limits: TopicBottlenecks) -> int:
    """What limits the topic, and what each member says; returns the exit code."""
    if limits.found:
        rows = [(each.authority, each.stage, each.text) for each in limits.found]
        output.table(f"limited by: {limits.found[0].stage}", BOTTLENECK_COLUMNS, rows)
    else:
        output.text("limited by: nothing that a member has seen within the last second")
    name_silent(output, limits.silent)
    return EXIT_FAILED if limits.silent else EXIT_OK


def _describe(silent: Silent) -> list[dict[str, Any]]:
    return [{"partition": number, "error": describe_error(error)} for number, error in silent]


def _name(output: Output, silent: Silent) -> int:
    for number, error in silent:
        output.note(f"the keeper of partition {number} did not answer [{error.code}]: {error}")
    return EXIT_FAILED if silent else EXIT_OK
