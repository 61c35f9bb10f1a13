"""Spawning, telling, children, names and behaviours."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorRef, ActorSystem, MailboxConfig, Props
from inaho.errors import InvalidConfig, MailboxFull, NameInUse, Overloaded, ShuttingDown
from inaho.events import DeadLetter
from support.waiting import Eventually


class Recorder(Actor):
    """Keeps what it gets in a list that outlives it."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    async def on_start(self) -> None:
        self.seen.append("start")

    async def receive(self, message: Any) -> None:
        self.seen.append(message)

    async def on_stop(self) -> None:
        self.seen.append("stop")


def gated(seen: list[Any], gate: asyncio.Event) -> Props:
    async def behaviour(_: ActorContext, message: Any) -> None:
        await gate.wait()
        seen.append(message)

    return Props(behaviour)


async def test_messages_arrive_in_order_between_the_hooks(system: ActorSystem, eventually: Eventually) -> None:
    seen: list[Any] = []
    ref = system.spawn(Props(lambda: Recorder(seen)), "a")
    assert ref.path == "inaho://test/user/a"
    assert ref.name == "a"
    for number in range(200):
        ref.tell(number)
    await eventually(lambda: len(seen) == 201)
    ref.stop()
    await ref.wait_terminated()
    assert seen == ["start", *range(200), "stop"]


async def test_a_function_is_a_behaviour(system: ActorSystem) -> None:
    async def double(context: ActorContext, message: int) -> None:
        context.reply(message * 2)

    class Triple:  # an object that is called like a coroutine function is one too
        async def __call__(self, context: ActorContext, message: int) -> None:
            context.reply(message * 3)

    assert await system.spawn(Props(double)).ask(21) == 42
    assert await system.spawn(Props(Triple())).ask(5) == 15


async def test_the_sender_is_known_during_the_message_only(system: ActorSystem, eventually: Eventually) -> None:
    seen: list[Any] = []
    contexts: list[ActorContext] = []

    async def behaviour(context: ActorContext, message: Any) -> None:
        contexts.append(context)
        seen.append(context.sender)
        context.reply("pong")

    other = system.spawn(Props(lambda: Recorder(seen)), "other")
    await eventually(lambda: seen == ["start"])
    ref = system.spawn(Props(behaviour))
    ref.tell("ping", sender=other)
    await eventually(lambda: len(seen) == 3)
    assert seen == ["start", other, "pong"]
    assert contexts[0].sender is None


async def test_a_reply_to_nobody_is_a_dead_letter(system: ActorSystem, eventually: Eventually) -> None:
    async def behaviour(context: ActorContext, _: Any) -> None:
        context.reply("hello?")

    system.spawn(Props(behaviour)).tell("x")
    await eventually(lambda: system.dead_letters.total == 1)
    assert system.dead_letters.counts == {"no_sender": 1}


async def test_children_live_below_their_parent(system: ActorSystem) -> None:
    class Parent(Actor):
        async def receive(self, message: Any) -> None:
            child = self.context.spawn(Props(lambda: Recorder([])), message)
            self.context.reply((child, self.context.children, self.context.parent))

    parent = system.spawn(Props(Parent), "a")
    child, children, above = await parent.ask("b")
    assert child.path == "inaho://test/user/a/b"
    assert children == (child,)
    assert above is None
    assert system.find("inaho://test/user/a/b") is child
    assert system.find("user/a/b") is child
    assert system.find("user/a/c") is None


async def test_names_are_unique_among_the_living_siblings(system: ActorSystem) -> None:
    first = system.spawn(Props(lambda: Recorder([]), name="a"))
    with pytest.raises(NameInUse):
        system.spawn(Props(lambda: Recorder([])), "a")
    assert system.find("user/a") is first
    first.stop()
    await first.wait_terminated()
    second = system.spawn(Props(lambda: Recorder([])), "a")
    assert second != first
    assert second.path == first.path
    one, two = system.spawn(Props(lambda: Recorder([]))), system.spawn(Props(lambda: Recorder([])))
    assert (one.name, two.name) == ("$1", "$2")


@pytest.mark.parametrize("name", ["", "a/b", "$1", "ü", "a b", "x" * 256])
async def test_names_that_cannot_be_part_of_a_path_are_refused(system: ActorSystem, name: str) -> None:
    with pytest.raises(InvalidConfig):
        system.spawn(Props(lambda: Recorder([])), name)


async def test_become_and_back(system: ActorSystem) -> None:
    class Switch(Actor):
        async def receive(self, message: str) -> None:
            self.context.become(self.other)
            self.context.reply(f"first {message}")

        async def other(self, message: str) -> None:
            self.context.become(None)
            self.context.reply(f"second {message}")

    ref = system.spawn(Props(Switch))
    assert [await ref.ask(text) for text in "abc"] == ["first a", "second b", "first c"]


async def test_a_full_mailbox_refuses_the_new(system: ActorSystem, eventually: Eventually) -> None:
    seen: list[Any] = []
    gate = asyncio.Event()
    ref = system.spawn(Props(gated(seen, gate).factory, mailbox=MailboxConfig(capacity=2)))
    ref.tell(0)
    await asyncio.sleep(0)  # 0 is being worked on and takes no room
    ref.tell(1)
    ref.tell(2)
    with pytest.raises(MailboxFull):
        ref.tell(3)
    gate.set()
    await eventually(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]
    assert system.dead_letters.total == 0


async def test_a_full_mailbox_drops_the_oldest(system: ActorSystem, eventually: Eventually) -> None:
    seen: list[Any] = []
    gate = asyncio.Event()
    ref = system.spawn(Props(gated(seen, gate).factory, mailbox=MailboxConfig(capacity=2, policy="drop_oldest")), "d")
    ref.tell(0)
    await asyncio.sleep(0)
    with system.events.subscribe(DeadLetter) as letters:
        for number in range(1, 6):
            ref.tell(number)
        gate.set()
        await eventually(lambda: len(seen) == 3)
        assert seen == [0, 4, 5]
        assert [letter.message for letter in letters.drain()] == [1, 2, 3]
    assert system.dead_letters.counts == {"mailbox_full": 3}
    letter = system.dead_letters.recent[0]
    assert (letter.recipient, letter.sender, letter.at) == ("inaho://test/user/d", "", 1000.0)


async def test_a_busy_actor_lets_others_run(system: ActorSystem) -> None:
    order: list[str] = []

    async def behaviour(_: ActorContext, message: str) -> None:
        order.append(message)

    busy = system.spawn(Props(behaviour, mailbox=MailboxConfig(batch_max=8)))
    other = system.spawn(Props(behaviour))
    for _ in range(100):
        busy.tell("busy")
    other.tell("other")
    while len(order) < 101:
        await asyncio.sleep(0)
    assert order.index("other") <= 8


async def test_actors_are_bounded() -> None:
    async with ActorSystem("small", actors_max=2) as small:
        refs = [small.spawn(Props(lambda: Recorder([]))) for _ in range(2)]
        with pytest.raises(Overloaded):
            small.spawn(Props(lambda: Recorder([])), "third")
        refs[0].stop()
        await refs[0].wait_terminated()
        small.spawn(Props(lambda: Recorder([])), "third")


async def test_an_actor_does_not_inherit_the_context_of_its_spawner(system: ActorSystem) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")

    async def behaviour(context: ActorContext, _: Any) -> None:
        context.reply(request.get())

    request.set("of the spawner")
    assert await system.spawn(Props(behaviour)).ask("?") == "none"


async def test_props_are_checked() -> None:
    with pytest.raises(InvalidConfig):
        Props("not callable")  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig):
        Props(lambda: Recorder([]), name="a/b")


async def test_an_ending_actor_makes_no_children(system: ActorSystem) -> None:
    outcome: list[Exception] = []

    class Parent(Actor):
        async def receive(self, message: Any) -> None: ...

        async def on_stop(self) -> None:
            try:
                self.context.spawn(Props(lambda: Recorder([])))
            except ShuttingDown as error:
                outcome.append(error)

    ref: ActorRef = system.spawn(Props(Parent))
    await asyncio.sleep(0)
    ref.stop()
    await ref.wait_terminated()
    assert len(outcome) == 1
