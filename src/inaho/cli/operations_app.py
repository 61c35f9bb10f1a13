"""The commands that look at a running cluster and operate it, and their options."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inaho.cli.connecting import connecting
from inaho.cli.output import Output
from inaho.config import ClusterConfig

__all__ = ["operations_app"]

operations_app = typer.Typer()

KindArgument = Annotated[str, typer.Argument(help="Kind of the grain.")]
KeyArgument = Annotated[str, typer.Argument(help="Key of the grain.")]
AuthorityArgument = Annotated[str, typer.Argument(help="host:port of the member, as `inaho members` has it.")]


@operations_app.command()
@connecting
async def members(output: Output, settings: ClusterConfig) -> int:
    """Show the members of a running cluster."""
    from inaho.cli.client import show_members

    return await show_members(output, settings)


@operations_app.command()
@connecting
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
    """Call a method of a grain of a running cluster and print what it gives."""
    from inaho.cli.client import call_method, parse_argument

    values: list[Any] = [parse_argument(text) for text in arguments or ()]
    return await call_method(output, settings, (kind, key), method, values, timeout_s=timeout, stream=stream)


@operations_app.command()
@connecting
async def where(output: Output, settings: ClusterConfig, *, kind: KindArgument, key: KeyArgument) -> int:
    """Show where a grain is, what it does, why it is there, and what happened to it. Fails when nobody can own it."""
    from inaho.cli.looking import show_where

    return await show_where(output, settings, kind, key)


@operations_app.command()
@connecting
async def grains(
    output: Output,
    settings: ClusterConfig,
    *,
    kind: Annotated[str, typer.Argument(help="Only this kind.", show_default=False)] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=400, help="Activations listed of each kind and member.")
    ] = 20,
) -> int:
    """Show what is active: how many of each kind on each member, and some of them."""
    from inaho.cli.looking import show_grains

    return await show_grains(output, settings, kind, limit)


@operations_app.command()
@connecting
async def drain(
    output: Output,
    settings: ClusterConfig,
    *,
    authority: AuthorityArgument,
    timeout: Annotated[  # noqa: ASYNC109  an option's name
        float | None,
        typer.Option(
            "--timeout",
            min=0.001,
            max=86_400,
            help="Seconds that running turns get; the member's activation.drain_s unless given.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Have a member leave gracefully, as at SIGTERM; its `inaho up` ends. Fails when something did not end in time."""
    from inaho.cli.operating import drain_member

    return await drain_member(output, settings, authority, timeout)


@operations_app.command()
@connecting
async def block(output: Output, settings: ClusterConfig, *, authority: AuthorityArgument) -> int:
    """Bar a member from holding activations: others take over what it has. It stays a member."""
    from inaho.cli.operating import set_blocked

    return await set_blocked(output, settings, authority, blocked=True)


@operations_app.command()
@connecting
async def unblock(output: Output, settings: ClusterConfig, *, authority: AuthorityArgument) -> int:
    """Lift a block: the member takes its share of activations again."""
    from inaho.cli.operating import set_blocked

    return await set_blocked(output, settings, authority, blocked=False)


@operations_app.command()
@connecting
async def settle(
    output: Output,
    settings: ClusterConfig,
    *,
    at: Annotated[str, typer.Argument(help="host:port of the member that has told of a ViewConflict.")],
    authority: Annotated[str, typer.Argument(help="host:port of whom it is in conflict with.")],
    keep: Annotated[
        bool, typer.Option("--keep/--give-way", help="Whether the member's view holds, or it joins the other side.")
    ],
) -> int:
    """Settle two views of the cluster that exclude each other, where no rule could: one side joins the other."""
    from inaho.cli.operating import settle_conflict

    return await settle_conflict(output, settings, at, authority, keep=keep)


@operations_app.command()
@connecting
async def events(
    output: Output,
    settings: ClusterConfig,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Write events as they happen, until Ctrl-C.")] = False,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this class, such as MemberEvent; may be repeated."),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="host:port of the member that tells them; one of the seeds unless given.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many events.", show_default=False)
    ] = None,
) -> int:
    """Show what happens on one member as it happens; without --follow, the names for --type."""
    from inaho.cli.following import follow_events, show_types

    if not follow:
        return show_types(output)
    return await follow_events(output, settings, types or [], at=at, count=count)
