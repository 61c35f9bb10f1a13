"""The report of a quickstart: complete enough to repeat the run, and without the secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inaho.cli.output import describe_error
from inaho.cli.quickstart.plan import Plan, make_plan
from inaho.cli.quickstart.record import CallRecord, NodeRecord, Record, Survival
from inaho.cli.quickstart.report import repeated_command, write_report
from inaho.errors import Timeout

SURVIVAL = Survival(
    key="b", killed_pid=12, lived_on="h:2", answers_from="h:1", value_before=2, value_after=2, value_then=3, took_s=1.25
)


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    with make_plan(nodes=2, directory=tmp_path, environ={}) as plan:
        yield plan


def record_of(plan: Plan) -> Record:
    first, second = plan.authorities
    return Record(
        run_directory=str(plan.directory),
        report=str(plan.directory / "quickstart-report.md"),
        cluster="inaho",
        seeds=plan.settings.seeds,
        members_up_s=0.5,
        nodes=[NodeRecord("node-1", first, 11, ["run"], "log-1"), NodeRecord("node-2", second, 12, ["run"], "log-2")],
        members=[{"authority": first, "node_id": "0" * 16, "status": "up"}],
        pids=[f"inaho://inaho@{first}/Counter/a#{'0' * 16}", f"inaho://inaho@{second}/Counter/b#{'1' * 16}"],
        calls=[CallRecord("a", second, "Counter/b", ok=True, reply=7, took_ms=0.5)],
        survival=SURVIVAL,
    )


def test_a_report_has_all_that_repeating_the_run_takes(plan: Plan):
    record = record_of(plan)
    record.ok = True
    write_report(plan, record)
    text = Path(record.report).read_text()
    assert "Every step succeeded." in text
    for authority in plan.authorities:
        assert f"inaho.cli.sample:Counter --config {plan.config_file} --authority {authority}" in text
        assert authority.rpartition(":")[2] in text.split("ports: ")[1].splitlines()[0]
    for wanted in (*record.pids, "call Counter a ask b", "call Counter b ask a", "rm -r", "replied 7", "1.25 s later"):
        assert wanted in text
    assert plan.config_file.read_text().splitlines()[1] in text
    assert plan.settings.secret not in text


def test_a_report_of_a_failure_has_the_reason_and_what_was_done_until_then(plan: Plan):
    record = record_of(plan)
    record.survival = None
    record.calls.append(CallRecord("b", "h:1", "Counter/a", error=describe_error(Timeout("too late"))))
    record.error = describe_error(Timeout("waited in vain"))
    write_report(plan, record)
    text = Path(record.report).read_text()
    assert "did not succeed" in text
    assert "ended early with `timeout`: waited in vain" in text
    assert "failed with `timeout`: too late" in text


def test_success_takes_every_ask_and_the_saved_state(plan: Plan):
    record = record_of(plan)
    assert record.succeeded()
    record.calls[0].ok = False
    assert not record.succeeded()
    record.calls[0].ok = True
    record.survival = Survival(
        **{name: getattr(SURVIVAL, name) for name in SURVIVAL.__struct_fields__} | {"value_after": 0}
    )
    assert not record.succeeded()
    record.survival, record.calls = None, []
    assert not record.succeeded()


def test_the_command_is_repeated_without_its_secret():
    given = ["inaho", "quickstart", "--secret", "hush", "--secret=hush", "--secret-file", "path", "--nodes", "3"]
    assert repeated_command(given)[3:] == [
        *("quickstart", "--secret", "***", "--secret=***", "--secret-file", "path", "--nodes", "3")
    ]
