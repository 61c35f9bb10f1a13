"""Records of members for tests of the membership table."""

from __future__ import annotations

from inaho.config import MembershipConfig
from inaho.core.membership.incarnation import first_of
from inaho.types import Member, MemberStatus

CONFIG = MembershipConfig()
STATUSES = list(MemberStatus)


def up(
    authority: str, node_id: str = "", incarnation: int = first_of(1), status: MemberStatus = MemberStatus.UP
) -> Member:
    return Member(authority, node_id or f"node-{authority}", incarnation, status)
