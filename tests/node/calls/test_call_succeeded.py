"""`CallSucceeded`: one for each call that has returned, made only when a subscriber names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Cluster, Grain
from inaho.actor import Subscription
from inaho.events import CallSucceeded, Event


class Echo(Grain):
    async def echo(self, text: str) -> str:
        if not text:
            raise ValueError("nothing to say")
        return text

    async def letters(self, text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter


def told(subscription: Subscription[CallSucceeded]) -> list[tuple[str, str]]:
    """Identities and methods of the events that wait; each has taken some time, and no more than a test may take."""
    events = subscription.drain()
    assert all(0 < event.duration_s < 60 for event in events)
    return [(str(event.identity), event.method) for event in events]


@pytest.fixture
async def pair(fleet: Any) -> list[Cluster]:
    """Two members that host the kind."""
    return await fleet.members(2, Echo)


@pytest.mark.parametrize("there", [False, True])
async def test_each_call_that_returns_is_told_where_it_was_made(
    fleet: Any, eventually: Any, pair: list[Cluster], there: bool
):
    one = pair[0]
    key = fleet.key_at(pair[there], Echo)
    grain = one.grain(Echo, key)
    calls = [(f"Echo/{key}", "echo")]
    with (
        one.system.events.subscribe(CallSucceeded) as here,
        pair[1].system.events.subscribe(CallSucceeded) as elsewhere,
        one.system.events.subscribe(Event) as everything,
    ):
        assert [await grain.echo("first"), await grain.echo("again")] == ["first", "again"]
        assert told(here) == calls * 2
        with pytest.raises(ValueError, match="nothing to say"):
            await grain.echo("")
        assert told(here) == []
        assert await one.call("Echo", key, "echo", "by name") == "by name"
        assert told(here) == calls
        one.send(grain.echo, "one way")
        await eventually(lambda: len(here) == 1)
        assert told(here) == calls
        assert [letter async for letter in grain.letters("abc")] == ["a", "b", "c"]
        assert told(here) == [(f"Echo/{key}", "letters")]
        assert not any(isinstance(event, CallSucceeded) for event in everything.drain())
        assert not len(elsewhere)


async def test_it_is_made_only_as_long_as_somebody_names_it(fleet: Any, pair: list[Cluster]):
    one = pair[0]
    local = one.runtime.local
    with one.system.events.subscribe(Event):
        assert not local.successes_wanted
        events = one.events(CallSucceeded)
        assert local.successes_wanted
        await one.grain(Echo, "a").echo("hello")
        assert (await anext(events)).method == "echo"
        await events.aclose()  # type: ignore[attr-defined]
        assert not local.successes_wanted
