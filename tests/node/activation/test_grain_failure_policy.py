"""What becomes of the state and of the activation when a turn has failed, by the policy: keep, reset, stop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import ClusterIdentity, Grain, InvalidGrain, MemoryStorage, StateConflict, StorageFailed, method
from inaho.events import ActivationTerminated, StateReset
from inaho.wire.codec import encode
from support.failing_grains import GATES, LOG, Kept, Marks, RefusedError, Reset, Stopped


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()
    GATES.clear()


FAILURES = ["fail", "fail_later"]


@pytest.mark.parametrize("failing", FAILURES)
async def test_the_default_keeps_what_the_turn_left(caller, failing: str):
    cluster = await caller(Kept)
    grain = cluster.grain(Kept, "a")
    await grain.mark("saved")
    with pytest.raises(RefusedError):
        await getattr(grain, failing)()
    assert await grain.look() == ["saved", "half"]
    assert await grain.attributes() == "changed"
    assert LOG == ["active"]


@pytest.mark.parametrize("failing", FAILURES)
async def test_reset_goes_back_to_what_was_saved_and_keeps_the_rest(caller, failing: str):
    cluster = await caller(Reset)
    grain = cluster.grain(Reset, "a")
    await grain.mark("saved")
    for _ in range(2):
        with pytest.raises(RefusedError):
            await getattr(grain, failing)()
        assert await grain.look() == ["saved"]
    assert await grain.attributes() == "changed"
    assert await grain.mark("more") == ["saved", "more"]
    assert LOG == ["active"]


@pytest.mark.parametrize("failing", FAILURES)
async def test_stop_makes_a_new_activation_from_what_was_saved(caller, failing: str):
    cluster = await caller(Stopped)
    grain = cluster.grain(Stopped, "a")
    await grain.mark("saved")
    with pytest.raises(RefusedError):
        await getattr(grain, failing)()
    assert await grain.look() == ["saved"]
    assert await grain.attributes() == "new"
    assert LOG == ["active", "failed", "active"]


@pytest.mark.parametrize("kind", [Reset, Stopped])
async def test_turns_that_wait_behind_a_failing_one_see_the_saved_state(caller, kind: type[Kept]):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    await grain.mark("saved")
    first, *others = await asyncio.gather(
        grain.fail_later("x"), grain.look(), grain.mark("y"), grain.look(), return_exceptions=True
    )
    assert isinstance(first, RefusedError)
    assert others == [["saved"], ["saved", "y"], ["saved", "y"]]


class Together(Grain[Marks], reentrant=True, on_failure="reset"):
    async def mark(self, text: str) -> None:
        self.state.marks.append(text)
        await self.save()

    async def hold(self, gate: str) -> list[str]:
        GATES[gate] = asyncio.Event()
        await GATES[gate].wait()
        return list(self.state.marks)

    async def fail(self) -> None:
        self.state.marks.append("half")
        raise RefusedError("half")

    async def look(self) -> list[str]:
        return self.state.marks


async def test_a_reset_waits_for_the_turns_beside_the_one_that_failed(fleet, eventually):
    member = await fleet.member(Together)
    grain = member.grain(Together, "a")
    await grain.mark("saved")
    beside = asyncio.ensure_future(grain.hold("beside"))
    await eventually(lambda: "beside" in GATES)
    with pytest.raises(RefusedError):
        await grain.fail()
    late = asyncio.ensure_future(grain.look())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not late.done()
    GATES["beside"].set()
    assert await beside == ["saved", "half"]  # nothing is taken from under a turn that runs
    assert await late == ["saved"]


class Beside(Grain[Marks]):
    """Its methods go on when their gate is opened."""

    async def on_deactivate(self, reason: str) -> None:
        try:
            await self.save()
        except StateConflict:
            LOG.append(reason)

    async def pass_gate(self, gate: str) -> None:
        LOG.append(gate)
        await GATES.setdefault(gate, asyncio.Event()).wait()

    async def mark(self, text: str, gate: str = "") -> None:
        if gate:
            await self.pass_gate(gate)
        self.state.marks.append(text)
        await self.save()

    @method(idempotent=True)
    async def put(self, text: str, gate: str) -> None:
        await self.mark(text, gate)

    async def empty(self, gate: str) -> None:
        await self.pass_gate(gate)
        await self.clear()

    async def fail(self) -> None:
        self.state.marks.append("half")
        raise RefusedError("half")

    @method(read_only=True)
    async def look(self) -> list[str]:
        return list(self.state.marks)


class ResetBeside(Beside, reentrant=True, on_failure="reset"):
    """Goes back to what was saved."""


class StoppedBeside(Beside, reentrant=True, on_failure="stop"):
    """Begins anew."""


async def fail_beside(grain: Any, eventually: Any, act: Any) -> Any:
    """What comes of `act`, which saves after a call beside it has failed."""
    GATES["beside"] = asyncio.Event()
    beside = asyncio.ensure_future(act)
    await eventually(lambda: "beside" in LOG)
    with pytest.raises(RefusedError):
        await grain.fail()
    GATES["beside"].set()
    [outcome] = await asyncio.gather(beside, return_exceptions=True)
    return outcome


@pytest.mark.parametrize("kind", [ResetBeside, StoppedBeside])
@pytest.mark.parametrize("what", ["mark", "empty"])
async def test_a_turn_beside_a_failed_one_cannot_save(caller, eventually, kind: type[Beside], what: str):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    await grain.mark("saved")
    act = grain.mark("beside", "beside") if what == "mark" else grain.empty("beside")
    outcome = await fail_beside(grain, eventually, act)
    assert isinstance(outcome, StateConflict) and outcome.maybe_executed
    assert f"on_failure={kind.inaho_kind.on_failure!r}" in outcome.reason and "call again" in str(outcome)
    assert await grain.look() == ["saved"]
    await grain.mark("later")
    assert await grain.look() == ["saved", "later"]
    assert (["beside"] if kind is ResetBeside else ["beside", "failed"]) == LOG


@pytest.mark.parametrize("kind", [ResetBeside, StoppedBeside])
async def test_an_idempotent_call_beside_a_failed_one_is_made_again(fleet, eventually, kind: type[Beside]):
    await fleet.member(kind)
    grain = (await fleet.client()).grain(kind, "a")
    await grain.mark("saved")
    assert await fail_beside(grain, eventually, grain.put("beside", "beside")) is None
    assert await grain.look() == ["saved", "beside"]


async def test_an_activation_that_fails_while_it_is_asked_to_end_is_reset_first(fleet):
    """`on_deactivate` might save."""

    class Saving(Grain[Marks], on_failure="reset"):
        async def begin(self) -> None:
            self.state.marks.append("half")
            self.deactivate()
            raise RefusedError("half")

        async def on_deactivate(self, reason: str) -> None:
            LOG.append(reason)
            await self.save()

        async def look(self) -> list[str]:
            return self.state.marks

    member = await fleet.member(Saving)
    grain = member.grain(Saving, "a")
    with pytest.raises(RefusedError):
        await grain.begin()
    assert await grain.look() == []
    assert LOG == ["requested"]


async def test_a_reset_and_an_end_are_events(fleet, eventually):
    member = await fleet.member(Reset, Stopped)
    with member.system.events.subscribe(StateReset, ActivationTerminated, capacity=8) as subscription:
        for kind in (Reset, Stopped):
            with pytest.raises(RefusedError):
                await member.grain(kind, "a").fail("why")
            await member.grain(kind, "a").look()
        seen = [await anext(aiter(subscription)) for _ in range(2)]
    reset, ended = seen
    assert (reset.identity, reset.method, reset.reason) == (ClusterIdentity("Reset", "a"), "fail", "RefusedError: why")
    assert (ended.identity, ended.reason) == (ClusterIdentity("Stopped", "a"), "failed")


async def test_a_reset_does_not_make_a_stale_activation_young_again(fleet):
    """Its successor has saved under a higher epoch; a load that raised its own would let it win."""
    member = await fleet.member(Reset)
    grain = member.grain(Reset, "a")
    await grain.mark("saved")
    identity = ClusterIdentity("Reset", "a")
    stored = await fleet.storage.load(identity)
    newer = encode(Marks(["newer"]))
    await fleet.storage.save(identity, newer, expected_version=stored.version, epoch=stored.epoch + 5)
    stale = fleet.activation(Reset, "a")
    with member.system.events.subscribe(ActivationTerminated, StateReset, capacity=4) as subscription:
        with pytest.raises(RefusedError):
            await grain.fail()
        assert await grain.look() == ["newer"]
        ended = await anext(aiter(subscription))
    assert (type(ended), ended.reason) == (ActivationTerminated, "stale")
    assert stale._inaho_lease.epoch < stored.epoch + 5 < fleet.activation(Reset, "a")._inaho_lease.epoch


class Broken(MemoryStorage):
    """Refuses to load while told so."""

    broken = False

    async def _load(self, identity: ClusterIdentity) -> Any:
        if self.broken:
            raise StorageFailed("broken", maybe_executed=False)
        return await super()._load(identity)


async def test_a_reset_that_cannot_load_gives_the_activation_up(fleet):
    storage = Broken()
    member = await fleet.member(Reset, storage=storage)
    grain = member.grain(Reset, "a", retry=False)
    await grain.mark("saved")
    storage.broken = True
    outcomes = await asyncio.gather(grain.fail_later(), grain.look(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RefusedError, StorageFailed]
    storage.broken = False
    assert await grain.look() == ["saved"]


class Closing(Kept, on_failure="reset"):
    """Saves whatever it has at its end."""

    async def on_deactivate(self, reason: str) -> None:
        await super().on_deactivate(reason)
        try:
            await self.save()
        except StateConflict as error:
            LOG.append(error.reason)


class BrokenOnce(Broken):
    """Refuses one load."""

    async def _load(self, identity: ClusterIdentity) -> Any:
        try:
            return await super()._load(identity)
        finally:
            self.broken = False


async def test_a_reset_that_cannot_load_ends_the_activation_and_saves_nothing_of_the_failed_turn(fleet):
    storage = BrokenOnce()
    member = await fleet.member(Closing, storage=storage)
    grain = member.grain(Closing, "a", retry=False)
    await grain.mark("saved")
    storage.broken = True
    with member.system.events.subscribe(ActivationTerminated, capacity=4) as subscription:
        outcomes = await asyncio.gather(grain.fail_later(), grain.look(), grain.mark("more"), return_exceptions=True)
        ended = await anext(aiter(subscription))
    assert isinstance(outcomes[0], RefusedError)
    assert outcomes[1:] == [["saved"], ["saved", "more"]]
    assert ended.reason == "failed"
    why = "a call of this activation has failed, so its state is not saved (on_failure='reset')"
    assert ["active", "failed", why, "active"] == LOG


async def test_a_stateless_kind_can_stop(caller):
    class Plain(Grain, on_failure="stop"):
        async def on_deactivate(self, reason: str) -> None:
            LOG.append(reason)

        async def fail(self) -> None:
            raise RefusedError("no")

        async def touch(self) -> None: ...

    cluster = await caller(Plain)
    with pytest.raises(RefusedError):
        await cluster.grain(Plain, "a").fail()
    await cluster.grain(Plain, "a").touch()
    assert LOG == ["failed"]


def test_a_policy_that_cannot_be_is_refused_with_the_class():
    with pytest.raises(InvalidGrain, match="keep, reset, stop"):

        class Wrong(Grain, on_failure="ignore"):  # pyright: ignore[reportUnusedClass]
            pass

    with pytest.raises(InvalidGrain, match="no durable state"):

        class Stateless(Grain, on_failure="reset"):  # pyright: ignore[reportUnusedClass]
            pass
