"""A fixed list of addresses: `seeds://10.0.0.5:7700,10.0.0.6:7700`. It never changes and never fails."""

from __future__ import annotations

from inaho.authority import parse_authority
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidConfig
from inaho.providers.base import ProviderRead
from inaho.providers.read_only import ReadOnlyProvider
from inaho.providers.setup import ProviderSetup

__all__ = ["SeedsProvider"]


class SeedsProvider(ReadOnlyProvider):
    """See the module. The members are in the order of the URL, without details.

    Args:
        setup: of the provider.

    Raises:
        ProviderInvalid: there is no address, one cannot be read or has no port, or one comes twice.
    """

    def __init__(self, setup: ProviderSetup) -> None:
        super().__init__(setup)
        if not setup.url.servers:
            raise self._invalid("no address; write for example seeds://10.0.0.5:7700,10.0.0.6:7700")
        authorities: list[str] = []
        for server in setup.url.servers:
            try:
                authority = str(parse_authority(server, allow_port_zero=False))
            except InvalidConfig as error:
                raise self._invalid(error.reason) from error
            if authority in authorities:
                raise self._invalid(f"{authority} comes twice")
            authorities.append(authority)
        self._read = ProviderRead(tuple(ProviderMember(authority) for authority in authorities))

    async def check(self) -> None:
        """Nothing is contacted: the URL was checked when the provider was made."""
        self._refuse_if_closed()

    async def read(self) -> ProviderRead:
        """The addresses of the URL."""
        self._refuse_if_closed()
        return self._read
