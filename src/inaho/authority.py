"""Parses and normalises authorities: `host:port`, the addresses under which nodes reach each other.

Membership, ownership and caches compare authorities as text, so every node must write an authority in the same way.
That is why parsing is strict and returns one spelling (lower case, IPv6 compressed and in brackets) instead of
accepting everything that a resolver understands: `127.1:7700`, `[0:0::1]:7700` or `Host:07700` would look like other
nodes to the cluster.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from inaho.errors import InvalidConfig

__all__ = [
    "AUTHORITY_CHARACTERS_MAX",
    "Authority",
    "is_loopback_address",
    "own_addresses",
    "parse_authority",
]

_HOST_CHARACTERS_MAX: Final = 253
AUTHORITY_CHARACTERS_MAX: Final = _HOST_CHARACTERS_MAX + len(":65535")
"""Longest text of an authority: the longest DNS name (RFC 1035) and a port."""

_PORT_MAX: Final = 65535
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_PORT: Final = re.compile(r"(?:0|[1-9][0-9]{0,4})\Z")


class Authority(NamedTuple):
    """A parsed authority. `str()` gives the one spelling.

    Attributes:
        host: DNS name or IP address, lower case, an IPv6 address without its brackets.
        port: 0 to 65535; 0 asks for a free one and only makes sense where an address is bound.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_authority(text: str, *, allow_port_zero: bool = True) -> Authority:
    """Parses `host:port`, `1.2.3.4:port` or `[::1]:port`.

    Args:
        text: the authority as a person or a peer wrote it.
        allow_port_zero: whether port 0 ("a free port") is allowed.

    Returns:
        The host and the port; `str()` of it is the canonical spelling.

    Raises:
        InvalidConfig: `text` is no authority; the reason names the part that is wrong.
    """
    if len(text) > AUTHORITY_CHARACTERS_MAX:
        raise InvalidConfig(f"authority of {len(text)} characters, longer than {AUTHORITY_CHARACTERS_MAX}")
    if "://" in text:
        raise InvalidConfig(f"authority {text!r} is a URL; write only host:port")
    host_text, separator, port_text = text.rpartition(":")
    if not separator:
        raise InvalidConfig(f"authority {text!r} has no port; write host:port")
    if not host_text:
        raise InvalidConfig(f"authority {text!r} has no host; write host:port")
    host = _bracketed(host_text, text) if host_text.startswith("[") else _plain(host_text.lower(), text)
    if not _PORT.match(port_text) or int(port_text) > _PORT_MAX:
        raise InvalidConfig(f"authority {text!r}: port {port_text!r} is not a number from 0 to {_PORT_MAX}")
    port = int(port_text)
    if port == 0 and not allow_port_zero:
        raise InvalidConfig(f"authority {text!r}: port 0 can be bound but not reached; name the port")
    return Authority(host, port)


def own_addresses(authority: str, bind: str) -> tuple[str, str]:
    """The two addresses of one node in canonical spelling: where others reach it, and what it binds.

    Args:
        authority: `host:port` that others dial; port 0 takes the free port that is bound.
        bind: `host:port` to bind; empty: the authority.

    Raises:
        InvalidConfig: one of them does not parse, the authority is an address that means "all addresses of this
            machine", or only `bind` has port 0, so that no other node would know the port.
    """
    reached = parse_authority(authority)
    bound = parse_authority(bind) if bind else reached
    if reached.host in _ANY:
        other = bind or str(reached)
        raise InvalidConfig(
            f"{authority} is no address that others can dial: give authority the name or address of this host, such as "
            f"authority='host.example:{reached.port}', and what to bind apart from it: bind='{other}' (INAHO_AUTHORITY "
            "and INAHO_BIND, or --authority and --bind)"
        )
    if bound.port == 0 and reached.port != 0:
        raise InvalidConfig(f"bind {bind} takes any free port, and others dial {authority}: name the port in bind")
    return str(reached), str(bound)


_ANY: Final = ("0.0.0.0", "::")  # noqa: S104


def is_loopback_address(address: str) -> bool:
    """Whether `address`, an IP address without port, is only reachable from this machine. A name is not."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _bracketed(host: str, text: str) -> str:
    if not host.endswith("]"):
        raise InvalidConfig(f"authority {text!r}: the bracket of the IPv6 address is not closed before the port")
    if "%" in host:
        # A zone names an interface of one machine, so it means something else to every other node.
        raise InvalidConfig(f"authority {text!r}: an IPv6 zone has no meaning on other nodes; leave it out")
    try:
        return str(ipaddress.IPv6Address(host[1:-1]))
    except ValueError as error:
        raise InvalidConfig(f"authority {text!r}: {host[1:-1]!r} is not an IPv6 address") from error


def _plain(host: str, text: str) -> str:
    if ":" in host:
        raise InvalidConfig(f"authority {text!r}: write an IPv6 address in brackets, as [::1]:7700")
    labels = host.split(".")
    if labels[-1].isdecimal():
        # A last label of digits is never a DNS name (RFC 3696), so it must be a whole IPv4 address.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise InvalidConfig(f"authority {text!r}: {host!r} is not an IPv4 address") from error
    if len(host) > _HOST_CHARACTERS_MAX:
        raise InvalidConfig(f"authority {text!r}: the host is longer than {_HOST_CHARACTERS_MAX} characters")
    for label in labels:
        if not _LABEL.match(label):
            raise InvalidConfig(
                f"authority {text!r}: {label!r} is not part of a host name (letters, digits, '-', '_'; 1 to 63)"
            )
    return host
