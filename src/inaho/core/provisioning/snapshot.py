"""What a provider says of the members at one moment, checked and in one spelling.

A back end may return anything: an entry that somebody else wrote, an authority twice, an address in another spelling, a
hundred thousand entries. `checked` refuses such a list as a whole and names the entry, so the last good snapshot stays.
Members are sorted by authority, so equal lists have equal hashes whatever the order in which the back end has them.

Why not take the good entries of a bad list: what is left out would look like members that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
import xxhash

from inaho.authority import parse_authority
from inaho.errors import InvalidConfig, InvalidSnapshot

__all__ = ["ProviderMember", "ProviderSnapshot", "check_cluster", "checked", "snapshot_hash"]

_encode: Final = msgspec.msgpack.Encoder().encode


class ProviderMember(msgspec.Struct, frozen=True, gc=False):
    """One entry of a provider.

    Attributes:
        authority: `host:port`.
        node_id: of the process that wrote the entry; empty where the back end has addresses only.
        incarnation: of that process when it wrote the entry.
        kinds, weight, roles: as in `Member`; empty where the back end has addresses only.
        cluster: name of its cluster; empty where the back end has addresses only.
        quarantined: authorities that this member has quarantined, sorted: its own statement (SPEC PR-4.2).
    """

    authority: str
    node_id: str = ""
    incarnation: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    kinds: tuple[str, ...] = ()
    weight: float = 1.0
    roles: tuple[str, ...] = ()
    cluster: str = ""
    quarantined: tuple[str, ...] = ()


_decode_member: Final = msgspec.msgpack.Decoder(ProviderMember).decode


class ProviderSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The members of one provider (SPEC PR-2, PR-3, PR-4.2).

    Attributes:
        provider: its name.
        seq_no: of this node, over all providers: each snapshot has a higher one than those before.
        hash: xxh3_64 of members and blocked nodes. Equal hashes mean equal snapshots.
        members: sorted by authority.
        blocked_nodes: authorities, sorted: blocked in the back end, or quarantined by a member that says so.
        blocks_in_force: those of them that may hold no lease, sorted; see `blocking`.
    """

    provider: str
    seq_no: int
    hash: int
    members: tuple[ProviderMember, ...]
    blocked_nodes: tuple[str, ...] = ()
    blocks_in_force: tuple[str, ...] = ()


def snapshot_hash(members: tuple[ProviderMember, ...], blocked_nodes: tuple[str, ...]) -> int:
    """xxh3_64 over canonical msgpack; members and blocked nodes are sorted."""
    return xxhash.xxh3_64_intdigest(_encode([members, blocked_nodes]))


def checked(
    members: Iterable[ProviderMember], blocked_nodes: Iterable[str], members_max: int, cluster: str
) -> tuple[tuple[ProviderMember, ...], tuple[str, ...]]:
    """Members and blocked nodes, sorted and in canonical spelling.

    Args:
        members: as the back end has them.
        blocked_nodes: authorities.
        members_max: `membership.members_max`.
        cluster: name of this node's cluster.

    Raises:
        InvalidSnapshot: an authority does not parse or comes twice, there are too many members or blocked nodes, or a
            member is of another cluster or has an impossible weight, or a value of another type than its field.
    """
    found: dict[str, ProviderMember] = {}
    for member in members:
        if len(found) >= members_max:
            raise InvalidSnapshot(f"it has more than {members_max} members (membership.members_max)")
        member = _typed(member)
        authority = _canonical(member.authority)
        check_cluster(member, cluster)
        if authority in found:
            raise InvalidSnapshot(f"it has {authority} twice", authority=authority)
        if not 0 <= member.weight < float("inf"):
            raise InvalidSnapshot(f"it gives {authority} the weight {member.weight}", authority=authority)
        quarantined = _sorted(member.quarantined, members_max, f"quarantined nodes of {authority}")
        if (authority, quarantined) != (member.authority, member.quarantined):
            member = msgspec.structs.replace(member, authority=authority, quarantined=quarantined)
        found[authority] = member
    return tuple(found[key] for key in sorted(found)), _sorted(blocked_nodes, members_max, "blocked nodes")


def check_cluster(member: ProviderMember, cluster: str) -> None:
    """Raises `InvalidSnapshot` if the member is of another cluster than the one of that name."""
    if member.cluster not in ("", cluster):
        raise InvalidSnapshot(
            f"it has a member of the cluster {member.cluster!r}, and this one is {cluster!r}: correct the name of "
            "this cluster (`name`), or give each cluster a prefix of its own",
            authority=member.authority,
        )


def _typed(member: ProviderMember) -> ProviderMember:
    """The member, if its fields have their types and ranges: a program may have made it, where nothing checks them."""
    try:
        return _decode_member(_encode(member))
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError) as error:
        raise InvalidSnapshot(f"it has a member that is none: {error}", authority=str(member.authority)) from error


def _sorted(authorities: Iterable[str], members_max: int, what: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for authority in authorities:
        if len(found) >= members_max:
            raise InvalidSnapshot(f"it has more than {members_max} {what} (membership.members_max)")
        found[_canonical(authority)] = None
    return tuple(sorted(found))


def _canonical(authority: str) -> str:
    try:
        return str(parse_authority(authority, allow_port_zero=False))
    except InvalidConfig as error:
        raise InvalidSnapshot(error.reason, authority=authority) from error
