"""Addresses from DNS: `dns://shop.example:7700` (A and AAAA records) or `dns+srv://_inaho._tcp.shop.example` (SRV).

There is no watch, so the name is looked up periodically. An answer may be old, because servers on the way keep answers.
What each kind of answer means:

    records                              these addresses
    NXDOMAIN, or no such records         no member: nothing has been published yet, or all is gone
    a referral to other servers          an error: this server does not know
    SERVFAIL, silence, no connection     an error: the server is away
    REFUSED, an answer out of form       an error
    truncated                            asked again over TCP

After an error the last good snapshot stays in use. A name that is suddenly empty does no harm: DNS lists no node ids,
so it is never the membership, only the list of whom to contact.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from inaho.authority import parse_authority
from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidConfig, InvalidSnapshot, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.read_only import ReadOnlyProvider
from inaho.providers.setup import ProviderSetup

try:
    import dns.asyncresolver
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.nameserver
    import dns.rdatatype
    import dns.resolver
    import dns.rrset
except ImportError as error:
    raise ProviderInvalid("a provider dns needs the package dnspython: pip install 'inaho[providers]'") from error

__all__ = ["DnsProvider"]

OPTIONS: Final = ("nameserver", "period_s", "types")
PERIOD_S: Final = 5.0
PERIOD_MIN_S: Final = 1.0
PERIOD_MAX_S: Final = 3600.0
TTL_MIN_S: Final = 1.0
"""An answer is used again for this long, whatever its TTL: so often a node asks that looks for its cluster."""
KEPT_SHARE: Final = 0.75
"""Of the period; an answer is not used longer. So the next periodic read, also one that comes early, asks."""

_UDP_BYTES_MAX: Final = 1232  # what passes every network in one datagram
_ATTEMPTS: Final = 2  # of each name server within one request


class DnsProvider(ReadOnlyProvider):
    """See the module.

    Args:
        setup: of the provider. Options: `nameserver=ip:port` (several separated by commas; without it those of
            `/etc/resolv.conf`), `period_s` (5; how often the name is looked up, at least 1), `types=a` or `types=aaaa`
            for a network in which the other type is not answered.

    Raises:
        ProviderInvalid: the name, the port, or an option is wrong.
    """

    def __init__(self, setup: ProviderSetup) -> None:
        super().__init__(setup, OPTIONS)
        options = setup.url.options
        self._srv = setup.url.scheme == "dns+srv"
        self._name, self._port = self._parse_name(setup.url.servers)
        self._types = self._parse_types(options.get("types"))
        nameservers = options.get("nameserver")
        self._nameservers = (
            () if nameservers is None else tuple(self._parse_nameserver(each) for each in nameservers.split(","))
        )
        self._period_s = self._parse_period(options.get("period_s", str(PERIOD_S)))
        self._timeout_s = setup.request_timeout_s
        self.capabilities = Capabilities(read_period_s=self._period_s)
        self._kept: ProviderRead | None = None
        self._kept_until = 0.0

    async def check(self) -> None:
        """Looks the name up, without the answer that is kept. Raises `ProviderError`."""
        await self._look_up()

    async def read(self) -> ProviderRead:
        """The addresses of the name, in any order. An answer is used again within its TTL. Raises `ProviderError`."""
        self._refuse_if_closed()
        if self._kept is not None and asyncio.get_running_loop().time() < self._kept_until:
            return self._kept
        return await self._look_up()

    async def _look_up(self) -> ProviderRead:
        self._refuse_if_closed()
        asked_at = asyncio.get_running_loop().time()
        asking = [asyncio.ensure_future(self._ask(each)) for each in self._types]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = [answer for answer in await asyncio.gather(*asking) if answer is not None]
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {self._timeout_s:g} s from {self._asked()}") from error
        finally:
            for task in asking:
                task.cancel()
        self._refuse_if_closed()
        authorities = dict.fromkeys(authority for answer in answers for authority in self._authorities(answer))
        read = ProviderRead(tuple(ProviderMember(authority) for authority in authorities))
        ttl_s = min((float(answer.ttl) for answer in answers), default=TTL_MIN_S)
        self._kept = read
        self._kept_until = asked_at + min(max(ttl_s, TTL_MIN_S), KEPT_SHARE * self._period_s)
        return read

    async def _ask(self, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        """The records of one type; None if there are none."""
        try:
            resolver = self._resolver()
            answer = await resolver.resolve(
                self._name, kind, raise_on_no_answer=False, search=not self._nameservers, lifetime=self._timeout_s
            )
        except dns.resolver.NXDOMAIN as error:
            details: Any = error  # without types
            self._refuse_if_not_known(details.responses().values())
            return None
        except dns.resolver.LifetimeTimeout as error:
            raise self._unreachable(str(error)) from error
        except dns.resolver.NoNameservers as error:
            details = error
            causes: list[Any] = [attempt[3] for attempt in details.kwargs["errors"]]
            if all(isinstance(cause, OSError | dns.exception.Timeout) or cause == "SERVFAIL" for cause in causes):
                raise self._unreachable(str(error)) from error
            raise self._failed(str(error)) from error
        except dns.resolver.NoResolverConfiguration as error:
            raise self._invalid("/etc/resolv.conf names no server; write ?nameserver=ip:port") from error
        except dns.exception.DNSException as error:
            raise self._failed(str(error)) from error
        if answer.rrset is None:
            self._refuse_if_not_known([answer.response])
        return answer.rrset

    def _asked(self) -> str:
        servers = ", ".join(f"{host}:{port}" for host, port in self._nameservers)
        return servers or "the servers of /etc/resolv.conf"

    def _resolver(self) -> dns.asyncresolver.Resolver:
        # A new one each time, so a changed /etc/resolv.conf is used.
        resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
        if self._nameservers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in self._nameservers]
        resolver.timeout = self._timeout_s / (_ATTEMPTS * max(len(resolver.nameservers), 1))
        resolver.use_edns(0, 0, _UDP_BYTES_MAX)
        return resolver

    def _refuse_if_not_known(self, responses: Iterable[dns.message.Message]) -> None:
        """Raises an error if an answer without records is that of a server that cannot know."""
        for response in responses:
            knows = response.flags & (dns.flags.AA | dns.flags.RA)
            signed_off = any(each.rdtype == dns.rdatatype.SOA for each in response.authority)
            if not knows and not signed_off:
                raise self._failed(
                    "the server does not answer for this name and resolves no others; ask another server (nameserver=)"
                )

    def _authorities(self, records: dns.rrset.RRset) -> Iterator[str]:
        for record in cast(Iterable[Any], records):
            if self._srv:
                if record.target == dns.name.root:  # RFC 2782: the service is not available here
                    continue
                host, port = record.target.to_text(omit_final_dot=True), record.port
            else:
                host, port = record.to_text(), self._port
            text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                yield str(parse_authority(text, allow_port_zero=False))
            except InvalidConfig as error:
                raise InvalidSnapshot(f"{self._subject} has a record that is no address: {error.reason}") from error

    # Errors.

    @property
    def _subject(self) -> str:
        return f"provider {self.name}: the DNS name {self._name}"

    def _unreachable(self, reason: str) -> ProviderUnreachable:
        return ProviderUnreachable(f"{self._subject}: {reason}")

    def _failed(self, reason: str) -> ProviderStreamFailed:
        return ProviderStreamFailed(f"{self._subject}: {reason}")

    # The URL.

    def _parse_name(self, servers: tuple[str, ...]) -> tuple[str, int]:
        form = "dns+srv://_inaho._tcp.shop.example" if self._srv else "dns://shop.example:7700"
        if len(servers) != 1:
            raise self._invalid(f"give one name; write for example {form}")
        name, separator, port = servers[0].rpartition(":")
        if not (separator or self._srv):
            raise self._invalid(f"{servers[0]} has no port; write for example {form}")
        if self._srv:
            if separator:
                raise self._invalid("the SRV records have the port; remove it from the URL")
            name, port = port, "1"
        try:
            parsed = parse_authority(f"{name.removesuffix('.')}:{port}", allow_port_zero=False)
        except InvalidConfig as error:
            raise self._invalid(f"{error.reason}; write for example {form}") from error
        if _is_address(parsed.host):
            raise self._invalid(f"{parsed.host} is an address and no name; write seeds://{parsed}")
        return parsed.host + ("." if name.endswith(".") else ""), parsed.port

    def _parse_types(self, text: str | None) -> tuple[dns.rdatatype.RdataType, ...]:
        if self._srv:
            if text is not None:
                raise self._invalid("the option types is for dns://")
            return (dns.rdatatype.SRV,)
        if text not in (None, "a", "aaaa"):
            raise self._invalid(f"types={text}: write a or aaaa, or leave it out for both")
        return tuple(
            kind for name, kind in (("a", dns.rdatatype.A), ("aaaa", dns.rdatatype.AAAA)) if text in (None, name)
        )

    def _parse_nameserver(self, text: str) -> tuple[str, int]:
        try:
            server = parse_authority(text, allow_port_zero=False)
        except InvalidConfig as error:
            raise self._invalid(f"nameserver: {error.reason}") from error
        if not _is_address(server.host):
            raise self._invalid(f"nameserver={text}: write the address of the server and no name")
        return server.host, server.port

    def _parse_period(self, text: str) -> float:
        try:
            period_s = float(text)
        except ValueError:
            period_s = 0.0
        if not PERIOD_MIN_S <= period_s <= PERIOD_MAX_S:
            raise self._invalid(f"period_s={text}: write a number of seconds from {PERIOD_MIN_S:g} to {PERIOD_MAX_S:g}")
        return period_s


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
