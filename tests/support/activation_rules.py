"""The rules by which hypothesis makes histories of one activation, and what must be so after each event."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from inaho import ClusterIdentity, MemoryStorage
from inaho.core.activation.life import AT_WORK, ActivationEvent, ActivationState, rule_of
from inaho.runtime.grains.activation import ActivationTurns
from inaho.runtime.grains.activation_turns import running_turns, waiting_turns
from inaho.wire.codec import encode
from inaho.wire.stored import pack_state
from support.activation_model import PENDING_S, REMOVED, ActivationModel, Call
from support.gated_grain import KEY, SPOILT, WORLD, Content

S, E = ActivationState, ActivationEvent


class ActivationMachine(ActivationModel):
    """What may happen to the identity, in any order, and what must be so after each event."""

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
