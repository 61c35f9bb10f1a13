"""Operations on the providers of topology: list, add and remove, on this node or on a member.

Each node has its own providers, because each must find the cluster by itself. So an operator asks each member, and
orders each member, as with quarantines.
"""

from __future__ import annotations

from typing import Final

from inaho.config import ProviderDescriptor, with_names
from inaho.core.provisioning.provider_state import ProviderState
from inaho.observe.audit import audit_order
from inaho.providers.base import TopologyProvider
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.runtime.provisioning.ports import ProviderOperations
from inaho.types import Member

__all__ = ["PROVIDERS_KEY", "OfProviders", "ProviderActor"]

PROVIDERS_KEY: Final = "providers"

CHANGE_S: Final = 60.0
"""Seconds for a member to check a back end and to write its file. Both have time limits of their own."""


class ProviderActor(Grain, name="inaho.providers", reentrant=True, idle_ttl_s=0):
    """Answers the requests of operators about the providers of this one node; a system actor."""

    def __init__(self, local: LocalNode, operations: ProviderOperations) -> None:
        self._local = local
        self._operations = operations

    @method(idempotent=True)
    async def describe(self) -> list[ProviderState]:
        """The providers of this node, the highest priority first."""
        return list(self._operations.describe())

    @method(timeout=CHANGE_S)
    async def add(self, definition: ProviderDescriptor) -> None:
        """Adds a provider. Raises as `Cluster.add_provider`."""
        audit_order("add the provider", definition.name, self._local.authority)
        await self._operations.add(definition)

    @method(timeout=CHANGE_S)
    async def remove(self, name: str) -> None:
        """Removes a provider. Raises as `Cluster.remove_provider`."""
        audit_order("remove the provider", name, self._local.authority)
        await self._operations.remove(name)


class OfProviders:
    """The part of `Cluster` about providers of topology."""

    _provider_operations: ProviderOperations
    _provider_calls: SystemCalls

    def providers(self) -> tuple[ProviderState, ...]:
        """The providers of this node as they are now, the highest priority first."""
        return self._provider_operations.describe()

    async def add_provider(self, provider: str | ProviderDescriptor | TopologyProvider, *, priority: int = 0) -> None:
        """Adds a provider to this node, once its back end has been reached (SPEC PR-1).

        A member keeps a URL or a definition in `providers.jsonl` and has it again after a restart; not an object.

        Args:
            provider: a URL, a definition, or an object of your own.
            priority: the lowest number is used first. A definition has its own.

        Raises:
            ProviderInvalid: it is not valid, or the back end refuses it; its name is taken; or too many in a row were
                not valid.
            ProviderUnreachable, ProviderStreamFailed: the back end cannot be reached, or answers strangely.
            ProviderStoreDamaged, ProviderStoreFailed: it cannot be kept.
        """
        if isinstance(provider, str):
            [provider] = with_names(
                [ProviderDescriptor(url=provider, priority=priority)], [each.name for each in self.providers()]
            )
        await self._provider_operations.add(provider, priority=priority)

    async def remove_provider(self, name: str) -> None:
        """Removes a provider that was added while this node ran. Its registrations are removed too.

        Raises:
            ProviderInvalid: there is none of that name, or the configuration has it.
            ProviderStoreDamaged, ProviderStoreFailed: the file cannot be changed.
        """
        await self._provider_operations.remove(name)

    async def providers_at(self, member: Member) -> tuple[ProviderState, ...]:
        """The providers of that member. Clients may ask too.

        Raises:
            Unreachable: the member cannot be reached.
            InahoError: as any call.
        """
        return tuple(await self._provider_calls.ask(member, ProviderActor.describe))

    async def add_provider_at(self, member: Member, definition: ProviderDescriptor) -> None:
        """Adds a provider to that member. Its secrets are variables and files of that member.

        Raises:
            ProviderError: as `add_provider`.
            InahoError: as any call.
        """
        await self._provider_calls.ask(member, ProviderActor.add, definition, timeout_s=CHANGE_S)

    async def remove_provider_at(self, member: Member, name: str) -> None:
        """Removes a provider from that member. Raises as `remove_provider`, and as any call."""
        await self._provider_calls.ask(member, ProviderActor.remove, name, timeout_s=CHANGE_S)
