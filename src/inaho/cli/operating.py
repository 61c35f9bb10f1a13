"""`inaho drain`, `block`, `unblock` and `settle`: what an operator tells a running cluster to do."""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.authority import parse_authority
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig
from inaho.errors import Unreachable
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.cluster.join import connect
from inaho.types import Member

__all__ = ["drain_member", "find_member", "set_blocked", "settle_conflict"]

GONE_S: Final = 10.0
"""How long the command waits, once everything is handed over, for the cluster to agree that the member has left."""


def find_member(cluster: Cluster, authority: str) -> Member:
    """The member at that authority.

    Raises:
        InvalidConfig: it is no authority.
        Unreachable: no member is there.
    """
    wanted = str(parse_authority(authority, allow_port_zero=False))
    for member in cluster.members():
        if member.authority == wanted:
            return member
    known = ", ".join(member.authority for member in cluster.members())
    raise Unreachable(f"it is no member of this cluster; members are {known or 'none'}", authority=wanted)


async def drain_member(output: Output, settings: ClusterConfig, authority: str, drain_s: float | None) -> int:
    """Has a member leave, and writes what became of what it had.

    Returns:
        The exit code: failed, when leases timed out, new owners did not acknowledge, or it is still a member.

    Raises:
        InahoError: as `connect`, `find_member` and `Cluster.drain_at`.
    """
    async with connect(config=settings) as cluster:
        member = find_member(cluster, authority)
        output.note(f"{member.authority} is asked to leave")
        report = await cluster.drain_at(member, drain_s=drain_s)
        gone = await cluster.wait_gone(member, GONE_S)
    if output.as_json:
        output.document({**msgspec.structs.asdict(report), "left": gone})
    output.text(
        f"{report.authority} handed over {report.handed_over} of {report.activations} activations "
        f"in {report.took_s:.1f} s"
    )
    if report.timed_out_count:
        named = ", ".join(report.timed_out)
        more = report.timed_out_count - len(report.timed_out)
        output.note(
            f"{report.timed_out_count} leases timed out: {named}{f' and {more} more' if more else ''}; "
            "what these had not saved is lost"
        )
    if not report.acknowledged:
        output.note("not all new owners have acknowledged what they got; they find out by themselves")
    if gone:
        output.text(f"{report.authority} has left")
    else:
        output.note(f"{report.authority} is still a member after {GONE_S:g} s")
    return EXIT_OK if gone and report.acknowledged and not report.timed_out_count else EXIT_FAILED


async def set_blocked(output: Output, settings: ClusterConfig, authority: str, *, blocked: bool) -> int:
    """Puts an authority on the block list or takes it off. To repeat it is no error.

    Raises:
        InahoError: as `connect` and `Cluster.block`.
    """
    wanted = str(parse_authority(authority, allow_port_zero=False))
    async with connect(config=settings) as cluster:
        known = any(member.authority == wanted for member in cluster.members())
        changed = await (cluster.block(wanted) if blocked else cluster.unblock(wanted))
        all_blocked = cluster.blocked()
    if output.as_json:
        document = {"authority": wanted, "blocked": blocked, "changed": changed, "member": known}
        output.document({**document, "all_blocked": list(all_blocked)})
    state = "blocked" if blocked else "not blocked"
    output.text(f"{wanted} is {state}{'' if changed else ', as it was before'}")
    if not known:
        output.note(f"{wanted} is no member now{'; it will be blocked if it joins' if blocked else ''}")
    return EXIT_OK


async def settle_conflict(output: Output, settings: ClusterConfig, at: str, authority: str, *, keep: bool) -> int:
    """Has a member keep its view against another, or give it up.

    Returns:
        The exit code: failed when there is no conflict between the two.

    Raises:
        InahoError: as `connect`, `find_member` and `Cluster.resolve_conflict_at`.
    """
    wanted = str(parse_authority(authority, allow_port_zero=False))
    async with connect(config=settings) as cluster:
        member = find_member(cluster, at)
        settled = await cluster.resolve_conflict_at(member, wanted, keep=keep)
    if output.as_json:
        output.document({"member": member.authority, "authority": wanted, "keep": keep, "settled": settled})
    if settled:
        output.text(f"{member.authority} {'keeps its view against' if keep else 'gives way to'} {wanted}")
    else:
        why = "it is a member, or was never heard of"
        if not keep:
            why += ", or has not said lately that it has another view: it cannot be joined while a split lasts"
        output.note(f"{member.authority} has no conflict with {wanted}: {why}")
    return EXIT_OK if settled else EXIT_FAILED
