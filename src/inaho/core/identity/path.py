"""Actor paths: `inaho://cluster@host:port/kind/key`, and `#node_id` after it when the path names one process.

People copy paths from a log line into a command, so there is exactly one spelling of each: cluster, kind and key are
percent-encoded as in RFC 3986 (all but letters, digits and `-._~`, upper-case hexadecimal, UTF-8), and a path that
decodes but is spelled otherwise is refused. So two different texts name two actors, and `==`, `grep` and a dictionary
may compare texts. Slashes of the key are encoded too: a path always has two segments.

Why not `urllib.parse.urlsplit`: it accepts nearly everything, lower-cases the host and cannot say which part is wrong.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from inaho.authority import parse_authority
from inaho.core.identity.identity import validate_key, validate_kind
from inaho.errors import InvalidConfig, InvalidPid

__all__ = ["PATH_BYTES_MAX", "SCHEME", "ActorPath", "parse_path", "validate_authority", "validate_node_id"]

SCHEME: Final = "inaho"

PATH_BYTES_MAX: Final = 8192
"""Longest text that is parsed at all: every part at its longest, each byte encoded as three, and some more."""

CLUSTER_BYTES_MAX: Final = 200

_NODE_ID: Final = re.compile(r"[0-9a-f]{16}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class ActorPath(msgspec.Struct, frozen=True, order=True):
    """The canonical name of an actor in a cluster (SPEC CL-2.1). `str()` spells it, `parse_path` reads it back.

    Attributes:
        cluster: name of the cluster, 1 to 200 bytes.
        authority: `host:port` of the node; IPv6 as `[::1]:7700`.
        kind: see `identity.validate_kind`.
        key: see `identity.validate_key`.
        node_id: 16 hexadecimal digits that bind the path to one boot of the node, or empty.

    Raises:
        InvalidPid: a part is malformed; the reason names it.
    """

    cluster: str
    authority: str
    kind: str
    key: str
    node_id: str = ""

    def __post_init__(self) -> None:
        _validate_cluster(self.cluster)
        validate_authority(self.authority)
        validate_kind(self.kind)
        validate_key(self.key)
        if self.node_id:
            validate_node_id(self.node_id)

    def __str__(self) -> str:
        text = f"{SCHEME}://{_quoted(self.cluster)}@{self.authority}/{_quoted(self.kind)}/{_quoted(self.key)}"
        return f"{text}#{self.node_id}" if self.node_id else text


def parse_path(text: str) -> ActorPath:
    """Reads a canonical path (SPEC CL-2.4).

    Args:
        text: as `str(ActorPath)` spells it; any other spelling of the same path is refused.

    Raises:
        InvalidPid: the reason names the part (scheme, cluster, host, port, kind, key, node id) and what is wrong.
    """
    if len(text) > PATH_BYTES_MAX:
        raise InvalidPid(f"path must have at most {PATH_BYTES_MAX} characters, not {len(text)}")
    scheme, found, rest = text.partition("://")
    if not found or scheme != SCHEME:
        raise InvalidPid(f"scheme must be {SCHEME}://, the path starts with {text[:16]!a}")
    rest, bound, node_id = rest.partition("#")
    if bound and not node_id:
        raise InvalidPid("node id is missing behind #")
    place, found, name = rest.partition("/")
    if not found:
        raise InvalidPid("kind is missing: a path ends in /kind/key")
    cluster, found, authority = place.partition("@")
    if not found:
        raise InvalidPid("cluster is missing: a path begins with inaho://cluster@host:port")
    kind, found, key = name.partition("/")
    if not found:
        raise InvalidPid("key is missing: a path ends in /kind/key")
    return ActorPath(_unquoted("cluster", cluster), authority, _unquoted("kind", kind), _unquoted("key", key), node_id)


def validate_authority(authority: str) -> None:
    """Checks that `authority` is `host:port` in the one spelling that `inaho.authority` gives, the port above 0.

    Raises:
        InvalidPid: the reason says whether the host or the port is wrong, or gives the right spelling.
    """
    try:
        spelling = str(parse_authority(authority, allow_port_zero=False))
    except InvalidConfig as error:
        raise InvalidPid(error.reason) from error
    if spelling != authority:
        raise InvalidPid(f"authority {authority!a} is not in canonical spelling; write {spelling}")


def validate_node_id(node_id: str) -> None:
    """Checks that `node_id` is 16 hexadecimal digits in lower case.

    Raises:
        InvalidPid: it is not.
    """
    if _NODE_ID.fullmatch(node_id) is None:
        raise InvalidPid(f"node id must be 16 lower-case hexadecimal digits, not {node_id!a}")


def _validate_cluster(cluster: str) -> None:
    try:
        size = len(cluster.encode())
    except UnicodeEncodeError as error:
        raise InvalidPid(f"cluster is not Unicode text: lone surrogate at position {error.start}") from None
    if not 0 < size <= CLUSTER_BYTES_MAX:
        raise InvalidPid(f"cluster must have 1 to {CLUSTER_BYTES_MAX} bytes of UTF-8, not {size}")
    if _CONTROL.search(cluster) is not None:
        raise InvalidPid(f"cluster holds a control character: {cluster!a}")


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _unquoted(name: str, part: str) -> str:
    if not part:
        raise InvalidPid(f"{name} is empty")
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeError:
        raise InvalidPid(f"{name} is not percent-encoded UTF-8: {part[:40]!a}") from None
    if _quoted(text) != part:
        raise InvalidPid(f"{name} is not in canonical percent-encoding: {part[:40]!a}")
    return text
