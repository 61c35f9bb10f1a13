"""One provider of a node: its definition or object, who owns it, and its back end."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from inaho.config import ProviderDescriptor, with_names
from inaho.providers.base import TopologyProvider

__all__ = ["DefinitionStore", "Owner", "RegisteredProvider", "named", "registered"]


class Owner(enum.StrEnum):
    """Who owns a provider, and so who may remove it.

    CONFIGURATION  arguments, TOML, environment: it owns its name as long as the node runs
    STORE          a definition that was added while the node ran; `providers.jsonl` keeps it
    PROGRAM        an object that a program added while the node ran; nothing keeps it
    """

    CONFIGURATION = "configuration"
    STORE = "store"
    PROGRAM = "program"


class DefinitionStore(Protocol):
    """Keeps the definitions that were added while the node ran; see `FileProviderStore`."""

    async def load(self) -> tuple[ProviderDescriptor, ...]: ...

    async def change(self, *, remove: Iterable[str] = (), add: Iterable[ProviderDescriptor] = ()) -> None: ...


class RegisteredProvider(msgspec.Struct, frozen=True):
    """One provider of the node.

    Attributes:
        name: of the provider.
        url: without secrets; the name of its class for an object that a program has made.
        priority: the lowest number is used first.
        owner: who may remove it.
        definition: None for an object.
        provider: the back end; None if it is disabled.
        disabled: why it is not used; empty if it is.
    """

    name: str
    url: str
    priority: int
    owner: Owner
    definition: ProviderDescriptor | None
    provider: TopologyProvider | None
    disabled: str


def registered(
    definition: ProviderDescriptor | TopologyProvider,
    owner: Owner,
    provider: TopologyProvider | None,
    priority: int,
    disabled: str = "",
) -> RegisteredProvider:
    """The entry of a definition or an object."""
    if isinstance(definition, ProviderDescriptor):
        return RegisteredProvider(
            definition.name, definition.shown_url, priority, owner, definition, provider, disabled
        )
    return RegisteredProvider(definition.name, type(definition).__qualname__, priority, owner, None, provider, disabled)


def named(
    given: Sequence[str | ProviderDescriptor | TopologyProvider],
) -> list[ProviderDescriptor | TopologyProvider]:
    """URLs as definitions, and each definition with a name."""
    found = [ProviderDescriptor(url=one) if isinstance(one, str) else one for one in given]
    written = [one for one in found if isinstance(one, ProviderDescriptor)]
    names = [getattr(one, "name", "") for one in found if not isinstance(one, ProviderDescriptor)]
    with_all_names = iter(with_names(written, names))
    return [next(with_all_names) if isinstance(one, ProviderDescriptor) else one for one in found]
