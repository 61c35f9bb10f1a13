"""The life of an activation on a real node, with any events in any order, against the table that says what follows.

One node in virtual time has one grain. Its hooks, its methods and the loads of its storage stop at gates that the rules
open, so that every event can come in every state. The model is an `ActivationLife` of its own and two lists of calls.
What the table itself says is compared in `tests/unit/core/activation/test_life.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from inaho import ClusterConfig, ClusterIdentity, Grain, MemoryStorage, StorageFailed, Struct, method
from inaho.core.activation.life import (
    AT_WORK,
    REASONS,
    TRANSITIONS,
    WAITING_FOR_REST,
    ActivationEvent,
    ActivationLife,
    ActivationState,
    rule_of,
)
from inaho.errors import IllegalTransition, InahoError, OwnershipChanged, StateConflict
from inaho.runtime.activation import lifecycle as lifecycle_module
from inaho.runtime.activation.ending import Ending
from inaho.runtime.activation.failure_policy import Resets
from inaho.runtime.activation.lifecycle import Lifecycle
from inaho.runtime.activation.starting import Starting
from inaho.runtime.activation.state import States
from inaho.runtime.grains.activation import ActivationTurns
from inaho.runtime.grains.activation_turns import running_turns, waiting_turns
from inaho.runtime.grains.state_record import StateRecord
from inaho.testing import SimCluster
from inaho.wire.codec import encode
from inaho.wire.stored import pack_state

S, E = ActivationState, ActivationEvent

KEY = "a"
SPOILT = -1
"""Value of the state after a call that has failed in the middle."""

QUIET = 40
"""Turns of the loop after which everything has happened that takes no time."""

FOREVER_S = 100_000.0
CONFIG = ClusterConfig()
CONFIG = CONFIG.replace(
    rpc=CONFIG.rpc.replace(timeout_s=FOREVER_S),
    activation=CONFIG.activation.replace(idle_ttl_s=0.0),
    storage=CONFIG.storage.replace(operation_timeout_s=600.0),
)
PENDING_S = CONFIG.activation.lease_pending_s

TAKEN: set[tuple[ActivationState, ActivationEvent]] = set()
"""What has happened in which state."""

REMOVED = "the others have removed this node"


class World:
    """What the code of the grain and the rules share."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.gates: dict[Any, asyncio.Future[str]] = {}
        self.loads_wait = False
        self.saves: list[bool] = []
        self.ends: list[tuple[str, int]] = []
        """Reason and state of each `on_deactivate` that has begun."""

    async def gate(self, name: Any) -> str:
        """Waits for the word of a rule."""
        self.gates[name] = asyncio.get_running_loop().create_future()
        try:
            return await self.gates[name]
        finally:
            del self.gates[name]


WORLD = World()


class Content(Struct):
    value: int = 0


class GatedStorage(MemoryStorage):
    async def _load(self, identity: ClusterIdentity) -> Any:
        if WORLD.loads_wait and identity.key == KEY and await WORLD.gate("load") == "fail":
            raise StorageFailed("it does not answer", maybe_executed=False)
        return await super()._load(identity)


class Gated(Grain[Content], on_failure="reset"):
    async def on_activate(self) -> None:
        word = await WORLD.gate("activate")
        if word == "raise":
            raise ValueError("on_activate")
        if word == "deactivate":
            self.deactivate()
        WORLD.loads_wait = True

    async def on_deactivate(self, reason: str) -> None:
        WORLD.loads_wait = False
        if self._inaho_host.lifecycle.state_of(self) is S.ACTIVATING:  # its lease was revoked while it came up
            return
        WORLD.ends.append((reason, self.state.value))
        word = await WORLD.gate("deactivate")
        if word == "save":
            await self._try_to_save()
        elif word == "raise":
            raise ValueError("on_deactivate")

    async def work(self, number: int) -> int:
        return await self._turn(number, spoils=True)

    @method(read_only=True)
    async def look(self, number: int) -> int:
        return await self._turn(number)

    async def _turn(self, number: int, *, spoils: bool = False) -> int:
        while (word := await WORLD.gate(number)) != "return":
            if word == "save":
                await self._try_to_save()
            else:
                self.state.value = SPOILT if spoils else self.state.value
                raise ValueError("the method")
        return number

    async def _try_to_save(self) -> None:
        try:
            await self.save()
        except (StateConflict, OwnershipChanged):
            WORLD.saves.append(False)
        else:
            WORLD.saves.append(True)


class Together(Gated, reentrant=True, on_failure="reset"):
    """Its turns run together."""


class Call:
    """One call: what it is, who waits for it, and how it is to end.

    Attributes:
        end: `returned`, `raised`, `cancelled` or `refused` (it has not run); empty while it goes on.
    """

    def __init__(self, number: int, *, read_only: bool) -> None:
        self.number = number
        self.read_only = read_only
        self.task: asyncio.Task[int]
        self.end = ""

    def seen(self) -> str:
        """How it has ended for its caller."""
        if not self.task.done():
            return ""
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        if error is None:
            assert self.task.result() == self.number
            return "returned"
        if isinstance(error, InahoError):
            assert not error.maybe_executed
            return "refused"
        assert isinstance(error, ValueError)
        return "raised"


class ActivationMachine(RuleBasedStateMachine):
    """One identity on one node."""

    def __init__(self) -> None:
        super().__init__()
        WORLD.clear()
        self.sim = SimCluster(nodes=1, seed=1, grains=[Gated, Together], config=CONFIG, storage=GatedStorage())
        self.sim.__enter__()
        self.calls: list[Call] = []
        self.life: ActivationLife | None = None
        self.running: list[Call] = []
        self.waiting: list[Call] = []
        self.stored = self.saved_value = 0
        self.ends: list[tuple[str, int]] = []
        self.activations = 0
        self.records: list[tuple[asyncio.Task[Any], int]] = []
        """Of each `hand_over`: its Task, and the number of the activation; 0 where there was none."""

    @initialize(reentrant=st.booleans())
    def choose_a_kind(self, reentrant: bool) -> None:
        self.kind = Together if reentrant else Gated
        self.host = self.sim.node(0)._node.hosts[self.kind.__name__]

    def teardown(self) -> None:
        async def finish() -> None:
            for task in [*(call.task for call in self.calls), *(task for task, _ in self.records)]:
                task.cancel()
            quiet = 0
            while quiet < QUIET:
                quiet = 0 if WORLD.gates else quiet + 1
                for gate in list(WORLD.gates.values()):
                    if not gate.done():
                        gate.set_result("return")
                await asyncio.sleep(0)

        self.sim.run(finish(), on=0)
        self.sim.__exit__(None, None, None)

    # What the rules do.

    @property
    def grain(self) -> Any:
        return self.host.activations[KEY]

    def do(self, act: Callable[[], object]) -> None:
        """Does something on the node, and returns when nothing happens there any more without time passing."""

        async def step() -> None:
            act()
            for _ in range(QUIET):
                await asyncio.sleep(0)

        self.sim.run(step(), on=0)

    def say(self, gate: Any, word: str) -> None:
        self.do(lambda: WORLD.gates[gate].set_result(word))

    # What follows, by the table.

    def take(self, event: ActivationEvent, *, reason: str = "") -> None:
        assert self.life is not None
        TAKEN.add((self.life.state, event))
        self.life.step(event, reason=reason, failure=("work", "") if event is E.TURN_FAILED else None)

    def is_in(self, *states: ActivationState) -> bool:
        return self.life is not None and self.life.state in states

    def begin(self) -> None:
        """A call, or one that waited, makes an activation. It loads at once."""
        self.life = ActivationLife(S.ACTIVATING)
        self.activations += 1
        self.version = self.stored
        self.value = self.saved_value
        self.unfit = self.revoked = False

    def go_on(self) -> None:
        """What happens by itself after an event."""
        while self.life is not None:
            state = self.life.state
            if state is S.ACTIVE:
                self.start_waiting()
                return
            if state in WAITING_FOR_REST and not self.running:
                self.take(E.AT_REST)
                if self.life.state is S.DEACTIVATING:
                    self.ends.append((self.life.reason, self.value))
            elif state is S.UNPROVED and self.waiting:
                self.take(*((E.PROVED,) if self.version == self.stored else (E.END,)), reason="stale")
            elif state is S.GONE:
                self.life = None
                if self.waiting:
                    self.begin()
            else:
                return

    def start_waiting(self) -> None:
        while self.waiting:
            both_read = self.waiting[0].read_only and all(call.read_only for call in self.running)
            if self.running and not both_read and self.kind is Gated:
                return
            self.running.append(self.waiting.pop(0))

    def end(self, reason: str) -> None:
        if self.life is not None:
            self.take(E.END, reason=reason)
            self.go_on()

    def gone(self, event: ActivationEvent, *, refused: bool = False) -> None:
        """It is gone. Its waiting calls are refused, or go to the next activation."""
        self.take(event)
        if refused:
            for call in self.waiting:
                call.end = "refused"
            self.waiting = []
        self.go_on()

    def turn_ended(self, call: Call, end: str) -> None:
        """A running call has ended, and whatever is not a result has failed half-way."""
        call.end = end
        if end != "returned" and not call.read_only:
            self.unfit = True
            self.take(E.TURN_FAILED)
        self.running.remove(call)
        self.go_on()

    # Calls.

    @rule()
    def a_call_that_writes(self) -> None:
        self.call(read_only=False)

    @rule()
    def a_call_that_reads(self) -> None:
        self.call(read_only=True)

    def call(self, *, read_only: bool) -> None:
        call = Call(len(self.calls), read_only=read_only)
        self.calls.append(call)
        reference = self.sim.node(0).grain(self.kind, KEY, retry=False)
        run = reference.look if read_only else reference.work

        def begin() -> None:
            call.task = asyncio.get_running_loop().create_task(run(call.number))

        self.do(begin)
        if self.life is None:
            self.begin()
        self.waiting.append(call)
        self.go_on()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), word=st.sampled_from(["return", "raise"]))
    def turn_ends(self, data: st.DataObject, word: str) -> None:
        self.finish(data.draw(st.sampled_from(self.running)), word)

    def finish(self, call: Call, word: str) -> None:
        self.say(call.number, word)
        if word == "raise" and not call.read_only:
            self.value = SPOILT
        self.turn_ended(call, "returned" if word == "return" else "raised")

    @precondition(lambda self: self.running and self.is_in(S.UNPROVED, S.ENDING, S.RESET_DUE))
    @rule()
    def turn_fails_while_others_wait(self) -> None:
        self.finish(self.running[-1], "raise")

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data())
    def caller_gives_up(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([*self.running, *self.waiting]))
        self.do(lambda: call.task.cancel())
        if call in self.running:
            self.turn_ended(call, "cancelled")
        else:
            call.end = "cancelled"
            self.waiting.remove(call)
            self.go_on()

    # Its state.

    def save(self, gate: Any) -> bool:
        """Somebody saves. Returns whether that must have succeeded."""
        self.say(gate, "save")
        allowed = not self.unfit and not self.revoked and self.version == self.stored
        assert WORLD.saves[-1] is allowed
        if allowed:
            assert self.value != SPOILT, "a half-changed state is saved"
            self.stored = self.version = self.version + 1
            self.saved_value = self.value
        return allowed

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def turn_saves(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.running))
        if not self.save(call.number) and not self.unfit:
            self.end("stale")

    def another_saves(self) -> None:
        """An activation on a node that has not noticed yet that it lost the identity."""

        identity = ClusterIdentity(self.kind.__name__, KEY)

        async def write() -> None:
            stored = await MemoryStorage._load(self.sim.storage, identity)  # type: ignore[arg-type]
            version, epoch = (0, 1) if stored is None else (stored.version, stored.epoch)
            data = pack_state(encode(Content()))
            await self.sim.storage.save(identity, data, expected_version=version, epoch=epoch)

        self.sim.run(write(), on=0)
        self.stored += 1
        self.saved_value = 0

    @precondition(lambda self: self.life is not None)
    @rule()
    def proof_is_required(self) -> None:
        self.do(lambda: self.sim.node(0)._node.proofs.require(self.grain))
        self.take(E.PROOF_REQUIRED)
        self.go_on()

    @precondition(lambda self: self.running)
    @rule()
    def proof_is_required_while_a_turn_runs(self) -> None:
        self.proof_is_required()

    @precondition(lambda self: self.is_in(S.RESETTING))
    @rule(word=st.sampled_from(["load", "fail"]))
    def reset_ends(self, word: str) -> None:
        self.say("load", word)
        if word == "fail":
            self.take(E.RESET_FAILED)
        else:
            if self.version == self.stored:
                self.value = self.saved_value
                self.unfit = False
            else:
                self.take(E.END, reason="stale")
            self.take(E.RESET_DONE)
        self.go_on()

    # Its beginning and its end.

    @precondition(lambda self: self.is_in(S.ACTIVATING))
    @rule(word=st.sampled_from(["return", "return", "return", "deactivate", "raise"]))
    def hook_of_the_start_ends(self, word: str) -> None:
        self.say("activate", word)
        if word == "deactivate":
            self.take(E.END, reason="requested")
        if word == "raise" or self.revoked:
            self.gone(E.FAILED, refused=True)
            return
        assert self.life is not None
        self.take(E.UP)
        if self.life.reason and rule_of(self.life.reason).calls_first:
            self.start_waiting()
        self.go_on()

    @precondition(lambda self: self.is_in(S.DEACTIVATING))
    @rule(word=st.sampled_from(["return", "raise", "save"]))
    def hook_of_the_end_ends(self, word: str) -> None:
        assert self.life is not None
        if word != "save":
            self.say("deactivate", word)
        elif self.save("deactivate"):
            assert rule_of(self.life.reason).save, f"an activation that ends as {self.life.reason} has saved"
        self.gone(E.DEACTIVATED)

    @rule(
        trouble=st.sampled_from(
            ["another saves", "idle", "requested", "the next owner asks", "revoked", "it takes too long"]
        )
    )
    def trouble(self, trouble: str) -> None:
        """One rule, or no activation would live long."""
        if trouble == "another saves":
            self.another_saves()
        elif trouble == "the next owner asks":
            self.next_owner_asks()
        elif trouble == "revoked":
            self.leases_are_revoked()
        elif trouble == "it takes too long":
            if self.is_in(*AT_WORK):
                self.it_takes_too_long()
        elif self.life is not None:
            self.deactivate(trouble)

    def deactivate(self, reason: str) -> None:
        grain = self.grain
        self.do(grain.deactivate if reason == "requested" else lambda: self.host.deactivate_soon(grain, reason))
        self.end(reason)

    def next_owner_asks(self) -> None:
        def ask() -> None:
            task = asyncio.get_running_loop().create_task(self.host.hand_over(KEY))
            self.records.append((task, 0 if self.life is None else self.activations))

        self.do(ask)
        self.end("moved")

    def leases_are_revoked(self) -> None:
        def revoke() -> None:
            node = self.sim.node(0)._node
            node.leases.revoke(node.local.node_id, REMOVED)
            self.host.drop_all(REMOVED)

        self.do(revoke)
        if self.life is not None:
            self.revoked = True
        self.end(REMOVED)

    def it_takes_too_long(self) -> None:
        assert self.life is not None
        self.sim.run_for(PENDING_S + 2.0)
        if self.life.state is S.RESETTING:
            self.take(E.GIVEN_UP)
            self.go_on()
        else:
            self.gone(E.GIVEN_UP, refused=not self.life.reason)

    # What must be so after each of them.

    @invariant()
    def it_is_where_the_table_says(self) -> None:
        grain = self.host.activations.get(KEY)
        assert (grain is None) == (self.life is None)
        if grain is not None and self.life is not None:
            lifecycle = self.host.lifecycle
            assert lifecycle.state_of(grain) is self.life.state
            assert lifecycle.reason_of(grain) == self.life.reason
            assert lifecycle.is_unproved(grain) == self.life.unproved
            hook = self.life.state in (S.ACTIVATING, S.DEACTIVATING)
            running = [turn.arguments[0] for turn in running_turns(grain) if not turn.hook]
            assert len(running_turns(grain)) == len(running) + hook
            assert running == [call.number for call in self.running]
            assert [turn.arguments[0] for turn in waiting_turns(grain)] == [call.number for call in self.waiting]
            if isinstance(grain._inaho_turn, ActivationTurns):
                grain._inaho_turn.check()

    @invariant()
    def every_call_has_ended_as_it_must(self) -> None:
        assert [call.seen() for call in self.calls] == [call.end for call in self.calls]

    @invariant()
    def hooks_have_seen_what_they_must(self) -> None:
        assert self.ends == WORLD.ends

    @invariant()
    def the_next_owner_is_told_when_it_is_gone(self) -> None:
        for task, number in self.records:
            if number:
                assert task.done() == (self.life is None or self.activations != number)
            else:
                assert not task.result().was_active


BESIDE_CALLS = {
    # A stream fails, which runs beside the calls; or a proof is read while something else begins.
    *((state, event) for state in AT_WORK for event in (E.TURN_FAILED, E.PROVED) if event in TRANSITIONS[state]),
    (S.RESET_DUE, E.PROVED),
    (S.ENDING, E.PROVED),
    # The program ends.
    (S.RESETTING, E.FAILED),
}
"""What these rules cannot bring about; tests of streams, of proofs and of ends of programs do."""


def run_machine(examples: int = 200, *, same: bool = True) -> None:
    """Runs histories without shrinking what fails: the same ones each time, or others."""
    run_state_machine_as_test(
        ActivationMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=same,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
def test_everything_happens_in_every_state_that_allows_it() -> None:
    TAKEN.clear()
    possible = {(state, event) for state, events in TRANSITIONS.items() for event in events}
    for _ in range(20):
        run_machine(100, same=False)
        if possible - TAKEN <= BESIDE_CALLS:
            return
    assert possible - TAKEN <= BESIDE_CALLS


# Owners with one mistake are caught.


def it_ends_beside_its_turns(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle._enter

    def enter(self: Lifecycle, grain: Any, turns: ActivationTurns) -> None:
        right(self, grain, turns)
        self.at_rest(grain)

    patch.setattr(Lifecycle, "_enter", enter)


def turns_do_not_wait_for_a_reset(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle._take

    def take(self: Lifecycle, *arguments: Any, **more: Any) -> ActivationTurns:
        turns = right(self, *arguments, **more)
        if turns.life is not None and turns.life.state is S.RESETTING:
            turns.held = False
        return turns

    patch.setattr(Lifecycle, "_take", take)


def waiting_calls_are_lost_at_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ending, "_pass_on", lambda self, turn, key: None)


def waiting_calls_hang_when_it_does_not_come_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Starting, "_drop", lambda self, grain, failure: self._host.remove(grain, failure))


def a_reset_loads_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Resets, "begin", lambda self, grain, method, reason: self._host.lifecycle.reset_done(grain))


def calls_save_what_a_failed_one_has_left(patch: pytest.MonkeyPatch) -> None:
    right = States.save

    async def save(self: States, host: Any, grain: Any, record: StateRecord) -> None:
        record.value_unfit = False
        await right(self, host, grain, record)

    patch.setattr(States, "save", save)


def nobody_asks_for_the_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "turn_waits", lambda self, grain: None)


def what_takes_too_long_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ending, "give_up_late", lambda self: None)


def no_call_runs_before_a_requested_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle_module, "rule_of", lambda reason: REASONS["idle"])


def the_last_reason_counts(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle.end

    def end(self: Lifecycle, grain: Any, reason: str) -> None:
        right(self, grain, reason)
        if (life := self._life(grain)) is not None and life.state is not S.GONE:
            life.reason = reason

    patch.setattr(Lifecycle, "end", end)


MUTANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    it_ends_beside_its_turns,
    turns_do_not_wait_for_a_reset,
    waiting_calls_are_lost_at_the_end,
    waiting_calls_hang_when_it_does_not_come_up,
    a_reset_loads_nothing,
    calls_save_what_a_failed_one_has_left,
    nobody_asks_for_the_proof,
    what_takes_too_long_is_waited_for,
    no_call_runs_before_a_requested_end,
    the_last_reason_counts,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.__name__ for mutant in MUTANTS])
def test_an_owner_with_one_mistake_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, IllegalTransition)):
        run_machine()
