"""`inaho call`: calls one method of a grain by names, or reads one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.options import KeyArgument, KindArgument
from inaho.cli.output import EXIT_OK, Output
from inaho.config import ClusterConfig
from inaho.errors import InahoError, RemoteError, SchemaMismatch

__all__ = ["call", "call_method", "parse_argument"]


@client_command
async def call(
    output: Output,
    settings: ClusterConfig,
    *,
    kind: KindArgument,
    key: KeyArgument,
    method: Annotated[str, typer.Argument(help="Name of the method.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="Positional arguments: JSON, or plain text. Put -- before a negative number."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="The method is a stream. Found out without this, by one more request.")
    ] = False,
    timeout: Annotated[  # noqa: ASYNC109  an option's name
        float | None, typer.Option("--timeout", min=0.001, help="Seconds for the call.", show_default=False)
    ] = None,
) -> int:
    """Call a method of a grain of a running cluster and print its result."""
    values: list[Any] = [parse_argument(text) for text in arguments or ()]
    return await call_method(output, settings, (kind, key), method, values, timeout_s=timeout, stream=stream)


def parse_argument(text: str) -> Any:
    """An argument of a call as it was typed: JSON if it is JSON, else the text itself.

    So `2`, `true`, `null`, `[1,2]` and `{"a":1}` are data, and `apple` needs no quotes; `'"2"'` is the text 2.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


async def call_method(
    output: Output,
    settings: ClusterConfig,
    identity: tuple[str, str],
    method: str,
    arguments: Sequence[Any],
    *,
    timeout_s: float | None = None,
    stream: bool = False,
) -> int:
    """Calls a method by names and writes its result, or the items of a stream as they arrive.

    Args:
        output: gets the result.
        settings: of the client.
        identity: kind and key.
        method: its name.
        arguments: positional.
        timeout_s: for the call, above 0.
        stream: the method is known to be a stream. Otherwise the command finds out: the node refuses, before anything
            runs, to answer a stream as a call.

    Raises:
        InahoError: as the call; an exception of the grain as `RemoteError`.
    """
    kind, key = identity

    async def once() -> None:
        result = await cluster.call(kind, key, method, *arguments, timeout=timeout_s)
        output.value(result, name="result")

    async def items() -> None:
        async for item in cluster.stream(kind, key, method, *arguments, timeout=timeout_s):
            output.value(item, name="item")

    async with inaho.connect(config=settings) as cluster:
        try:
            if stream:
                await items()
            else:
                try:
                    await once()
                except SchemaMismatch as refused:
                    await _as_stream(items, refused)
        except (InahoError, asyncio.CancelledError):
            raise
        except Exception as error:  # registered exceptions of the grain arrive as their own class, whatever it is
            raise _of_grain(error, f"{kind}/{key}") from error
    return EXIT_OK


async def _as_stream(items: Any, refused: SchemaMismatch) -> None:
    """Tries a refused call as a stream; if that is refused too, the more specific error is raised."""
    if refused.maybe_executed:
        raise refused
    try:
        await items()
    except SchemaMismatch as again:
        # One of the two errors says only that the method is a stream or is none, the other one names the real problem.
        raise (again if "stream" in refused.reason else refused) from None


def _of_grain(error: Exception, identity: str) -> RemoteError:
    return RemoteError(
        identity=identity,
        type_name=type(error).__qualname__,
        message=str(error),
        remote_traceback="\n".join(getattr(error, "__notes__", ())),
    )
