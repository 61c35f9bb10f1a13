"""What the parts of this room need of each other and of the node, and what operators need of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inaho.core.provisioning.provider_state import ProviderState
from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice

if TYPE_CHECKING:
    from inaho.config import ProviderDescriptor
    from inaho.core.inputs import Input
    from inaho.core.node.lifecycle import Stage
    from inaho.core.provisioning.founding import ClusterRecord, Contact
    from inaho.core.provisioning.snapshot import ProviderMember
    from inaho.providers.base import ProviderRead, TopologyProvider

__all__ = ["Contacts", "MemberContacts", "ProviderOperations", "ProvisioningConsumer", "RecordProvider", "Search"]


class ProvisioningConsumer(Protocol):
    """Takes snapshots and notices, in order; each of the three bridges is one.

    Attributes:
        name: for logs and for the order of deliveries.
    """

    name: str

    def snapshot(self, snapshot: ProviderSnapshot) -> None:
        """Applies a snapshot that is newer than all before."""
        ...

    def read_again(self, snapshot: ProviderSnapshot) -> None:
        """The provider in use was read in full and has said the same again: its newest snapshot."""
        ...

    def notice(self, notice: Notice) -> None:
        """Takes a change of the provider in use, an end of a stream, a loss or return of all providers."""
        ...

    def close(self) -> None:
        """The node shuts down: no further snapshot comes; the last one stays for draining (SPEC PR-3.5)."""
        ...


class ProviderOperations(Protocol):
    """What people ask of the providers of one node."""

    def describe(self) -> tuple[ProviderState, ...]:
        """The providers as they are now, the highest priority first."""
        ...

    async def add(self, definition: ProviderDescriptor | TopologyProvider, *, priority: int = 0) -> None:
        """See `ProviderRegistry.add`."""
        ...

    async def remove(self, name: str) -> None:
        """See `ProviderRegistry.remove`."""
        ...


class Contacts(Protocol):
    """Finds out what runs at an authority."""

    async def contact(self, authority: str) -> Contact:
        """Dials it once. Raises nothing: what goes wrong is a `Contact` too."""
        ...


class MemberContacts(Protocol):
    """Finds out whether a process is still at its authority."""

    async def contact(self, authority: str, node_id: str) -> Contact:
        """Dials it once. The authority refuses if another process answers there. Raises nothing."""
        ...


class RecordProvider(Protocol):
    """The part of `TopologyProvider` that founding needs."""

    name: str

    async def read(self) -> ProviderRead:
        """See `TopologyProvider`."""
        ...

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """See `TopologyProvider`."""
        ...

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """See `TopologyProvider`."""
        ...

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """See `TopologyProvider`."""
        ...


class Search(Protocol):
    """The control plane, as far as it searches its cluster."""

    @property
    def stage(self) -> Stage:
        """Where the life of this node stands."""
        ...

    @property
    def up(self) -> tuple[str, ...]:
        """The authorities of the members that are up, sorted."""
        ...

    def feed(self, given: Input, /) -> None:
        """Runs one step of the machine."""
        ...
