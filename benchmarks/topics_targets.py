"""What the benchmark of topics states: rows like those of `targets`, for subjects that publish and subscribe."""

from __future__ import annotations

from targets import MEGABYTE, ONCE, Row

PUSH = ("push", "per_second")
SAVES = ("topics", "saves_per_second")
STORED = ("nats", "stored_per_second")
SYNCED = ("nats", "synced_per_second")

TOPIC_ROWS = (
    Row("push", "per_second", "limit: push", "/s"),
    Row("push", "p50_us", "limit: push at a low rate, p50", "us"),
    Row("topics", "per_second", "at most once", "/s", PUSH, at_least=0.4),
    Row("topics", "lost_share", "at most once, lost", "", at_most=0.01),
    Row("topics", "p50_us", "at a low rate, p50, to one way of a call", "us", ("topics", "call_p50_us"), at_most=1.3),
    Row("topics", "fan_out_per_second", "deliveries to 64 subscribers", "/s", at_least=1_000_000),
    Row("topics", "stored_one_per_second", "stored, one waits, to saves", "/s", SAVES, at_least=0.7),
    Row("topics", "stored_one_read_per_second", "the same beside a subscriber", "/s", SAVES),
    Row("topics", "stored_per_second", "stored, fsync, 64 publishers", "/s"),
    Row("topics", "stored_received_per_second", "stored, fsync, acknowledged", "/s"),
    Row("topics", "unsynced_per_second", "stored, no fsync, 64 publishers", "/s"),
    Row("topics", "unsynced_keyed_per_second", "the same with 64 keys, 8 partitions", "/s"),
    Row("topics", "sends_per_second", "durable sends, fsync, 64 senders", "/s", at_least=10_000),
    Row("topics", "sends_done_per_second", "durable sends, done", "/s"),
    Row(ONCE, "topic_bytes", "a topic, resident", "B"),
    Row(ONCE, "topics_per_second", "topics created", "/s"),
    Row(ONCE, "cycles_per_second", "subscribed and closed", "/s"),
    Row(ONCE, "cycles_growth_bytes", "the same leaves behind", "MiB", at_most=4, scale=MEGABYTE),
    Row(ONCE, "topics_left", "topics left when all are deleted", "", at_most=0),
    Row("nats", "core_per_second", "NATS core", "/s", PUSH),
    Row("nats", "core_p50_us", "NATS core at a low rate, p50", "us"),
    Row("topics", "per_second", "at most once to NATS core", "/s", ("nats", "core_per_second"), at_least=4),
    Row("nats", "stored_per_second", "JetStream, no fsync, 64 in flight", "/s"),
    Row("nats", "synced_per_second", "JetStream, fsync, 64 in flight", "/s"),
    Row("topics", "unsynced_per_second", "stored to JetStream, both without fsync", "/s", STORED, at_least=3),
    Row("topics", "stored_per_second", "stored to JetStream, both with fsync", "/s", SYNCED, at_least=3),
    Row("redis", "per_second", "Redis", "/s", PUSH),
    Row("redis", "p50_us", "Redis at a low rate, p50", "us"),
    Row("topics", "per_second", "at most once to Redis", "/s", ("redis", "per_second"), at_least=8),
)  # fmt: skip
