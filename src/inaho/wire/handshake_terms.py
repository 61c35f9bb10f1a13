"""What each side states in the handshake, and the decision whether two statements are compatible.

These are functions without state; `Handshake` calls them. Both sides decide with the same function over the same two
hellos, so they cannot choose different versions.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from inaho.authority import parse_authority
from inaho.errors import (
    AuthenticationFailed,
    InvalidConfig,
    ProtocolViolation,
    SettingsMismatch,
    VersionMismatch,
    WrongCluster,
)
from inaho.wire.features import FEATURES, PROTOCOL_VERSIONS, RELEASE, RELEASE_WITHOUT_NAME, SCHEMA_VERSIONS
from inaho.wire.handshake_messages import KIND_HELLO, Hello, clean_text, decode_hello, encode_frame

__all__ = ["HandshakeConfig", "PeerInfo", "agree", "check_peer_hello", "check_settings", "describe", "own_hello"]

_HANDSHAKE_BYTES_MIN: Final = 2048
_TOLD_MAX: Final = 3
"""Bound of the differing settings that a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeConfig:
    """What one side states about itself, and what it requires.

    Attributes:
        cluster: name of the cluster; the peer's must be equal.
        node_id: of this process, 1 to 64 of letters, digits, `_`, `.`, `-`.
        role: `member`, or `client` for a process that hosts nothing and is not dialled.
        authority: under which peers reach this node; empty for a client.
        incarnation: see `Member.incarnation`; 0 or more.
        secret: of the cluster; if empty, no proof is required or sent.
        protocols: versions of the frames that this release speaks.
        schemas: versions of the messages that this release speaks.
        release: of the library, for people.
        features: what else this release supports, see `wire.features`.
        settings: values that must be equal if both sides name them.
        expected_node_id: dialer only: the process that it wants to reach; empty accepts any.
        bytes_max: bound of the bytes of the peer before it is authenticated; 2 KiB at least.
    """

    cluster: str
    node_id: str
    role: Literal["member", "client"] = "member"
    authority: str = ""
    incarnation: int = 0
    secret: str = field(default="", repr=False)
    protocols: tuple[int, ...] = PROTOCOL_VERSIONS
    schemas: tuple[int, ...] = SCHEMA_VERSIONS
    release: str = RELEASE
    features: Mapping[str, int] = field(default_factory=lambda: FEATURES)
    settings: Mapping[str, int] = field(default_factory=dict[str, int])
    expected_node_id: str = ""
    bytes_max: int = 16 << 10

    def __post_init__(self) -> None:
        if self.bytes_max < _HANDSHAKE_BYTES_MIN:
            raise InvalidConfig(f"bytes_max ({self.bytes_max}) must be {_HANDSHAKE_BYTES_MIN} or more")


class PeerInfo(msgspec.Struct, frozen=True):
    """An authenticated peer, and what was agreed with it.

    Attributes:
        authority: at which it is reached, as it states; empty for a client.
        node_id: of its process.
        incarnation: at the time of its hello.
        role: `member` or `client`.
        protocol_version: highest version of the frames that both speak.
        schema_version: highest version of the messages that both speak.
        release: of its library, as it states; empty if it does not.
        features: what both speak, at the lower version of the two.
        settings: its values of those that must be equal on both sides.
    """

    authority: str
    node_id: str
    incarnation: int
    role: str
    protocol_version: int
    schema_version: int
    release: str = ""
    features: dict[str, int] = {}
    settings: dict[str, int] = {}

    def __hash__(self) -> int:
        return hash((self.authority, self.node_id, self.incarnation))

    def speaks(self, feature: str, version: int = 1) -> bool:
        """Whether this connection may use an addition, at that version or a later one."""
        return self.features.get(feature, 0) >= version


def own_hello(local: HandshakeConfig, nonce: bytes) -> tuple[Hello, bytes]:
    """The hello of this side and its frame, checked against the limits of the peer.

    Raises:
        InvalidConfig: no peer would accept it; the reason names the field.
    """
    hello = Hello(
        protocols=local.protocols,
        schemas=local.schemas,
        cluster=local.cluster,
        authority=local.authority,
        node_id=local.node_id,
        incarnation=local.incarnation,
        role=local.role,
        expected_node_id=local.expected_node_id,
        has_secret=bool(local.secret),
        nonce=nonce,
        release=local.release,
        features=dict(local.features),
        settings=dict(local.settings),
    )
    if (local.role == "member") != bool(local.authority):
        raise InvalidConfig("a member needs an authority and a client has none")
    if local.authority:
        parse_authority(local.authority, allow_port_zero=False)
    try:
        body = msgspec.msgpack.encode(hello)
        decode_hello(body)
    except (ProtocolViolation, UnicodeEncodeError, OverflowError) as error:
        raise InvalidConfig(f"this node cannot send a hello: {error}") from error
    return hello, encode_frame(KIND_HELLO, body)


def check_peer_hello(hello: Hello, own: Hello, *, of_acceptor: bool) -> None:
    """Refuses a hello that no correct peer sends.

    Raises:
        ProtocolViolation: the hello is this node's own, or contradicts the role of its sender.
    """
    if hmac.compare_digest(hello.nonce, own.nonce):
        raise ProtocolViolation("this node received its own hello: something on the way echoes it")
    if of_acceptor and (hello.role != "member" or hello.expected_node_id):
        raise ProtocolViolation("the hello of an acceptor has the fields of a dialer")
    if (hello.role == "member") != bool(hello.authority):
        raise ProtocolViolation("a member names its authority and a client has none")
    if hello.authority:
        try:
            parse_authority(hello.authority, allow_port_zero=False)
        except InvalidConfig as error:
            raise ProtocolViolation(f"the peer's {clean_text(error.reason)}") from error


def agree(dialer: Hello, acceptor: Hello) -> tuple[int, int]:
    """Protocol and schema version for this pair; raises when the two cannot work together.

    The texts name dialer and acceptor, because both sides log them.

    Raises:
        WrongCluster: the names differ. Checked first: the versions and the secret of another cluster do not matter.
        VersionMismatch: nothing in common; the reason names both sides with their releases and versions.
        AuthenticationFailed: one side has a secret and the other none.
    """
    if dialer.cluster != acceptor.cluster:
        raise WrongCluster(
            f"the dialer is of cluster {clean_text(dialer.cluster)!r}, the acceptor of {clean_text(acceptor.cluster)!r}"
        )
    protocol_version = _highest_common("protocol", dialer, acceptor)
    schema_version = _highest_common("schema", dialer, acceptor)
    if dialer.has_secret != acceptor.has_secret:
        without = "acceptor" if dialer.has_secret else "dialer"
        raise AuthenticationFailed(f"only one side has a secret: the {without} was given none")
    return protocol_version, schema_version


def check_settings(dialer: Hello, acceptor: Hello) -> None:
    """Compares the settings that both name. A client has none of its own: it takes those of the members.

    Raises:
        SettingsMismatch: the reason has each of them with both values.
    """
    if "client" in (dialer.role, acceptor.role):
        return
    differing = [
        f"{clean_text(name)} is {value} at {dialer.authority} and {acceptor.settings[name]} at {acceptor.authority}"
        for name, value in sorted(dialer.settings.items())
        if acceptor.settings.get(name, value) != value
    ]
    if differing:
        more = f" (and {len(differing) - _TOLD_MAX} more)" if len(differing) > _TOLD_MAX else ""
        raise SettingsMismatch("; ".join(differing[:_TOLD_MAX]) + more)


def describe(hello: Hello) -> str:
    """The sender of a hello, for people."""
    who = clean_text(hello.authority) or f"client {hello.node_id}"
    return f"{who} (inaho {clean_text(hello.release) or RELEASE_WITHOUT_NAME})"


def _highest_common(what: Literal["protocol", "schema"], dialer: Hello, acceptor: Hello) -> int:
    near, far = (dialer.protocols, acceptor.protocols) if what == "protocol" else (dialer.schemas, acceptor.schemas)
    common = [version for version in near if version in far]
    if not common:
        raise VersionMismatch(
            f"no {what} version in common: the dialer, {describe(dialer)}, speaks {what} {sorted(near)}, the acceptor, "
            f"{describe(acceptor)}, speaks {what} {sorted(far)}"
        )
    return max(common)
