"""Asking: replies, deadlines, cancellation, and what the end or failure of an actor means for who asked."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorRef, ActorSystem, MailboxConfig, PoisonPill, Props, Restart, Resume
from inaho.errors import ActorFailed, ActorStopped, CallCycle, InvalidConfig, MailboxFull, Timeout
from support.waiting import Eventually


class Holder(Actor):
    """Keeps its askers, and answers when told to."""

    def __init__(self) -> None:
        self.askers: list[ActorRef | None] = []

    async def receive(self, message: Any) -> None:
        match message:
            case "answer":
                for asker in self.askers:
                    assert asker is not None
                    asker.tell("at last")
            case "fail":
                raise ValueError("as told")
            case _:
                self.askers.append(self.context.sender)


def stuck(gate: asyncio.Event, **options: Any) -> Props:
    async def behaviour(context: ActorContext, message: Any) -> None:
        await gate.wait()
        context.reply(message)

    return Props(behaviour, **options)


async def test_an_answer_may_come_later(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder))
    asks = [asyncio.create_task(ref.ask("question")) for _ in range(3)]
    await asyncio.sleep(0)
    ref.tell("answer")
    assert await asyncio.gather(*asks) == ["at last"] * 3


async def test_a_deadline_that_passes_while_the_actor_works(system: ActorSystem) -> None:
    gate = asyncio.Event()
    ref = system.spawn(stuck(gate), "slow")
    with pytest.raises(Timeout) as caught:
        await ref.ask("x", timeout_s=0.01)
    assert caught.value.identity == "inaho://test/user/slow"
    assert caught.value.maybe_executed
    gate.set()


async def test_a_deadline_that_passes_in_the_queue_means_that_it_never_runs(
    system: ActorSystem, eventually: Eventually
) -> None:
    gate, seen = asyncio.Event(), list[Any]()

    async def behaviour(_: ActorContext, message: Any) -> None:
        await gate.wait()
        seen.append(message)

    ref = system.spawn(Props(behaviour))
    ref.tell("first")
    await asyncio.sleep(0)
    with pytest.raises(Timeout) as caught:
        await ref.ask("second", timeout_s=0.01)
    assert not caught.value.maybe_executed
    ref.tell("third")
    gate.set()
    await eventually(lambda: len(seen) == 2)
    assert seen == ["first", "third"]
    assert system.dead_letters.counts == {"ask_over": 1}


async def test_no_time_left_means_not_sent(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder))
    with pytest.raises(Timeout) as caught:
        await ref.ask("x", timeout_s=0)
    assert not caught.value.maybe_executed
    assert system.dead_letters.total == 0


async def test_late_and_second_answers_are_dead_letters(system: ActorSystem, eventually: Eventually) -> None:
    async def twice(context: ActorContext, message: Any) -> None:
        context.reply(1)
        context.reply(2)

    assert await system.spawn(Props(twice), "twice").ask("x") == 1
    assert system.dead_letters.counts == {"late_reply": 1}
    assert system.dead_letters.recent[0].sender == "inaho://test/user/twice"
    assert system.dead_letters.recent[0].recipient.startswith("inaho://test/temp/$")


async def test_an_ask_of_an_ended_actor_fails_at_once(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder), "gone")
    ref.stop()
    await ref.wait_terminated()
    with pytest.raises(ActorStopped) as caught:
        await ref.ask("x")
    assert caught.value.identity == "inaho://test/user/gone"
    assert not caught.value.maybe_executed
    assert system.dead_letters.counts == {"stopped": 1}


async def test_the_end_of_an_actor_fails_what_is_asked(system: ActorSystem) -> None:
    gate = asyncio.Event()
    ref = system.spawn(stuck(gate))
    working = asyncio.create_task(ref.ask("working"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queued = asyncio.create_task(ref.ask("queued"))
    await asyncio.sleep(0)
    ref.stop()
    with pytest.raises(ActorStopped) as caught:  # although the actor is still busy with the other
        await queued
    assert not caught.value.maybe_executed
    gate.set()
    assert await working == "working"


async def test_asks_that_were_kept_fail_with_the_end(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder))
    kept = asyncio.create_task(ref.ask("question"))
    await asyncio.sleep(0)
    ref.tell(PoisonPill())
    with pytest.raises(ActorStopped) as caught:
        await kept
    assert caught.value.maybe_executed


async def test_asking_behind_a_pill_fails_at_once(system: ActorSystem) -> None:
    gate = asyncio.Event()
    ref = system.spawn(stuck(gate))
    ref.tell("x")
    ref.tell(PoisonPill())
    with pytest.raises(ActorStopped):
        await ref.ask("y")
    gate.set()


async def test_asking_a_pill_fails_when_the_actor_has_ended(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder))
    with pytest.raises(ActorStopped):
        await ref.ask(PoisonPill())
    assert (await ref.wait_terminated()).reason == "poison_pill"
    assert system.dead_letters.total == 0


async def test_a_failure_is_told_to_who_asked(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder, supervisor=Resume()), "h")
    with pytest.raises(ActorFailed, match="ValueError: as told") as caught:
        await ref.ask("fail")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.maybe_executed
    assert caught.value.identity == "inaho://test/user/h"


async def test_a_restart_fails_the_asks_that_the_old_instance_kept_and_no_others(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder, supervisor=Restart(back_off_s=0.0)))
    kept = asyncio.create_task(ref.ask("question"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ref.tell("fail")
    queued = asyncio.create_task(ref.ask("question"))
    with pytest.raises(ActorFailed):
        await kept
    ref.tell("answer")
    assert await queued == "at last"


async def test_a_resume_keeps_them(system: ActorSystem) -> None:
    ref = system.spawn(Props(Holder, supervisor=Resume()))
    kept = asyncio.create_task(ref.ask("question"))
    await asyncio.sleep(0)
    ref.tell("fail")
    ref.tell("answer")
    assert await kept == "at last"


async def test_reply_error_raises_in_the_asker(system: ActorSystem) -> None:
    async def refuse(context: ActorContext, message: Exception) -> None:
        context.reply_error(message)

    ref = system.spawn(Props(refuse))
    with pytest.raises(InvalidConfig, match="so not"):
        await ref.ask(InvalidConfig("so not"))
    with pytest.raises(ActorFailed, match="KeyError") as caught:
        await ref.ask(KeyError("k"))
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_question_passed_on_is_answered_by_the_other(system: ActorSystem) -> None:
    async def answer(context: ActorContext, message: Any) -> None:
        context.reply(f"answer to {message}")

    expert = system.spawn(Props(answer))

    async def pass_on(context: ActorContext, message: Any) -> None:
        expert.tell(message, sender=context.sender)
        context.stop()  # its end is nothing to the asker any more

    assert await system.spawn(Props(pass_on)).ask("q") == "answer to q"


async def test_the_end_of_an_actor_does_not_fail_a_question_that_another_holds(system: ActorSystem) -> None:
    gate = asyncio.Event()
    expert = system.spawn(stuck(gate))

    async def pass_on(context: ActorContext, message: Any) -> None:
        context.self_ref.tell(message, sender=context.sender)
        expert.tell(message, sender=context.sender)
        context.stop()

    first = system.spawn(Props(pass_on))
    asking = asyncio.create_task(first.ask("q"))
    await asyncio.sleep(0)
    await first.wait_terminated()
    gate.set()
    assert await asking == "q"


async def test_a_question_passed_on_to_the_dead_fails_at_once(system: ActorSystem) -> None:
    dead = system.spawn(Props(Holder), "dead")
    dead.stop()
    await dead.wait_terminated()

    async def pass_on(context: ActorContext, message: Any) -> None:
        dead.tell(message, sender=context.sender)

    with pytest.raises(ActorStopped) as caught:
        await system.spawn(Props(pass_on)).ask("q")
    assert caught.value.identity == "inaho://test/user/dead"
    assert caught.value.maybe_executed  # the first actor has worked on it


async def test_a_full_mailbox_refuses_an_ask_and_a_dropped_one_fails(system: ActorSystem) -> None:
    gate = asyncio.Event()
    rejecting = system.spawn(stuck(gate, mailbox=MailboxConfig(capacity=1)))
    dropping = system.spawn(stuck(gate, mailbox=MailboxConfig(capacity=1, policy="drop_oldest")))
    await asyncio.sleep(0)
    for ref in (rejecting, dropping):
        ref.tell("being worked on")
    await asyncio.sleep(0)
    rejecting.tell("waits")
    with pytest.raises(MailboxFull):
        await rejecting.ask("x")
    dropped = asyncio.create_task(dropping.ask("x"))
    await asyncio.sleep(0)
    dropping.tell("newer")
    with pytest.raises(MailboxFull) as caught:
        await dropped
    assert not caught.value.maybe_executed
    gate.set()


async def test_an_actor_that_asks_itself_is_told_so(system: ActorSystem) -> None:
    class Narcissus(Actor):
        async def receive(self, message: Any) -> None:
            try:
                await self.context.self_ref.ask("who am I?")
            except CallCycle as error:
                self.context.reply(error.code)

    assert await system.spawn(Props(Narcissus)).ask("x") == "call_cycle"


async def test_cancelling_the_asker_leaks_nothing(system: ActorSystem, eventually: Eventually) -> None:
    gate = asyncio.Event()
    ref = system.spawn(stuck(gate, mailbox=MailboxConfig(capacity=4)))
    ref.tell("being worked on")
    await asyncio.sleep(0)
    for _ in range(100):  # far more than the mailbox takes, so each must leave it
        task = asyncio.create_task(ref.ask("x"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        system.check()
    assert system.dead_letters.counts["ask_over"] == 100
    gate.set()
    assert await ref.ask("y") == "y"
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found).__name__ == "PendingAsk"]


async def test_a_question_whose_asker_was_just_cancelled_is_not_begun(system: ActorSystem) -> None:
    gate, seen = asyncio.Event(), list[Any]()

    async def behaviour(context: ActorContext, message: Any) -> None:
        await gate.wait()
        seen.append(message)
        if message == "first":
            task.cancel()  # the asker itself runs only after the actor has gone on to the next message

    ref = system.spawn(Props(behaviour))
    ref.tell("first")
    task = asyncio.create_task(ref.ask("second"))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["first"]
    assert system.dead_letters.counts == {"ask_over": 1}


async def test_an_answer_and_a_cancellation_at_the_same_moment(system: ActorSystem, eventually: Eventually) -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    ref = system.spawn(Props(Holder, supervisor=Resume()))
    task = asyncio.create_task(ref.ask("fail"))
    with system.events.subscribe() as failures:
        await eventually(lambda: len(failures))
        task.cancel()  # the answer is there, the asker has not woken yet
    with pytest.raises((asyncio.CancelledError, ActorFailed)):
        await task
    del task
    gc.collect()
    assert unhandled == []


async def test_the_temporary_reference_can_be_watched(system: ActorSystem, eventually: Eventually) -> None:
    endings: list[Any] = []

    async def behaviour(context: ActorContext, message: Any) -> None:
        assert context.sender is not None
        context.sender.stop()  # means nothing
        waiting = asyncio.ensure_future(context.sender.wait_terminated())
        await asyncio.sleep(0)
        context.reply("done")
        endings.append((await waiting).reason)

    assert await system.spawn(Props(behaviour)).ask("x") == "done"
    await eventually(lambda: endings == ["answered"])
