"""The options that all commands which connect have in common."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from inaho.cli.app import app
from inaho.cli.client_command import client_command
from inaho.cli.output import Output
from inaho.config import ClusterConfig
from inaho.errors import Unreachable

COMMANDS = (
    "members", "call", "where", "grains", "drain", "block", "unblock", "events",
    "quarantine list", "quarantine release", "providers list", "providers health", "providers why", "providers add",
    "providers remove",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("INAHO_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_them(command: str):
    told = CliRunner().invoke(app, [*command.split(), "--help"])
    assert told.exit_code == 0
    for option in (
        "--seeds",
        "--provider",
        "--secret",
        "--secret-file",
        "--name",
        "--config",
        "--connect-timeout",
        "--json",
    ):
        assert option in told.output


def command_that(run: Any) -> typer.Typer:
    single = typer.Typer()

    @single.command()
    @client_command
    async def one(
        output: Output,
        settings: ClusterConfig,
        *,
        what: Annotated[str, typer.Argument()],
        often: Annotated[int, typer.Option("--often")] = 1,
    ) -> int:
        """Says what."""
        return run(output, settings, what, often)

    return single


def test_a_command_gets_its_own_options_and_the_settings():
    def run(output: Output, settings: ClusterConfig, what: str, often: int) -> int:
        output.document({"what": what * often, "seeds": settings.seeds, "wait": settings.membership.join_timeout_s})
        return 3

    options = ["hey", "--often", "2", "--seeds", "127.0.0.1:1,127.0.0.1:2", "--connect-timeout", "2.5", "--json"]
    told = CliRunner().invoke(command_that(run), options)
    assert told.exit_code == 3
    assert msgspec.json.decode(told.output) == {"what": "heyhey", "seeds": ["127.0.0.1:1", "127.0.0.1:2"], "wait": 2.5}


def test_without_seeds_it_says_where_to_give_them():
    told = CliRunner().invoke(command_that(lambda *_: 0), ["hey"])
    assert told.exit_code == 2
    assert "seeds missing: give --seeds host:port" in told.output


def test_what_it_raises_becomes_a_message_and_an_exit_code():
    def run(*_: Any) -> int:
        raise Unreachable("nobody is there", authority="127.0.0.1:1")

    told = CliRunner().invoke(command_that(run), ["hey", "--seeds", "127.0.0.1:1"])
    assert told.exit_code == 1
    assert "error [unreachable]: 127.0.0.1:1: nobody is there" in told.output


def test_names_of_events_need_no_cluster():
    told = CliRunner().invoke(app, ["events", "--json"])
    assert told.exit_code == 0
    assert "MemberUp" in msgspec.json.decode(told.output)["events"]
