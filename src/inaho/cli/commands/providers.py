"""`inaho providers`: lists, checks, adds and removes the providers of topology of the members.

Each member has its own providers, so a command asks or orders all members unless `--at` names one. A member that does
not answer, or refuses, is named, and makes the command fail; what the others did is still written.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.command_runner import run_command
from inaho.cli.member_answers import Failures, ask_all, describe_failures, name_failures
from inaho.cli.member_lookup import find_member
from inaho.cli.options import ConfigOption, JsonOption, NameOption
from inaho.cli.output import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Output
from inaho.cli.settings import load_settings
from inaho.config import ClusterConfig, ProviderDescriptor
from inaho.config.provider_definitions import read_definitions
from inaho.errors import InvalidConfig, ProviderInvalid
from inaho.types import Member

if TYPE_CHECKING:
    from inaho.core.provisioning.provider_state import ProviderState

__all__ = ["providers_app", "read_definition"]

LIST_COLUMNS: Final = ("member", "provider", "state", "used", "priority", "owner", "url", "reason")
HEALTH_COLUMNS: Final = ("member", "provider", "state", "answered s ago", "errors", "snapshot", "reason")

AtOption = Annotated[
    str | None, typer.Option("--at", help="host:port of one member; all members unless given.", show_default=False)
]
UrlArgument = Annotated[
    str, typer.Argument(help="etcd://10.0.0.9:2379/shop, dns+srv://_inaho._tcp.shop, seeds://10.0.0.5:7700, ...")
]
AsOption = Annotated[
    str, typer.Option("--as", help="Name of the provider; its scheme unless given.", show_default=False)
]
CredentialOption = Annotated[
    list[str] | None,
    typer.Option(
        "--credential",
        help="A secret of the provider: password=env:VARIABLE or token=file:PATH, read where the provider runs; may be "
        "repeated.",
        show_default=False,
    ),
]

providers_app = typer.Typer(help="Providers of topology: where members find their cluster.", no_args_is_help=True)


@providers_app.command("list")
@client_command
async def list_providers(output: Output, settings: ClusterConfig, *, at: AtOption = None) -> int:
    """Show the providers of each member. Fails when a member does not answer."""
    states, silent = await _states(settings, at)
    if output.as_json:
        described = [_describe(member, state) for member, found in states for state in found]
        output.document({"cluster": settings.name, "providers": described, "silent": describe_failures(silent)})
    rows = [
        (
            member.authority,
            state.name,
            state.state,
            "yes" if state.active else "",
            str(state.priority),
            state.owner,
            state.url,
            state.reason,
        )
        for member, found in states
        for state in found
    ]
    output.table(f"{len(rows)} providers of {len(states)} members of {settings.name!r}", LIST_COLUMNS, rows)
    return name_failures(output, silent)


@providers_app.command()
@client_command
async def health(output: Output, settings: ClusterConfig, *, at: AtOption = None) -> int:
    """Show how the providers do. Fails when a member has providers and uses none, or does not answer."""
    states, silent = await _states(settings, at)
    without = [member.authority for member, found in states if found and not any(state.active for state in found)]
    if output.as_json:
        described = [_describe(member, state) for member, found in states for state in found]
        document = {"cluster": settings.name, "healthy": not without and not silent, "providers": described}
        output.document({**document, "without": without, "silent": describe_failures(silent)})
    rows = [
        (
            member.authority,
            state.name,
            state.state,
            "" if state.heard_s is None else f"{state.heard_s:.1f}",
            str(state.errors),
            str(state.seq_no or ""),
            state.reason,
        )
        for member, found in states
        for state in found
    ]
    output.table(f"{len(rows)} providers of {len(states)} members of {settings.name!r}", HEALTH_COLUMNS, rows)
    for authority in without:
        output.note(f"{authority} uses no provider")
    code = name_failures(output, silent)
    return EXIT_FAILED if without else code


@providers_app.command()
@client_command
async def why(output: Output, settings: ClusterConfig, *, at: AtOption = None) -> int:
    """Show which provider each member uses, and why that one. Fails when a member does not answer."""
    states, silent = await _states(settings, at)
    if output.as_json:
        output.document(
            {
                "cluster": settings.name,
                "members": [_reasons(member, found) for member, found in states],
                "silent": describe_failures(silent),
            }
        )
    for member, found in states:
        reasons = _reasons(member, found)
        if reasons["active"]:
            output.text(f"{member.authority} uses {reasons['active']}: {reasons['why']}")
        else:
            output.text(f"{member.authority} {'uses no provider' if found else 'has no providers'}")
        for other in reasons["others"]:
            reason = f": {other['reason']}" if other["reason"] else ""
            output.text(f"  {other['provider']} has priority {other['priority']} and is {other['state']}{reason}")
    return name_failures(output, silent)


@providers_app.command()
def check(
    url: UrlArgument,
    credential: CredentialOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a provider from here, without a cluster: valid (else exit code 2), reached (else 1), what it lists."""
    output = Output(as_json=as_json)

    async def command() -> int:
        settings = load_settings(config=config, name=name)
        found = await inaho.check_provider(read_definition(url, "", 0, credential), config=settings)
        can = [each for each, value in msgspec.structs.asdict(found.capabilities).items() if value is True]
        if output.as_json:
            lists = {"members": list(found.members), "blocked": list(found.blocked)}
            output.document({"provider": found.name, "url": found.url, "capabilities": can, **lists})
        number = "1 member" if len(found.members) == 1 else f"{len(found.members)} members"
        output.text(f"{found.url} is valid and answers; it has {', '.join(can) or 'only addresses'}")
        output.text(f"it lists {number} of {settings.name!r}: {', '.join(found.members) or 'none'}")
        if found.blocked:
            output.text(f"blocked there: {', '.join(found.blocked)}")
        return EXIT_OK

    run_command(output, command)


@providers_app.command()
@client_command
async def add(
    output: Output,
    settings: ClusterConfig,
    *,
    url: UrlArgument,
    known_as: AsOption = "",
    priority: Annotated[int, typer.Option("--priority", help="The lowest number is used first.")] = 0,
    credential: CredentialOption = None,
    at: AtOption = None,
) -> int:
    """Add a provider to the members, which keep it over restarts. Fails when a member refuses or does not answer."""
    definition = read_definition(url, known_as, priority, credential)
    added, refused = await _order(settings, at, lambda cluster, member: cluster.add_provider_at(member, definition))
    if output.as_json:
        document = {"provider": definition.name, "url": definition.shown_url, "added_by": added}
        output.document({**document, "refused": describe_failures(refused)})
    if added:
        output.text(f"{definition.name} was added by {', '.join(added)}")
    return _refusals(output, refused, added)


@providers_app.command()
@client_command
async def remove(
    output: Output,
    settings: ClusterConfig,
    *,
    removed_name: Annotated[str, typer.Argument(metavar="PROVIDER", help="Its name, as the list has it.")],
    at: AtOption = None,
) -> int:
    """Remove a provider that was added. Fails when a member refuses, or does not answer, or none has it."""
    states, silent = await _states(settings, at)
    having = [member for member, found in states if any(state.name == removed_name for state in found)]
    removed, refused = await _order(
        settings, at, lambda cluster, member: cluster.remove_provider_at(member, removed_name), having
    )
    refused = [*silent, *refused]
    if output.as_json:
        output.document({"provider": removed_name, "removed_by": removed, "refused": describe_failures(refused)})
    if removed:
        output.text(f"{removed_name} was removed by {', '.join(removed)}")
    elif not refused:
        output.note(f"none of the {len(states)} members has a provider {removed_name}")
        return EXIT_FAILED
    return _refusals(output, refused, removed)


def read_definition(url: str, name: str, priority: int, credentials: list[str] | None) -> ProviderDescriptor:
    """The definition that was typed.

    Raises:
        InvalidConfig: an option has a wrong form, or the URL has no scheme or a password.
    """
    secrets: dict[str, dict[str, str]] = {}
    for text in credentials or ():
        secret, _, reference = text.partition("=")
        form, _, target = reference.partition(":")
        if not secret or form not in ("env", "file") or not target:
            raise InvalidConfig("--credential must be NAME=env:VARIABLE or NAME=file:PATH, never the secret itself")
        secrets[secret] = {form: target}
    table = {"url": url, "name": name, "priority": priority, "secrets": secrets}
    [definition] = read_definitions([table], "", lambda part, what: InvalidConfig(f"{part or 'it'} {what}"))
    return definition


async def _states(
    settings: ClusterConfig, at: str | None
) -> tuple[list[tuple[Member, tuple[ProviderState, ...]]], Failures]:
    async with inaho.connect(config=settings) as cluster:
        return await ask_all(_members(cluster, at), cluster.providers_at)


async def _order(
    settings: ClusterConfig,
    at: str | None,
    order: Callable[[inaho.Cluster, Member], Coroutine[Any, Any, None]],
    only: list[Member] | None = None,
) -> tuple[list[str], Failures]:
    """The authorities that obeyed, and the members that did not with the reason."""
    async with inaho.connect(config=settings) as cluster:
        members = _members(cluster, at) if only is None else only
        answers, refused = await ask_all(members, lambda member: order(cluster, member))
    return [member.authority for member, _ in answers], refused


def _members(cluster: inaho.Cluster, at: str | None) -> list[Member]:
    return list(cluster.members()) if at is None else [find_member(cluster, at)]


def _describe(member: Member, state: ProviderState) -> dict[str, Any]:
    return {"member": member.authority, **msgspec.structs.asdict(state)}


def _reasons(member: Member, found: tuple[ProviderState, ...]) -> dict[str, Any]:
    active = next((state for state in found if state.active), None)
    others = [
        {"provider": state.name, "priority": state.priority, "state": state.state, "reason": state.reason}
        for state in found
        if not state.active
    ]
    return {
        "member": member.authority,
        "active": "" if active is None else active.name,
        "why": "" if active is None else active.why,
        "others": others,
    }


def _refusals(output: Output, refused: Failures, obeyed: list[str]) -> int:
    """Names the members that refused; if all did because of what was typed, that is wrong usage."""
    code = name_failures(output, refused, "refused")
    invalid = [error for _, error in refused if isinstance(error, ProviderInvalid)]
    return EXIT_USAGE if not obeyed and invalid and len(invalid) == len(refused) else code
