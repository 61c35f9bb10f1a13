"""What this node holds of placed kinds: activations that an owner, perhaps another node, has placed here.

The lease of such an activation is in this node's own ledger too, under the epoch that the owner gave, so raising its
epoch, ending it, revoking it and refusing its saves work as for any other. This module adds the conversation with the
owner: it accepts, it tells when an activation has ended, and it tells a new owner what it holds.

A request is accepted only if the one who grants has the same owners in mind as this node. So an owner of the past
cannot place here what the present one was told is not here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from inaho.core.rpc.turns import TurnQueue
from inaho.errors import InahoError, NoSuchKind, OwnershipChanged
from inaho.runtime.directory import RETRY_S, ask_placement
from inaho.runtime.placement_actor import ActivationRecord, ActivationRequest, ActivationResponse, PlacementActor

if TYPE_CHECKING:
    from inaho.core.activation.lease import Lease
    from inaho.runtime.grain import Grain
    from inaho.runtime.kind import KindHost
    from inaho.runtime.node import Node
    from inaho.types import Member

__all__ = ["Holdings"]

RECALLED_MAX: Final = 10_000
"""Identities taken back of which the epoch is remembered; beyond it the oldest is forgotten."""

PAGE_BYTES: Final = 128 << 10
"""Keys told in one message, about."""

HELD_SLICE: Final = 500
"""Activations looked at per turn of the loop."""


class Holdings:
    """The placed activations of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told: dict[str, dict[str, str]] = {}
        """By kind and key, node id of the owner that knows of the activation."""
        self._recalled: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._news: dict[str, tuple[Member, dict[str, dict[str, int]]]] = {}
        """By node id of a new owner, what it is to be told that we hold."""
        self._gone: dict[str, tuple[Member, dict[str, dict[str, int]]]] = {}
        """By node id of an owner, what it is to be told has ended."""

    # An owner asks.

    async def activate(self, request: ActivationRequest) -> ActivationResponse:
        """See `PlacementActor.activate`."""
        node = self._node
        try:
            host = self._host(request.kind)
            while True:
                await self._agree(request.topology_hash)
                if request.key not in host.activations:
                    break
                if await self.has(host, request.key):
                    self._told.setdefault(host.name, {})[request.key] = request.granted_by
                    return ActivationResponse(epoch=host.activations[request.key]._inaho_lease.epoch)
            self._check(request)
            stale = node.leases.ledger.get(request.kind, request.key)
            if stale is not None and stale.holder != node.node_id:  # from when we were its owner
                node.leases.ended(stale)
            lease = node.leases.grant(request.kind, request.key)
            lease.epoch = max(lease.epoch, request.epoch)
            await self.begin(host, lease, request.granted_by, request.record)
            return ActivationResponse(epoch=lease.epoch)
        except InahoError as error:
            return ActivationResponse(code=error.code, reason=error.reason)

    def _host(self, kind: str) -> KindHost:
        host = self._node.hosts.get(kind)
        if host is None or not host.hosted or not host.kind.placed:
            raise NoSuchKind(f"this node hosts no placed kind {kind!r}", identity=kind, authority=self._node.authority)
        return host

    def _check(self, request: ActivationRequest) -> None:
        """Raises why this node does not take the activation, now that it has waited for what it waits for."""
        node, identity = self._node, f"{request.kind}/{request.key}"
        node.leases.check_open(request.kind, request.key)
        if node.lookup.owner(request.kind, request.key).node_id != request.granted_by:
            raise OwnershipChanged("who grants it does not own it", identity=identity, authority=node.authority)
        if self._recalled.get((request.kind, request.key), -1) >= request.epoch:
            raise OwnershipChanged("it was taken back before it came", identity=identity, authority=node.authority)

    async def _agree(self, topology_hash: int) -> None:
        """Returns when owners here are those of that hash. Raises `OwnershipChanged` when they are not for long."""
        node = self._node
        deadline = node.loop.time() + node.config.gossip.convergence_s
        while node.lookup.hash != topology_hash:
            left_s = deadline - node.loop.time()
            if left_s <= 0:
                raise OwnershipChanged(
                    f"owners are seen in another way here ({node.lookup.hash or 0:016x}) than there "
                    f"({topology_hash:016x})",
                    authority=node.authority,
                )
            await node.wait_for_topology(left_s)

    async def begin(self, host: KindHost, lease: Lease, owner: str, handed: ActivationRecord | None) -> None:
        """Makes the activation of a pending lease, and returns when it is up. Raises why it did not come up."""
        self._told.setdefault(host.name, {})[lease.key] = owner
        grain = host.begin(lease, handed if handed is not None and handed.was_active else None)
        while host.activations.get(lease.key) is grain and _starting(grain):
            await host.gates.wait(lease.key)
        if not lease.holding:
            raise self._node.leases.lost(lease, executed=False)

    async def has(self, host: KindHost, key: str) -> bool:
        """Whether the identity is active here and stays so; returns when what is coming up or ending has done so."""
        while (grain := host.activations.get(key)) is not None:
            busy = grain._inaho_turn
            ending = isinstance(busy, TurnQueue) and bool(busy.ending)
            if not grain._inaho_lease.holding and not ending:
                host.deactivate_soon(grain, "stale")
                continue
            if not ending and not _starting(grain):
                return True
            try:
                await host.gates.wait(key)
            except InahoError:  # those who called it are told
                continue
        return False

    async def clear(self, host: KindHost, key: str) -> None:
        """Ends what is left here of an activation that has no lease any more."""
        while (grain := host.activations.get(key)) is not None:
            host.deactivate_soon(grain, "stale")
            try:
                await host.gates.wait(key)
            except InahoError:
                continue

    async def holds(self, kind: str, key: str) -> bool:
        """See `PlacementActor.holds`."""
        return await self.has(self._host(kind), key)

    async def recall(self, kind: str, key: str, epoch: int) -> ActivationRecord:
        """See `PlacementActor.recall`."""
        host = self._host(kind)
        self._recalled[kind, key] = max(epoch, self._recalled.pop((kind, key), 0))
        if len(self._recalled) > RECALLED_MAX:
            self._recalled.popitem(last=False)
        return await host.release(key)

    async def held(self, kind: str, asker: str, topology_hash: int) -> dict[str, int]:
        """See `PlacementActor.held`."""
        node, host = self._node, self._host(kind)
        try:
            await self._agree(topology_hash)
        except OwnershipChanged as error:  # it is told what it owns by what we see; the rest we tell when we see it
            node.log.info("told %s what is held of %s: %s", asker, kind, error.reason)
        told = self._told.setdefault(kind, {})
        page: dict[str, int] = {}
        size = 0
        for number, (key, grain) in enumerate(list(host.activations.items()), 1):
            if not number % HELD_SLICE:
                await asyncio.sleep(0)
            owner = self._owner(kind, key)
            if owner is None or owner.node_id != asker or not host.lives(grain) or not grain._inaho_lease.holding:
                continue
            if size > PAGE_BYTES:
                await self._tell(owner, kind, page)
                page, size = {}, 0
            told[key] = asker
            page[key] = grain._inaho_lease.epoch
            size += 16 + 4 * len(key)
        return page

    # This node tells owners.

    def look(self, host: KindHost, grain: Grain[Any]) -> None:
        """Owners have changed: a new owner of a placed activation is told of it."""
        key = grain._inaho_key
        owner = self._owner(host.name, key)
        told = self._told.setdefault(host.name, {})
        if owner is None or told.get(key) == owner.node_id:
            return
        told[key] = owner.node_id
        if owner.node_id != self._node.node_id:
            if not self._news:
                self._node.loop.call_soon(self._tell_news)
            kinds = self._news.setdefault(owner.node_id, (owner, {}))[1]
            kinds.setdefault(host.name, {})[key] = grain._inaho_lease.epoch

    def ended(self, host: KindHost, grain: Grain[Any]) -> None:
        """A placed activation is gone; its owner is told, unless that is this node."""
        key = grain._inaho_key
        self._told.get(host.name, {}).pop(key, None)
        owner = self._owner(host.name, key)
        if owner is None or owner.node_id == self._node.node_id:
            return
        if not self._gone:
            self._node.loop.call_soon(self._tell_gone)
        kinds = self._gone.setdefault(owner.node_id, (owner, {}))[1]
        kinds.setdefault(host.name, {})[key] = grain._inaho_lease.epoch

    def _tell_news(self) -> None:
        news, self._news = self._news, {}
        for owner, kinds in news.values():
            for kind, epochs in kinds.items():
                self._node.runner.spawn(self._announce(owner, kind, epochs), name=f"inaho-announce-{kind}")

    async def _announce(self, owner: Member, kind: str, epochs: dict[str, int]) -> None:
        """Tells an owner what is held of its identities, until it has heard or is the owner no more."""
        for page in _pages(epochs):
            while page := {key: epoch for key, epoch in page.items() if self._is_owner(owner, kind, key)}:
                try:
                    await self._tell(owner, kind, page)
                    break
                except InahoError as error:
                    self._node.log.info("%s was not told what is held of %s: %s", owner.authority, kind, error)
                    await self._node.wait_for_topology(RETRY_S)

    async def _tell(self, owner: Member, kind: str, page: dict[str, int]) -> None:
        node, host = self._node, self._host(kind)
        losers: list[str] = await ask_placement(
            node, owner, PlacementActor.announce, kind, page, node.node_id, node.lookup.hash or 0
        )
        for key in losers:
            grain = host.activations.get(key)
            if grain is not None and grain._inaho_lease.epoch == page.get(key):
                host.deactivate_soon(grain, "moved")

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, {}
        for owner, kinds in gone.values():
            for kind, epochs in kinds.items():
                self._node.runner.spawn(self._tell_ended(owner, kind, epochs), name=f"inaho-ended-{kind}")

    async def _tell_ended(self, owner: Member, kind: str, epochs: dict[str, int]) -> None:
        node = self._node
        try:
            for page in _pages(epochs):
                await ask_placement(node, owner, PlacementActor.terminated, kind, page, node.node_id)
        except InahoError as error:  # the next caller is refused here, and has it looked into
            node.log.info("%s was not told that %d of %s ended: %s", owner.authority, len(epochs), kind, error)

    # This node is the owner, and is told.

    async def announced(self, kind: str, epochs: dict[str, int], node_id: str, topology_hash: int) -> list[str]:
        """See `PlacementActor.announce`."""
        await self._agree(topology_hash)
        return self._node.directory.adopt(kind, epochs, node_id)

    def _owner(self, kind: str, key: str) -> Member | None:
        try:
            return self._node.lookup.owner(kind, key)
        except InahoError:
            return None

    def _is_owner(self, owner: Member, kind: str, key: str) -> bool:
        now = self._owner(kind, key)
        return now is not None and now.node_id == owner.node_id


def _starting(grain: Grain[Any]) -> bool:
    busy = grain._inaho_turn
    return isinstance(busy, TurnQueue) and busy.starting


def _pages(epochs: dict[str, int]) -> list[dict[str, int]]:
    """In parts that fit a frame."""
    pages: list[dict[str, int]] = [{}]
    size = 0
    for key, epoch in epochs.items():
        if size > PAGE_BYTES:
            pages.append({})
            size = 0
        pages[-1][key] = epoch
        size += 16 + 4 * len(key)
    return pages
