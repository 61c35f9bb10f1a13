"""Finds a member of a cluster by the authority that an operator typed."""

from __future__ import annotations

import inaho
from inaho.authority import parse_authority
from inaho.errors import Unreachable
from inaho.types import Member

__all__ = ["find_member", "known_authority"]


def known_authority(text: str) -> str:
    """An authority in its canonical form, with the port that others dial.

    Raises:
        InvalidConfig: it is no authority, or its port is 0.
    """
    return str(parse_authority(text, allow_port_zero=False))


def find_member(cluster: inaho.Cluster, authority: str) -> Member:
    """The member at that authority.

    Raises:
        InvalidConfig: it is no authority.
        Unreachable: no member is there.
    """
    wanted = known_authority(authority)
    for member in cluster.members():
        if member.authority == wanted:
            return member
    known = ", ".join(member.authority for member in cluster.members())
    raise Unreachable(f"it is no member of this cluster; members are {known or 'none'}", authority=wanted)
