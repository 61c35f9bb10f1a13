"""How actors end: stop, poison pill, watch; and that no message is lost uncounted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.actor import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    MailboxConfig,
    PoisonPill,
    Props,
    Restart,
    Resume,
    StopReason,
    Terminated,
)
from inaho.errors import MailboxFull
from inaho.events import ActorFailed
from support.waiting import Eventually


class Watcher(Actor):
    """Watches what it is given, and keeps what it hears."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    async def receive(self, message: Any) -> None:
        match message:
            case ("watch", ref):
                self.context.watch(ref)
                self.context.reply("watching")
            case ("unwatch", ref):
                self.context.unwatch(ref)
                self.context.reply("not watching")
            case _:
                self.heard.append(message)


async def idle(_: ActorContext, message: Any) -> None: ...


async def test_a_pill_ends_the_actor_after_what_was_queued(system: ActorSystem) -> None:
    seen: list[Any] = []

    async def behaviour(_: ActorContext, message: Any) -> None:
        seen.append(message)

    ref = system.spawn(Props(behaviour, mailbox=MailboxConfig(capacity=2)))
    ref.tell(1)
    ref.tell(2)
    ref.tell(PoisonPill())  # a full mailbox does not refuse it
    ref.tell(PoisonPill())
    ref.tell(3)
    assert (await ref.wait_terminated()).reason == StopReason.POISON_PILL
    ref.tell(4)
    assert seen == [1, 2]
    assert [letter.message for letter in system.dead_letters.recent] == [PoisonPill(), 3, 4]
    assert system.dead_letters.counts == {"stopped": 3}


async def test_stop_ends_it_after_the_current_message(system: ActorSystem, eventually: Eventually) -> None:
    seen: list[Any] = []
    gate = asyncio.Event()

    async def behaviour(_: ActorContext, message: Any) -> None:
        await gate.wait()
        seen.append(message)

    ref = system.spawn(Props(behaviour))
    for number in range(3):
        ref.tell(number)
    await asyncio.sleep(0)
    ref.stop()
    ref.stop()
    assert [letter.message for letter in system.dead_letters.recent] == [1, 2]
    gate.set()
    assert (await ref.wait_terminated()).reason == StopReason.STOPPED
    assert seen == [0]


async def test_an_actor_stops_itself_and_its_children(system: ActorSystem) -> None:
    ended: list[str] = []

    class Node(Actor):
        async def receive(self, message: Any) -> None:
            if message == "stop":
                self.context.stop()
            elif message == "stop child":
                self.context.stop(self.context.children[0])
            else:
                child = self.context.spawn(Props(Node), message[0])
                if message[1:]:
                    child.tell(message[1:])
            self.context.reply("done")

        async def on_stop(self) -> None:
            ended.append(self.context.self_ref.name)

    top = system.spawn(Props(Node), "a")
    await top.ask("bcd")
    await top.ask("x")
    await top.ask("stop")
    await top.wait_terminated()
    assert ended.index("d") < ended.index("c") < ended.index("b") < ended.index("a")
    assert ended.index("x") < ended.index("a")
    assert system.find("user/a/b/c/d") is None

    other = system.spawn(Props(Node), "other")
    await other.ask("y")
    child = system.find("user/other/y")
    assert child is not None
    await other.ask("stop child")
    assert (await child.wait_terminated()).reason == StopReason.STOPPED
    assert system.find("user/other") is other


async def test_terminated_comes_once_behind_what_was_told_before(system: ActorSystem, eventually: Eventually) -> None:
    heard: list[Any] = []
    watcher = system.spawn(Props(lambda: Watcher(heard)))

    async def last_words(context: ActorContext, message: Any) -> None:
        watcher.tell(message)

    ref = system.spawn(Props(last_words))
    await watcher.ask(("watch", ref))
    await watcher.ask(("watch", ref))
    ref.tell("farewell")
    ref.tell(PoisonPill())
    await eventually(lambda: len(heard) == 2)
    ref.stop()
    await watcher.ask(("watch", system.spawn(Props(idle))))
    assert heard == ["farewell", Terminated(ref, StopReason.POISON_PILL, exists=True)]


async def test_watching_the_dead(system: ActorSystem, eventually: Eventually) -> None:
    heard: list[Any] = []
    watcher = system.spawn(Props(lambda: Watcher(heard)))
    ref = system.spawn(Props(idle))
    ref.stop()
    await ref.wait_terminated()
    await watcher.ask(("watch", ref))
    await eventually(lambda: heard)
    assert heard == [Terminated(ref, StopReason.STOPPED, exists=False)]


async def test_unwatch_holds_even_when_the_news_is_queued(system: ActorSystem) -> None:
    heard: list[Any] = []
    ref, kept = system.spawn(Props(idle)), system.spawn(Props(idle))
    queued: list[bool] = []

    class Hesitant(Watcher):
        async def receive(self, message: Any) -> None:
            if message == "hesitate":
                self.context.watch(ref)
                ref.stop()
                await ref.wait_terminated()
                queued.append(True)
                self.context.unwatch(ref)
                self.context.unwatch(kept)
            await super().receive(message)

    watcher = system.spawn(Props(lambda: Hesitant(heard)))
    watcher.tell("hesitate")
    assert await watcher.ask(("unwatch", ref)) == "not watching"
    assert queued == [True]
    assert heard == ["hesitate"]


async def test_a_watch_does_not_keep_a_dead_watcher_informed(system: ActorSystem) -> None:
    heard: list[Any] = []
    watcher, ref = system.spawn(Props(lambda: Watcher(heard))), system.spawn(Props(idle))
    await watcher.ask(("watch", ref))
    watcher.stop()
    await watcher.wait_terminated()
    ref.stop()
    await ref.wait_terminated()
    assert heard == []
    assert system.dead_letters.total == 0


async def test_news_comes_through_a_full_mailbox(system: ActorSystem, eventually: Eventually) -> None:
    gate = asyncio.Event()
    heard: list[Any] = []
    ref = system.spawn(Props(idle))

    class Busy(Watcher):
        async def on_start(self) -> None:
            self.context.watch(ref)

        async def receive(self, message: Any) -> None:
            await gate.wait()
            await super().receive(message)

    for policy in ("reject_new", "drop_oldest"):
        system.spawn(Props(lambda: Busy(heard), mailbox=MailboxConfig(capacity=1, policy=policy)), policy)
    await asyncio.sleep(0)
    busy = [system.find("user/reject_new"), system.find("user/drop_oldest")]
    for one in busy:
        assert one is not None
        one.tell("current")
    await asyncio.sleep(0)
    for one in busy:
        assert one is not None
        one.tell("queued")
    ref.stop()
    await ref.wait_terminated()
    assert busy[1] is not None
    busy[1].tell("newer")
    gate.set()
    await eventually(lambda: len(heard) == 6)
    assert heard.count(Terminated(ref, StopReason.STOPPED, exists=True)) == 2


async def test_on_stop_that_fails_ends_the_actor_all_the_same(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Sore(Actor):
        async def receive(self, message: Any) -> None: ...

        async def on_stop(self) -> None:
            raise OSError("disk gone")

    with system.events.subscribe(ActorFailed) as failures:
        ref = system.spawn(Props(Sore), "sore")
        await asyncio.sleep(0)
        ref.stop()
        assert (await ref.wait_terminated()).reason == StopReason.STOPPED
        (failure,) = failures.drain()
    assert (failure.directive, failure.path) == ("ignore", "inaho://test/user/sore")
    assert "disk gone" in failure.reason
    assert "on_stop of inaho://test/user/sore failed" in caplog.text


async def test_many_wait_for_one_end_and_may_give_up(system: ActorSystem) -> None:
    ref = system.spawn(Props(idle))
    waiting = [asyncio.create_task(ref.wait_terminated()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    ref.stop()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == results[2] == Terminated(ref, StopReason.STOPPED, exists=True)


Steps = st.lists(
    st.one_of(
        st.sampled_from(["tell", "tell", "tell", "fail", "ask", "cancel ask", "yield", "yield"]),
        st.sampled_from(["pill", "stop", "open"]),
    ),
    max_size=40,
)


@given(
    steps=Steps,
    capacity=st.integers(1, 5),
    policy=st.sampled_from(["reject_new", "drop_oldest"]),
    supervisor=st.sampled_from([Resume(), Restart(max_restarts=3, back_off_s=0.0)]),
)
def test_every_message_is_delivered_in_order_or_a_dead_letter(
    steps: list[str], capacity: int, policy: str, supervisor: Resume | Restart
) -> None:
    asyncio.run(_conserve(steps, Props(idle, MailboxConfig(capacity=capacity, policy=policy), supervisor)))


async def _conserve(steps: list[str], props: Props) -> None:
    delivered: list[int] = []
    buried: list[int] = []
    accepted = rejected = 0
    gate = asyncio.Event()
    asks: list[asyncio.Task[Any]] = []

    async def behaviour(context: ActorContext, message: tuple[int, str]) -> None:
        delivered.append(message[0])
        if message[0] % 3 == 0:
            await gate.wait()
        if message[1] == "fail":
            raise ValueError(message)
        if message[1] == "ask":
            context.reply(message[0])

    async with ActorSystem("conserve", dead_letters_recent_max=1000, stop_timeout_s=0.1) as system:
        ref: ActorRef = system.spawn(Props(behaviour, props.mailbox, props.supervisor))
        for number, step in enumerate(steps):
            match step:
                case "tell" | "fail":
                    try:
                        ref.tell((number, step))
                        accepted += 1
                    except MailboxFull:
                        rejected += 1
                case "ask":
                    asks.append(asyncio.create_task(ref.ask((number, "ask"))))
                    accepted += 1
                    await asyncio.sleep(0)
                    if asks[-1].done() and isinstance(error := asks[-1].exception(), MailboxFull):
                        accepted -= error.reason.startswith(f"{props.mailbox.capacity} messages")
                case "cancel ask":
                    for task in asks:
                        task.cancel()
                case "pill":
                    ref.tell(PoisonPill())
                case "stop":
                    ref.stop()
                case "open":
                    gate.set()
                case _:
                    await asyncio.sleep(0)
            system.check()
        gate.set()
        ref.tell(PoisonPill())
        await ref.wait_terminated()
        await asyncio.wait_for(asyncio.gather(*asks, return_exceptions=True), 2.0)
        buried = [letter.message[0] for letter in system.dead_letters.recent if isinstance(letter.message, tuple)]
    assert delivered == sorted(delivered)
    assert len(set(delivered)) == len(delivered)
    assert not set(delivered) & set(buried)
    assert len(delivered) + len(buried) == accepted
    assert props.mailbox.policy == "reject_new" or rejected == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
