"""Finds out where an activation of a placed kind is, for callers: asks its owner (see `directory`)."""

from __future__ import annotations

from collections.abc import Mapping

from inaho.errors import InahoError, Pending, Timeout
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology
from inaho.runtime.placement.directory import Directory
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.types import MemberStatus, Pid

__all__ = ["Locator"]


class Locator:
    """Asks owners where activations are (SPEC VA-2.1, BS-3).

    Args:
        local: this node.
        topology: of this node.
        hosts: kinds of this node, by name.
        leases: know which members may hold leases.
        calls: of placement actors.
        directory: of this node, for identities that this node owns.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        leases: Leases,
        calls: SystemCalls,
        directory: Directory,
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._leases = leases
        self._calls = calls
        self._directory = directory

    async def find(self, kind: str, key: str, *, verify: bool) -> Pid:
        """Returns where an identity is active; its owner activates it if needed. If this raises, no call has run.

        Args:
            kind, key: the identity.
            verify: the node that was called last did not have it.

        Raises:
            TopologyUnavailable, NoSuchKind: nobody owns it.
            ActivationFailed: the user's code raised.
            InahoError: the error of the owner, or the owner does not answer.
        """
        owner = self._topology.lookup.owner(kind, key)
        asker = self._local.node_id
        try:
            if owner.node_id == asker:
                return await self._directory.locate(kind, key, asker, verify=verify)
            return await self._calls.ask(owner, PlacementActor.locate, kind, key, asker, verify)
        except Timeout as error:
            raise Pending(
                f"the owner did not answer where the identity is active: {error.reason}",
                identity=f"{kind}/{key}",
                authority=owner.authority,
            ) from error
        except InahoError as error:
            error.maybe_executed = False
            raise

    def still_there(self, pid: Pid) -> bool:
        """Whether an entry of the PidCache is still valid after owners have changed."""
        host = self._hosts.get(pid.identity.kind)
        if host is None or not host.kind.placed:
            return self._topology.lookup.owns(pid)
        member = self._leases.member(pid.node_id)
        return member is not None and member.status is MemberStatus.UP
