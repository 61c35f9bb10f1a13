"""Checks the arguments of `inaho up` before it starts anything, and reports all problems together.

A person who corrects one mistake and then gets the next one learns slowly, so nothing here stops at the first problem.
A class that cannot be found is the most important mistake, so it comes first.

Without an authority a member is for this machine. The first one takes `DEFAULT_AUTHORITY`, so that others can name it
as a seed; members that join through seeds or providers of this machine take a free port. If one of them is on another
machine, only the user knows the address under which those machines reach this one, so it must be given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from inaho import Grain
from inaho.authority import is_loopback_address, parse_authority
from inaho.cli.settings import where_to_give
from inaho.cli.up.grain_classes import load_grains
from inaho.config import ClusterConfig
from inaho.errors import InahoError, InvalidConfig
from inaho.storage.urls import storage_from_url

__all__ = ["DEFAULT_AUTHORITY", "check_together", "prepare", "with_authority"]

DEFAULT_AUTHORITY: Final = "127.0.0.1:7700"

FREE_PORT: Final = "127.0.0.1:0"

T = TypeVar("T")


def prepare(
    targets: Sequence[str], settings: Callable[[], ClusterConfig], storage: str | None, *others: Callable[[], object]
) -> tuple[ClusterConfig, tuple[type[Grain[Any]], ...]]:
    """The settings and classes of a member that is about to start.

    Args:
        targets: what to host, as `load_grains` takes it.
        settings: reads the settings.
        storage: the storage by its URL; None for the default.
        others: further checks, which raise.

    Raises:
        InvalidConfig, InvalidGrain: what is wrong; several problems are one `InvalidConfig` that numbers them.
    """
    found: list[tuple[type[Grain[Any]], ...]] = []
    loaded: list[ClusterConfig] = []
    check_together(
        *(lambda target=target: found.append(load_grains([target])) for target in targets),
        lambda: loaded.append(with_authority(settings())),
        lambda: None if storage is None else storage_from_url(storage),
        *others,
    )
    return loaded[0], tuple(dict.fromkeys(cls for classes in found for cls in classes))


def check_together(*checks: Callable[[], object]) -> None:
    """Runs all checks.

    Raises:
        InahoError: the only one that was raised, or an `InvalidConfig` with all of them.
    """
    problems: list[InahoError] = []
    for check in checks:
        try:
            check()
        except InahoError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = " ".join(f"({number}) {problem.reason}" for number, problem in enumerate(problems, 1))
        raise InvalidConfig(f"{len(problems)} problems: {listed}")


def with_authority(settings: ClusterConfig) -> ClusterConfig:
    """The settings with an authority: the one that is given, or one on this machine.

    Raises:
        InvalidConfig: none is given, and one on this machine is not enough, because `bind`, the seeds or the providers
            show that other machines must reach this node.
    """
    if settings.authority:
        return settings
    if settings.bind:
        raise InvalidConfig(f"authority missing: bind says where to listen, not where others reach this node; {_GIVE}")
    if not settings.seeds and not settings.providers:
        return settings.replace(authority=DEFAULT_AUTHORITY)
    if not all(_is_here(parse_authority(seed).host) for seed in settings.seeds):
        raise InvalidConfig(f"authority missing: the seeds are on other machines, which must reach this one; {_GIVE}")
    for provider in settings.providers:
        if not _lists_here(provider.url):
            raise InvalidConfig(
                f"authority missing: the provider {provider.name} may list other machines, which must reach this one; "
                f"{_GIVE}"
            )
    return settings.replace(authority=FREE_PORT)


_GIVE: Final = where_to_give("authority")


def _lists_here(url: str) -> bool:
    """Whether all servers of a provider are on this machine; those without a server are not known to be."""
    servers = [server.strip() for server in urlsplit(url).netloc.split(",") if server.strip()]
    return bool(servers) and all(_is_here(urlsplit(f"//{server}").hostname or "") for server in servers)


def _is_here(host: str) -> bool:
    return host == "localhost" or is_loopback_address(host)
