"""A model of one activation: an `ActivationLife` of its own and two lists of calls, beside the real one on a real node.

One node in virtual time has one grain, which stops at gates, so that every event can come in every state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from inaho import ClusterConfig
from inaho.core.activation.life import WAITING_FOR_REST, ActivationEvent, ActivationLife, ActivationState
from inaho.errors import InahoError
from inaho.testing import SimCluster
from support.gated_grain import KEY, WORLD, Gated, GatedStorage, Together

S, E = ActivationState, ActivationEvent

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


class ActivationModel(RuleBasedStateMachine):
    """One identity on one node, and what follows there from an event, by the table."""

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
