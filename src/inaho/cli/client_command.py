"""Adds the options by which a client finds its cluster to each command that connects to one.

A command names only its own options. `@client_command` adds those by which a client finds its cluster to the signature
that typer reads, loads the settings from them, and hands these to the command.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

import typer

from inaho.cli.command_runner import run_command
from inaho.cli.options import (
    ConfigOption,
    JsonOption,
    NameOption,
    ProviderOption,
    SecretFileOption,
    SecretOption,
    SeedsOption,
)
from inaho.cli.output import Output
from inaho.cli.settings import load_settings, require, split_list, split_providers
from inaho.config import ClusterConfig

__all__ = ["CONNECT_TIMEOUT_S", "client_command"]

CONNECT_TIMEOUT_S: Final = 5.0

ConnectTimeoutOption = Annotated[
    float, typer.Option("--connect-timeout", min=0.01, help="Seconds to look for a member that answers.")
]

Command = Callable[..., Coroutine[Any, Any, int]]


def _options(
    seeds: SeedsOption = None,
    provider: ProviderOption = None,
    secret: SecretOption = None,
    secret_file: SecretFileOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
    connect_timeout: ConnectTimeoutOption = CONNECT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> tuple[Callable[[], ClusterConfig], Output]:
    """The settings of the common options, loaded when needed, and the output."""

    def settings() -> ClusterConfig:
        return load_settings(
            config=config,
            secret=secret,
            secret_file=secret_file,
            seeds=split_list(seeds),
            providers=split_providers(provider),
            name=name,
            membership={"join_timeout_s": connect_timeout},
        )

    return settings, Output(as_json=as_json)


_SHARED: Final = inspect.signature(_options, eval_str=True).parameters


def client_command(command: Command) -> Callable[..., None]:
    """Makes a command of a coroutine function `(output, settings, *, its own options) -> exit code`.

    The options of all clients are added after its own; failures become messages and exit codes as for all commands. The
    settings have seeds or providers, unless the command has a `follow` that was not given: then it does not connect.
    """
    signature = inspect.signature(command, eval_str=True)
    own = list(signature.parameters.values())[2:]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings, output = _options(**{name: given.pop(name) for name in _SHARED})

        async def called() -> int:
            loaded = settings()
            if given.get("follow", True) and not loaded.providers:
                require(loaded, "seeds")
            return await command(output, loaded, **given)

        run_command(output, called)

    parameters = [*own, *_SHARED.values()]
    as_options = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    run.__signature__ = signature.replace(parameters=as_options, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
