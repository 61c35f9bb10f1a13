"""`inaho block` and `inaho unblock`: say whether a member may hold activations."""

from __future__ import annotations

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_lookup import known_authority
from inaho.cli.options import AuthorityArgument
from inaho.cli.output import EXIT_OK, Output
from inaho.config import ClusterConfig

__all__ = ["block", "set_blocked", "unblock"]


@client_command
async def block(output: Output, settings: ClusterConfig, *, authority: AuthorityArgument) -> int:
    """Block a member: it must not hold activations, and others take over its own. It stays a member."""
    return await set_blocked(output, settings, authority, blocked=True)


@client_command
async def unblock(output: Output, settings: ClusterConfig, *, authority: AuthorityArgument) -> int:
    """End a block: the member takes its share of activations again."""
    return await set_blocked(output, settings, authority, blocked=False)


async def set_blocked(output: Output, settings: ClusterConfig, authority: str, *, blocked: bool) -> int:
    """Blocks or unblocks an authority. Repeating it is no error.

    Raises:
        InahoError: as `connect` and `Cluster.block`.
    """
    wanted = known_authority(authority)
    async with inaho.connect(config=settings) as cluster:
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
