"""The activations of placed kinds on this node: an owner, perhaps another node, has placed them here.

The lease of such an activation is in this node's own ledger too, under the epoch that the owner gave. So raising its
epoch, ending it, revoking it and refusing its saves work as for any other activation. This module exchanges messages
with the owner: it accepts requests, reports ends of activations, and reports all activations to a new owner.

A request is accepted only if the node that grants it has the same owners as this node. So a former owner cannot place
here what the present owner was told is not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from inaho.core.activation.lease import LeaseState
from inaho.core.bounded_map import BoundedMap
from inaho.errors import InahoError, NoSuchKind, OwnershipChanged, Pending
from inaho.errors.inspection import describe
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.placement.activation_requests import ActivationRequest, ActivationResponse
from inaho.runtime.placement.agreement import agree_on_owners
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.recalls import RETRY_S
from inaho.runtime.placement.system_calls import SystemCalls

if TYPE_CHECKING:
    from inaho.core.activation.lease import Lease
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.local.warnings import WaitingWarnings
    from inaho.runtime.placement.caching_callers import CachingCallers
    from inaho.types import Member

__all__ = ["PlacedActivations"]

Told = TypeVar("Told")

PATIENCE: Final = 3
"""How long a host waits to see the same owners as the asker before it lists everything, in `gossip.convergence_s`."""

RECALLED_MAX: Final = 10_000
"""Recalled identities whose epoch is remembered; beyond it the oldest is forgotten."""

FINAL_VERSIONS_MAX: Final = 2_000
"""Revoked activations whose saved version is remembered; beyond it the oldest is forgotten."""

FINAL_VERSIONS_S: Final = 60.0
"""Seconds for which they are remembered."""

PAGE_BYTES: Final = 128 << 10
"""Approximate size of the keys in one message."""

OWNER_US: Final = 10
"""Microseconds to find the owner of one identity; its partition is often looked up for the first time."""

HELD_SLICE: Final = 500
"""Activations checked per iteration of the loop."""


class PlacedActivations:
    """The placed activations of one node.

    Args:
        local: this node.
        topology: of this node.
        hosts: kinds of this node, by name.
        leases: its ledger.
        callers: are notified of ends.
        calls: of placement actors.
        warnings: of nodes that this one waits for.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        leases: Leases,
        callers: CachingCallers,
        calls: SystemCalls,
        warnings: WaitingWarnings,
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._leases = leases
        self._callers = callers
        self._calls = calls
        self._warnings = warnings
        self._reported_to: dict[str, dict[str, str]] = {}
        """By kind and key, node id of the owner that knows of the activation."""
        self._recalled: BoundedMap[tuple[str, str], int] = BoundedMap(RECALLED_MAX)
        self._news: dict[str, tuple[Member, dict[str, dict[str, int]]]] = {}
        """By node id of a new owner, the activations to announce to it."""
        self._gone: dict[str, tuple[Member, dict[str, dict[str, tuple[int, int]]]]] = {}
        """By node id of an owner, the ends to report to it: epochs and versions."""
        self._final_versions: BoundedMap[tuple[str, str], tuple[int, float]] = BoundedMap(FINAL_VERSIONS_MAX)
        """Saved version and time of the end of activations whose lease was revoked: other nodes may have them too."""
        self._overtaken = (0, 0.0)
        """The hash of the owners seen here when an asker with newer owners was answered, and until when it counts."""

    # An owner asks.

    async def activate(self, request: ActivationRequest) -> ActivationResponse:
        """See `PlacementActor.activate`."""
        try:
            host = self._host(request.kind)
            while True:
                await agree_on_owners(self._local, self._topology, request.topology_hash, 1)
                if request.key not in host.activations:
                    break
                if await self.has(host, request.key):
                    self._reported_to.setdefault(host.name, {})[request.key] = request.granted_by
                    return ActivationResponse(epoch=host.activations[request.key]._inaho_lease.epoch)
            self._check(request)
            stale = self._leases.ledger.get(request.kind, request.key)
            if stale is not None and stale.holder != self._local.node_id:  # granted when this node was the owner
                self._leases.ended(stale)
            lease = self._leases.grant(request.kind, request.key)
            lease.epoch = max(lease.epoch, request.epoch)
            await self.begin(host, lease, request.granted_by, request.record)
            return ActivationResponse(epoch=lease.epoch)
        except InahoError as error:
            return ActivationResponse(code=error.code, reason=error.reason)

    def _host(self, kind: str) -> KindHost:
        host = self._hosts.get(kind)
        if host is None or not host.hosted or not host.kind.placed:
            raise NoSuchKind(f"this node hosts no placed kind {kind!r}", identity=kind, authority=self._local.authority)
        return host

    def _check(self, request: ActivationRequest) -> None:
        """Raises the reason why this node refuses the activation, if there is one. Called after all waits."""
        identity = f"{request.kind}/{request.key}"
        self._leases.check_open(request.kind, request.key)
        self.check_current(request.kind, request.key)
        if self._topology.lookup.owner(request.kind, request.key).node_id != request.granted_by:
            raise OwnershipChanged(
                "the node that granted it does not own the identity", identity=identity, authority=self._local.authority
            )
        if self._recalled.get((request.kind, request.key), -1) >= request.epoch:
            raise OwnershipChanged(
                "the request was withdrawn before it arrived", identity=identity, authority=self._local.authority
            )

    def check_current(self, kind: str, key: str) -> None:
        """Raises `Pending` while another node sees newer owners than this one and has its list of activations."""
        seen, until = self._overtaken
        if seen == self._topology.lookup.hash and self._local.loop.time() < until:
            raise Pending("owners have changed, and this node waits for the new topology", identity=f"{kind}/{key}")

    async def begin(self, host: KindHost, lease: Lease, owner: str, handed: ActivationRecord | None) -> None:
        """Makes the activation of a pending lease, and returns when it has started. Raises the reason if it failed."""
        grain = host.begin(lease, handed if handed is not None and handed.was_active else None)
        self._reported_to.setdefault(host.name, {})[lease.key] = owner
        while host.activations.get(lease.key) is grain and host.lifecycle.is_changing(grain):
            await host.gates.wait(lease.key)
        if not lease.holding:
            raise self._leases.lost(lease, executed=False)

    async def has(self, host: KindHost, key: str) -> bool:
        """Whether the identity is active here and is not ending. Waits for an activation that starts or ends."""
        while (grain := host.activations.get(key)) is not None:
            ending = bool(host.lifecycle.reason_of(grain))
            if not grain._inaho_lease.holding and not ending:
                host.deactivate_soon(grain, "stale")
                continue
            if not ending and not host.lifecycle.is_changing(grain):
                return True
            try:
                await host.gates.wait(key)
            except InahoError:  # its callers get the error
                continue
        return False

    async def clear(self, host: KindHost, key: str) -> None:
        """Ends an activation here that has no lease any more."""
        while (grain := host.activations.get(key)) is not None:
            host.deactivate_soon(grain, "stale")
            if host.activations.get(key) is grain:
                try:
                    await host.gates.wait(key)
                except InahoError:  # it failed to start, and its callers get the error
                    continue

    async def holds(self, kind: str, key: str) -> bool:
        """See `PlacementActor.holds`."""
        return await self.has(self._host(kind), key)

    async def recall(self, kind: str, key: str, epoch: int) -> ActivationRecord:
        """See `PlacementActor.recall`."""
        host = self._host(kind)
        self._recalled.renew((kind, key), max(epoch, self._recalled.get((kind, key), 0)))
        return await host.hand_over(key)

    async def held(self, kind: str, asker: str, topology_hash: int) -> dict[str, int]:
        """See `PlacementActor.held`."""
        host = self._host(kind)
        agreed = True
        try:
            await agree_on_owners(self._local, self._topology, topology_hash, PATIENCE)
        except OwnershipChanged as error:  # what the asker owns is unknown here: list everything
            agreed = False
            self._overtaken = (
                self._topology.lookup.hash or 0,
                self._local.loop.time() + PATIENCE * self._local.config.gossip.convergence_s,
            )
            self._local.log.info("sent %s a list of all activations of %s: %s", asker, kind, describe(error))
        member = self._leases.member(asker)
        reported_to = self._reported_to.setdefault(kind, {})
        page: dict[str, int] = {}
        size = 0
        for number, (key, grain) in enumerate(list(host.activations.items()), 1):
            if not number % HELD_SLICE:
                await asyncio.sleep(0)
            if not host.lives(grain) or not grain._inaho_lease.holding:
                continue
            if agreed:
                owner = self._owner(kind, key)
                if owner is None or owner.node_id != asker:
                    continue
                reported_to[key] = asker
            if size > PAGE_BYTES and member is not None:
                await self._tell(member, kind, page, topology_hash)
                page, size = {}, 0
            page[key] = grain._inaho_lease.epoch
            size += 16 + 4 * len(key)
        return page

    # Reports to owners.

    def look(self, kind: str, grain: Activation) -> None:
        """Owners have changed: announces a placed activation to its new owner."""
        key = grain._inaho_key
        owner = self._owner(kind, key)
        reported_to = self._reported_to.setdefault(kind, {})
        if owner is None or reported_to.get(key) == owner.node_id:
            return
        reported_to[key] = owner.node_id
        if owner.node_id != self._local.node_id:
            if not self._news:
                self._local.loop.call_soon(self._tell_news)
            kinds = self._news.setdefault(owner.node_id, (owner, {}))[1]
            kinds.setdefault(kind, {})[key] = grain._inaho_lease.epoch

    def ended(self, kind: str, grain: Activation) -> None:
        """A placed activation is gone; its callers are notified, and its owner, so that it can free the lease.

        Where the owner knows of another activation, the owner tells that one what this one had saved.
        """
        key = grain._inaho_key
        self._callers.ended(kind, key)
        self._reported_to.get(kind, {}).pop(key, None)
        owner = self._owner(kind, key)
        record = grain._inaho_record
        version = 0 if record is None else record.version
        if version and grain._inaho_lease.state is LeaseState.REVOKED:
            self._final_versions[kind, key] = (version, self._local.loop.time())
        if owner is not None and (version or owner.node_id != self._local.node_id):
            self._report_end(owner, kind, key, (grain._inaho_lease.epoch, version))

    def owners_changed(self) -> None:
        """Reports saved versions of revoked activations to the present owners.

        To the same owner again, too: it may learn only now of the node that has the identity.
        """
        if self._final_versions:
            self._local.slices.add("final-versions", self._report_final_versions())

    def _report_final_versions(self) -> Iterator[int]:
        for kind, key in tuple(self._final_versions):
            known = self._final_versions.get((kind, key))
            if known is not None and self._local.loop.time() - known[1] > FINAL_VERSIONS_S:
                del self._final_versions[kind, key]
            elif known is not None and (owner := self._owner(kind, key)) is not None:
                self._report_end(owner, kind, key, (0, known[0]))
            yield OWNER_US

    def _report_end(self, owner: Member, kind: str, key: str, end: tuple[int, int]) -> None:
        if not self._gone:
            self._local.loop.call_soon(self._tell_gone)
        self._gone.setdefault(owner.node_id, (owner, {}))[1].setdefault(kind, {})[key] = end

    def _tell_news(self) -> None:
        news, self._news = self._news, {}
        if self._local.closing:
            return
        for owner, kinds in news.values():
            for kind, epochs in kinds.items():
                self._local.spawn(self._announce(owner, kind, epochs), name=f"inaho-announce-{kind}")

    async def _announce(self, owner: Member, kind: str, epochs: dict[str, int]) -> None:
        """Announces its identities that are active here to an owner, until it acknowledges or owns them no more."""
        for page in pages(epochs):
            while page := {key: epoch for key, epoch in page.items() if self._is_owner(owner, kind, key)}:
                try:
                    await self._tell(owner, kind, page, self._topology.lookup.hash or 0)
                    break
                except InahoError as error:
                    self._warnings.tell(owner.authority, f"did not take the list of activations of {kind} yet", error)
                    await self._topology.wait(RETRY_S)

    async def _tell(self, owner: Member, kind: str, page: dict[str, int], topology_hash: int) -> None:
        host = self._host(kind)
        losers = await self._calls.ask(owner, PlacementActor.announce, kind, page, self._local.node_id, topology_hash)
        for key in losers:
            grain = host.activations.get(key)
            if grain is not None and grain._inaho_lease.epoch == page.get(key):
                host.deactivate_soon(grain, "moved")

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, {}
        if self._local.closing:
            return
        for owner, kinds in gone.values():
            for kind, ends in kinds.items():
                self._local.spawn(self._tell_ended(owner, kind, ends), name=f"inaho-ended-{kind}")

    async def _tell_ended(self, owner: Member, kind: str, ends: dict[str, tuple[int, int]]) -> None:
        try:
            for page in pages(ends):
                await self._calls.ask(owner, PlacementActor.terminated, kind, page, self._local.node_id)
        except InahoError as error:  # this node refuses the next call, and its caller asks the owner to verify
            self._local.log.info(
                "reporting the end of %d activations of %s to %s failed: %s",
                len(ends),
                kind,
                owner.authority,
                describe(error),
            )

    def _owner(self, kind: str, key: str) -> Member | None:
        try:
            return self._topology.lookup.owner(kind, key)
        except InahoError:
            return None

    def _is_owner(self, owner: Member, kind: str, key: str) -> bool:
        now = self._owner(kind, key)
        return now is not None and now.node_id == owner.node_id


def pages(told: dict[str, Told]) -> list[dict[str, Told]]:
    """Splits a table into parts that fit a frame."""
    pages: list[dict[str, Told]] = [{}]
    size = 0
    for key, what in told.items():
        if size > PAGE_BYTES:
            pages.append({})
            size = 0
        pages[-1][key] = what
        size += 16 + 4 * len(key)
    return pages
