"""The values of the instruments of topics. The first topics have labels of their own, the rest is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from inaho.core.pubsub.bottlenecks import STAGES
from inaho.core.rpc.throttle import OTHER

if TYPE_CHECKING:
    from inaho.observe.metrics import Sample
    from inaho.runtime.telemetry.counts import EventCounts
    from inaho.runtime.topic_logs.topic_counts import TopicNumbers
    from inaho.runtime.topics.topic_load import TopicLoad

__all__ = ["topic_values"]

Values: TypeAlias = Iterator[tuple[str, Sequence["Sample"]]]


def topic_values(load: TopicLoad, events: EventCounts | None) -> Values:
    """The values of each instrument."""
    counts = load.counts

    def counted(name: str) -> dict[str, float]:
        """What events say, by the label of the topic."""
        found: dict[str, float] = {}
        for (topic,), count in [] if events is None else events.samples(name):
            label = counts.label(topic)
            found[label] = found.get(label, 0) + count
        return found

    known = [*counts.topics.items(), (OTHER, counts.others)]
    used = [(topic, numbers) for topic, numbers in known if numbers.published or numbers.received or numbers.dropped]
    for name in ("published", "received", "delivered", "redelivered", "missed"):
        yield f"inaho.topic.{name}", [((topic,), getattr(numbers, name)) for topic, numbers in used]
    dropped: list[Sample] = [
        ((topic, reason), count) for topic, numbers in used for reason, count in numbers.dropped.items()
    ]
    dropped += [((topic, "backlog"), count) for topic, count in counted("backlog").items()]
    yield "inaho.topic.dropped", dropped
    yield "inaho.topic.latency.quantile", [sample for topic, numbers in used for sample in _latency(topic, numbers)]
    yield (
        "inaho.topic.bottleneck",
        [
            ((topic, stage), float(stage == found.stage))
            for topic, found in load.bottlenecks.items()
            for stage in STAGES
        ],
    )
    yield "inaho.topic.dead_lettered", [((topic,), count) for topic, count in counted("dead_lettered").items()]
    yield "inaho.topic.lag", [((topic,), lag) for topic, lag in load.lags().items()]


def _latency(topic: str, numbers: TopicNumbers) -> Iterator[Sample]:
    samples = sorted(numbers.latencies_s)
    if samples:
        for quantile in (0.5, 0.99):
            yield (topic, f"{quantile:g}"), max(0.0, samples[min(len(samples) - 1, int(quantile * len(samples)))])
