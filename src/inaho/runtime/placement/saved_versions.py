"""Remembers which versions were saved, so that no owner silently answers from an older state.

Two things can go wrong when an identity changes its owner, and in both saved state seems to be missing. After a network
partition the owner may have an activation from before it, older than what the other side has saved since. And if the
members do not share one storage, the new owner finds nothing. So a node remembers the versions of the activations that
ended here last, and reports them to the owners of those identities in later topologies, until an owner acknowledges
them. If the new owner's activation has an older version, it ends and the next one loads; if the storage has an older
version, the activation is refused. An owner that loses the identity before it was called passes the report on.

Why not ask the storage at every call: that is a round trip per call, for something that happens very rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from inaho.core.bounded_map import BoundedMap
from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.placement.placed_activations import pages
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.system_calls import SystemCalls

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.types import Member

__all__ = ["SavedVersions"]

REMEMBERED_MAX: Final = 10_000
"""Identities, each way; beyond it the oldest is forgotten."""

TELLING: Final = "saved-versions"
"""The job (`Slices`) that finds the owners to report to."""

OWNER_US: Final = 10
"""Microseconds to find the owner of one identity; its partition is often looked up for the first time."""

SAY_AGAIN_S: Final = 1.0
"""Pause before a failed report is repeated; a change of owners cuts it short."""


class SavedVersions:
    """Saved versions, reported and received (SPEC CL-5, "never an activation with silently empty state").

    Args:
        local: this node.
        topology: of this node.
        hosts: kinds of this node, by name.
        calls: of placement actors.
    """

    def __init__(self, local: LocalNode, topology: Topology, hosts: Mapping[str, KindHost], calls: SystemCalls) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._calls = calls
        self._ended: BoundedMap[tuple[str, str], int] = BoundedMap(REMEMBERED_MAX)
        self._due: dict[tuple[str, str], tuple[Member, dict[str, int]]] = {}
        """By node id of an owner and kind, the versions to report."""
        self._heard: BoundedMap[tuple[str, str], ActivationRecord] = BoundedMap(REMEMBERED_MAX)
        self._saying: set[asyncio.Task[None]] = set()
        self._say_again: asyncio.TimerHandle | None = None

    # What ended here.

    def ended(self, kind: str, grain: Activation, *, asked_for: bool) -> None:
        """An activation has ended. `asked_for`: its next owner waits for that, and gets the version in the answer."""
        record = grain._inaho_record
        if asked_for or record is None or not record.version:
            return
        if not self._tell(kind, grain._inaho_key, record.version):
            self._remember(kind, grain._inaho_key, record.version)

    def _remember(self, kind: str, key: str, version: int) -> None:
        self._ended.renew((kind, key), max(self._ended.get((kind, key), 0), version))

    def owners_changed(self) -> None:
        """Owners have changed: another node may activate identities that ended here, or has done so already."""
        if self._ended or self._heard:
            self._local.slices.add(TELLING, self._tell_owners())

    def _tell_owners(self) -> Iterator[int]:
        for identity in tuple(self._ended):
            version = self._ended.get(identity)
            if version is not None and self._tell(*identity, version):
                del self._ended[identity]
            yield OWNER_US
        for identity in tuple(self._heard):
            record = self._heard.get(identity)
            if record is not None and self._tell(*identity, record.version):
                del self._heard[identity]
            yield OWNER_US

    def _tell(self, kind: str, key: str, version: int) -> bool:
        """Queues a report to the owner; returns False if this node is the owner, or there is none."""
        try:
            owner: Member = self._topology.lookup.owner(kind, key)
        except InahoError:
            return False
        if owner.node_id == self._local.node_id:
            return False
        if not self._due:
            self._local.loop.call_soon(self._send)
        self._due.setdefault((owner.node_id, kind), (owner, {}))[1][key] = version
        return True

    def _send(self) -> None:
        due, self._due = self._due, {}
        for (_, kind), (owner, versions) in due.items():
            saying = self._local.spawn(self._say(owner, kind, versions), name="inaho-saved-versions")
            self._saying.add(saying)
            saying.add_done_callback(self._saying.discard)

    async def _say(self, owner: Member, kind: str, versions: dict[str, int]) -> None:
        try:
            for page in pages(versions):
                await self._calls.ask(owner, PlacementActor.superseded, kind, page, self._local.authority)
        except InahoError as error:
            self._local.log.info(
                "reporting the saved versions to %s failed, retrying: %s", owner.authority, describe(error)
            )
            for key, version in versions.items():
                self._remember(kind, key, version)
            if self._say_again is None and not self._local.closing:
                self._say_again = self._local.loop.call_later(SAY_AGAIN_S, self._go_on)

    def _go_on(self) -> None:
        self._say_again = None
        if not self._local.closing:
            self.owners_changed()

    async def flush(self, within_s: float) -> None:
        """Returns when the reports are acknowledged or have failed, or after `within_s` seconds."""
        await self._local.slices.ended(TELLING)
        if self._due:
            await asyncio.sleep(0)
        if self._saying:
            await asyncio.wait(self._saying, timeout=within_s)

    # Reports of others.

    def heard(self, kind: str, versions: dict[str, int], authority: str) -> None:
        """See `PlacementActor.superseded`. An activation with an older version ends; the next must find this one."""
        host = self._hosts.get(kind)
        if host is None:
            return
        for key, version in versions.items():
            if not host.end_older(key, version):
                self.expect(kind, key, ActivationRecord(True, version, authority=authority))

    def expect(self, kind: str, key: str, record: ActivationRecord) -> None:
        """The next activation of the identity must find the version of `record`."""
        self._heard[kind, key] = ActivationRecord(True, record.version, authority=record.authority)

    def expect_version(self, kind: str, key: str, version: int) -> None:
        """The next activation of the identity must find that version, which this node has seen in the storage."""
        self.expect(kind, key, ActivationRecord(True, version, authority=self._local.authority))

    def expected(self, kind: str, key: str) -> ActivationRecord | None:
        """What an activation must find; usually None."""
        return self._heard.get((kind, key)) if self._heard else None

    def newer(self, kind: str, key: str, handed: ActivationRecord) -> ActivationRecord:
        """What an activation that was handed a record must find: others may have saved newer versions than that."""
        expected = self.expected(kind, key)
        return handed if expected is None or expected.version <= handed.version else expected

    def found(self, kind: str, key: str) -> None:
        """An activation has found the expected version."""
        if self._heard:
            self._heard.pop((kind, key), None)

    def forget(self) -> None:
        """An operator has accepted a storage that lost data: no earlier version is expected any more."""
        self._ended.clear()
        self._due.clear()
        self._heard.clear()

    def check(self) -> None:
        """Asserts the bounds."""
        self._ended.check()
        self._heard.check()
