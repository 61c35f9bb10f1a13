"""Decides from the statements in a snapshot which authorities may hold no lease (SPEC PR-4.2, VA-1.4).

    an operator, in the back end    is enough alone
    a member's quarantine           is its own statement; two members must state it

A quarantine says that one member cannot use another one. The reason may be the member that says so, or the network
between the two. So one statement is shown in `blocked_nodes` and takes nothing from anybody. Two members that say the
same are evidence against the third.

Why not leave quarantines to the members that state them: activations would stay on a node that nobody can use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inaho.core.provisioning.snapshot import ProviderMember

__all__ = ["PROVIDER", "blocks_in_force", "voices"]

PROVIDER: Final = "provider"
"""The voice of the back end itself, where an operator has written the block."""

VOICES_NEEDED: Final = 2


def voices(members: Iterable[ProviderMember], blocked_nodes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By authority that somebody states to be blocked, in order: who states it.

    Args:
        members: of a snapshot, with their statements.
        blocked_nodes: blocked in the back end.

    Returns:
        `PROVIDER`, or the authorities of the members, sorted. What a member states of itself does not count.
    """
    found: dict[str, dict[str, None]] = {authority: {PROVIDER: None} for authority in blocked_nodes}
    for member in members:
        for authority in member.quarantined:
            if authority != member.authority:
                found.setdefault(authority, {})[member.authority] = None
    return {authority: tuple(sorted(found[authority])) for authority in sorted(found)}


def blocks_in_force(members: Iterable[ProviderMember], blocked_nodes: Iterable[str]) -> tuple[str, ...]:
    """Authorities that may hold no lease, sorted.

    The statements of a member that is blocked in the back end do not count.

    Args:
        members, blocked_nodes: as for `voices`.
    """
    blocked = tuple(blocked_nodes)
    heard = (member for member in members if member.authority not in blocked)
    return tuple(
        authority
        for authority, stated_by in voices(heard, blocked).items()
        if PROVIDER in stated_by or len(stated_by) >= VOICES_NEEDED
    )
