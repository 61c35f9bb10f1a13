"""What a caller gets when a method raises: the same on one node as between two, whatever was raised."""

# ruff: noqa: N818  names of the tests' stories
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Grain, GrainError, NoSuchKind, Overloaded, RemoteError, ShuttingDown, register_exception


class InsufficientFunds(GrainError):
    """The usual shape: a constructor of its own, and attributes."""

    def __init__(self, balance: int, needed: int) -> None:
        super().__init__(f"{needed} needed, {balance} there")
        self.balance = balance
        self.needed = needed


class Simple(GrainError):
    pass


@register_exception
class Registered(Exception):
    pass


class Unregistered(Exception):
    pass


class Speechless(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


class Holding(GrainError):
    def __init__(self, held: Any) -> None:
        super().__init__("holding", held)


class Choosy(GrainError):
    """Its constructor accepts nothing that arrives."""

    def __init__(self, table: Any) -> None:
        super().__init__("chosen")
        self.entry = table["entry"]


class Abort(BaseException):
    """Not an `Exception`: nothing that code usually catches."""


class Raising(Grain):
    def __init__(self) -> None:
        self.kept: list[int] = [1, 2]

    async def _reach(self, later: bool) -> None:
        if later:
            await asyncio.sleep(0)

    async def value_error(self, later: bool) -> None:
        await self._reach(later)
        raise ValueError("bad", 5)

    async def key_error(self, later: bool) -> None:
        await self._reach(later)
        raise KeyError("k")

    async def os_error(self, later: bool) -> None:
        await self._reach(later)
        raise FileNotFoundError(2, "no such file", "x.txt")

    async def unicode_error(self, later: bool) -> None:
        await self._reach(later)
        b"\xff".decode()

    async def grain_error(self, later: bool) -> None:
        await self._reach(later)
        raise Simple("plain")

    async def attributes(self, later: bool) -> None:
        await self._reach(later)
        raise InsufficientFunds(5, 7)

    async def registered(self, later: bool) -> None:
        await self._reach(later)
        raise Registered("r")

    async def unregistered(self, later: bool) -> None:
        await self._reach(later)
        raise Unregistered("secret detail")

    async def speechless(self, later: bool) -> None:
        await self._reach(later)
        raise Speechless

    async def opaque(self, later: bool) -> None:
        await self._reach(later)
        raise Holding(object())

    async def choosy(self, later: bool) -> None:
        await self._reach(later)
        raise Choosy({"entry": 5})

    async def shares(self, later: bool) -> None:
        await self._reach(later)
        raise Holding(self.kept)

    async def look(self) -> list[int]:
        return self.kept

    async def caused(self, later: bool) -> None:
        await self._reach(later)
        try:
            raise LookupError("inner")
        except LookupError as error:
            raise Simple("outer") from error

    async def stop_iteration(self, later: bool) -> None:
        await self._reach(later)
        raise StopIteration("nope")

    async def cancelled(self, later: bool) -> None:
        await self._reach(later)
        raise asyncio.CancelledError("by hand")

    async def abort(self, later: bool) -> None:
        await self._reach(later)
        raise Abort("now")

    async def group(self, later: bool) -> None:
        await self._reach(later)
        raise ExceptionGroup("many", [ValueError("a"), KeyError("b")])

    async def overloaded(self, later: bool) -> None:
        await self._reach(later)
        raise Overloaded("too much", identity="Other/x")

    async def no_kind(self, later: bool) -> None:
        await self._reach(later)
        raise NoSuchKind("none")

    async def fine(self) -> int:
        return 1


@pytest.fixture(params=[False, True], ids=["at once", "after a suspension"])
def later(request):
    return request.param


async def failure_of(awaitable: Any) -> BaseException:
    try:
        await awaitable
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("method", "kind", "arguments"),
    [
        ("value_error", ValueError, ("bad", 5)),
        ("key_error", KeyError, ("k",)),
        ("grain_error", Simple, ("plain",)),
        ("attributes", InsufficientFunds, ("7 needed, 5 there",)),
        ("registered", Registered, ("r",)),
        ("caused", Simple, ("outer",)),
    ],
)
async def test_registered_exceptions_arrive_as_themselves(caller, method, kind, arguments, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):  # the first call activates and goes another way than the second
        error = await failure_of(getattr(grain, method)(later))
        assert type(error) is kind
        assert error.args == arguments
    assert await grain.fine() == 1


async def test_attributes_of_an_exception_arrive(caller, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    await grain.fine()
    error = await failure_of(grain.attributes(later))
    assert isinstance(error, InsufficientFunds)
    assert (error.balance, error.needed, str(error)) == (5, 7, "7 needed, 5 there")

    found = await failure_of(grain.os_error(later))
    assert isinstance(found, FileNotFoundError)
    assert (found.errno, found.strerror) == (2, "no such file")

    text = await failure_of(grain.unicode_error(later))
    assert isinstance(text, UnicodeDecodeError)
    assert (text.encoding, text.start, text.object) == ("utf-8", 0, b"\xff")


async def test_unregistered_exceptions_are_told_of(caller, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(grain.unregistered(later))
        assert type(error) is RemoteError
        assert error.type_name.endswith("test_grain_exceptions.Unregistered")
        assert error.message == "secret detail"
        assert "in unregistered" in error.remote_traceback
        assert error.maybe_executed
        assert error.identity == "Raising/a"
        assert error.authority


async def test_the_cause_arrives_from_near_and_far(caller, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(grain.caused(later))
        assert type(error.__cause__) is LookupError
        assert error.__cause__.args == ("inner",)
        assert (await failure_of(grain.unregistered(later))).__cause__ is None


@pytest.mark.parametrize(
    ("method", "type_name"),
    [
        ("speechless", "Speechless"),
        ("opaque", "Holding"),
        ("abort", "Abort"),
    ],
)
async def test_what_cannot_cross_is_a_remote_error_from_near_and_far(caller, method, type_name, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(getattr(grain, method)(later))
        assert type(error) is RemoteError
        assert error.type_name.endswith(type_name)
    assert await grain.fine() == 1


async def test_a_constructor_is_not_needed_to_arrive(caller, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(grain.choosy(later))
        assert type(error) is Choosy
        assert error.args == ("chosen",)
        assert error.entry == 5
    assert await grain.fine() == 1


async def test_an_exception_shares_nothing_with_its_grain(caller, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(grain.shares(later))
        assert type(error) is Holding
        assert error.args == ("holding", [1, 2])
        error.args[1].append(3)
    assert await grain.look() == [1, 2]


@pytest.mark.parametrize("method", ["stop_iteration", "cancelled"])
async def test_signals_of_python_become_errors(caller, method, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(getattr(grain, method)(later))
        assert type(error) is RuntimeError
    assert await grain.fine() == 1


async def test_errors_of_ours_keep_what_they_say(caller, later):
    grain = (await caller(Raising)).grain(Raising, "a")
    for _ in range(2):
        error = await failure_of(grain.overloaded(later))
        assert type(error) is Overloaded
        assert (error.code, error.reason, error.identity) == ("overloaded", "too much", "Other/x")
        assert type(await failure_of(grain.no_kind(later))) is NoSuchKind


class Passing(Grain):
    """A method that has run and then meets a refusal."""

    ran = 0

    async def work(self) -> None:
        self.ran += 1
        raise ShuttingDown("the one that I asked is leaving")

    async def count(self) -> int:
        return self.ran


async def test_a_refusal_that_a_method_met_is_not_a_refusal_of_its_own_call(caller):
    grain = (await caller(Passing)).grain(Passing, "a")
    for round_number in (1, 2):
        error = await failure_of(grain.work())
        assert type(error) is ShuttingDown
        assert error.maybe_executed
        assert await grain.count() == round_number  # and so it was not tried again


class Far(Grain):
    async def unregistered(self) -> None:
        raise Unregistered("from afar")


class Near(Grain):
    async def ask(self, key: str) -> None:
        await self.cluster.grain(Far, key).unregistered()


async def test_an_error_from_far_away_stays_legible(fleet):
    one, other = await fleet.members(2, Near, Far)
    near, far = fleet.key_at(one, Near), fleet.key_at(other, Far)
    client = await fleet.client()
    error = await failure_of(client.grain(Near, near).ask(far))
    assert type(error) is RemoteError
    assert error.type_name.endswith("Unregistered")
    assert error.message == "from afar"
    assert "in unregistered" in error.remote_traceback


async def test_a_failure_concerns_nobody_else(fleet):
    await fleet.member(Raising)
    client = await fleet.client()
    grain, other = client.grain(Raising, "a"), client.grain(Raising, "b")
    await grain.fine()
    (connection,) = client._node.peers.connections.values()
    names = ["speechless", "opaque", "choosy", "abort", "cancelled", "group", "stop_iteration", "value_error"]
    outcomes = await asyncio.gather(
        *(call for name in names for call in (getattr(grain, name)(True), other.fine(), grain.fine())),
        return_exceptions=True,
    )
    assert [outcome for outcome in outcomes if outcome == 1] == [1] * (2 * len(names))
    assert list(client._node.peers.connections.values()) == [connection]
