"""Converts between Pids and paths.

Machines send and compare a `Pid`; an `ActorPath` is its canonical name for people, storages and logs. A Pid belongs to
one process of its node. Its full path keeps the process as `#node_id`, so nothing is lost in either direction; without
it the path names the process that runs at that authority now.

Why resolution takes the members and not a table of its own: a second table could disagree with the first, and SPEC
CL-2.5 requires the newest membership.
"""

from __future__ import annotations

from collections.abc import Sequence

from inaho.core.identity.path import ActorPath, parse_path
from inaho.errors import InvalidPid, Unreachable
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid

__all__ = ["format_pid", "parse_pid", "path_of", "pid_of", "resolve"]


def path_of(pid: Pid, cluster: str) -> ActorPath:
    """The path of `pid` in `cluster`, bound to the boot of its node.

    Raises:
        InvalidPid: a part of the Pid is malformed (SPEC CL-2.4).
    """
    if not pid.node_id:
        raise InvalidPid("node id is missing", identity=str(pid.identity), authority=pid.authority)
    return ActorPath(cluster, pid.authority, pid.identity.kind, pid.identity.key, pid.node_id)


def pid_of(path: ActorPath) -> Pid:
    """The Pid that `path` is bound to.

    Raises:
        InvalidPid: the path names no boot (`#node_id`); `resolve` finds the one that runs.
    """
    if not path.node_id:
        raise InvalidPid("node id is missing: the path names no process of its node", authority=path.authority)
    return Pid(path.authority, path.node_id, ClusterIdentity(path.kind, path.key))


def format_pid(pid: Pid, cluster: str) -> str:
    """The text of `path_of(pid, cluster)`."""
    return str(path_of(pid, cluster))


def parse_pid(text: str) -> Pid:
    """Reads what `format_pid` wrote.

    Raises:
        InvalidPid: the text is malformed or bound to no boot; the reason names the part.
    """
    return pid_of(parse_path(text))


def resolve(path: ActorPath, members: Sequence[Member]) -> Pid:
    """The Pid that `path` means in the present membership (SPEC CL-2.1, CL-2.2).

    Args:
        path: bound to a boot or not.
        members: of the newest topology. Linear in their number: for people's commands, not for the path of a call.

    Raises:
        Unreachable: the node is no member, is unreachable or removed, or runs as another boot.
    """
    identity = ClusterIdentity(path.kind, path.key)
    for member in members:
        if member.authority != path.authority:
            continue
        if member.status in (MemberStatus.UNREACHABLE, MemberStatus.REMOVED):
            reason = f"the member is {member.status.name.lower()}"
        elif path.node_id and path.node_id != member.node_id:
            reason = f"the path names process {path.node_id}, the node runs as {member.node_id}"
        else:
            return Pid(member.authority, member.node_id, identity)
        raise Unreachable(reason, identity=str(identity), authority=path.authority)
    raise Unreachable("no member has this authority", identity=str(identity), authority=path.authority)
