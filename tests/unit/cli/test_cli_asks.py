"""One ask of the quickstart: told and recorded, whatever comes of it (SPEC CL-8.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inaho.cli.output import Output
from inaho.cli.quickstart.plan import Plan, make_plan
from inaho.cli.quickstart.quickstart import Quickstart, _poll
from inaho.errors import Timeout, Unreachable


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    with make_plan(nodes=2, directory=tmp_path, environ={}) as plan:
        yield plan


async def test_a_reply_is_told_and_recorded(plan: Plan, capsys: pytest.CaptureFixture[str]):
    async def ask() -> int:
        return 7

    run = Quickstart(Output(as_json=False), plan)
    await run._call("here", "there:1", "k", ask)
    (call,) = run.record.calls
    assert (call.ok, call.reply, call.error) == (True, 7, None)
    assert run.record.succeeded()
    assert "ask: here -> Counter/k on there:1: replied 7 in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Unreachable("nobody listens there", authority="there:1"), "unreachable", "nobody listens there"),
        (ValueError("no such thing"), "remote_error", "ValueError: no such thing"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
async def test_a_failed_ask_is_told_with_its_reason_and_the_run_is_no_success(
    plan: Plan, capsys: pytest.CaptureFixture[str], error: Exception, code: str, reason: str, as_json: bool
):
    async def ask() -> int:
        raise error

    run = Quickstart(Output(as_json=as_json), plan)
    await run._call("here", "there:1", "k", ask)
    (call,) = run.record.calls
    assert not call.ok
    assert call.error is not None
    assert (call.error["code"], call.error["reason"]) == (code, reason)
    assert not run.record.succeeded()
    assert f"the ask failed [{code}]: {reason}" in capsys.readouterr().err


async def test_waiting_has_an_end_that_says_what_for():
    async def never() -> None:
        return None

    with pytest.raises(Timeout, match=r"waited 0 s in vain until the sun rises"):
        await _poll("the sun rises", never, 0.0)
