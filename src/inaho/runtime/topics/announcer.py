"""Announces the channels of this node to every other one, and takes what others announce.

One call at a time goes to each node, with all that has changed since the last one, so a thousand subscriptions of one
moment are one call. An answer says that the node publishes to this one from now on. `subscribe` waits for the answers
of all live members; a call that fails is repeated while the node is a member.

A node that has just joined publishes nothing until it has the announcements of the members that it knows, and a node
that comes back after a split announces again before the other side publishes. Of a cut that only one side has noticed,
the other side has no reason to announce again, so the side that waits asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from inaho.core.pubsub.announcements import ALL, Announcement, OwnChannels, RemoteChannels
from inaho.errors import InahoError, Timeout
from inaho.errors.inspection import describe
from inaho.wire.features import TOPICS

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["Announcer", "Connect", "Place", "Tell"]

CHANGES_MAX: Final = 4096
"""Changes that are kept for nodes that have not confirmed them; a node that is further behind gets all channels."""

PAUSE_S: Final = 0.05
PAUSE_MAX_S: Final = 1.0
"""Pause after a call that failed; doubled up to the second."""


class Place(Protocol):
    """One process of the cluster."""

    @property
    def authority(self) -> str:
        """`host:port`."""
        ...

    @property
    def node_id(self) -> str:
        """Of the process."""
        ...


Connect = Callable[[str, str], Awaitable["Outgoing"]]
"""Gives the connection to an authority and a node id, as `Peers.connect`."""

Tell = Callable[[Place, Announcement], Awaitable[bool]]
"""Calls `TopicActor.announce` of a node."""


class _Subscribing:
    """One `subscribe` that waits for nodes."""

    __slots__ = ("future", "pending", "version")

    def __init__(self, version: int, pending: dict[str, None], future: asyncio.Future[None]) -> None:
        self.version = version
        self.pending = pending
        self.future = future

    def answered(self, node_id: str) -> None:
        self.pending.pop(node_id, None)
        if not self.pending and not self.future.done():
            self.future.set_result(None)


class _Told:
    """What one other node knows of this one."""

    __slots__ = ("again", "behind", "caught_up_at", "confirmed", "live", "old", "place", "task", "waiting")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.confirmed = ALL
        self.again = True
        """Whether it is called even if nothing has changed: it may have forgotten this node."""
        self.live = True
        self.behind = True
        """Whether it was not waited for since its last answer: then `subscribe` may have returned without it."""
        self.caught_up_at = float("inf")
        """When its last answer after such a time has come, seconds of the loop's clock."""
        self.old = False
        """Whether it runs a release without topics."""
        self.task: asyncio.Task[None] | None = None
        self.waiting: list[_Subscribing] = []


class Announcer:
    """The announcements of one node.

    Args:
        local: this node.
        connect: to another node.
        tell: calls another node.
        changed: called with the channels for which other nodes have changed.
        now_ready: called when this node may publish.

    Attributes:
        own: channels of this node.
        remote: channels of others.
        ready: whether this node may publish.
    """

    def __init__(
        self,
        local: LocalNode,
        connect: Connect,
        tell: Tell,
        *,
        changed: Callable[[list[str]], None],
        now_ready: Callable[[], None],
    ) -> None:
        self.own = OwnChannels(CHANGES_MAX)
        self.remote = RemoteChannels()
        self.ready = False
        self._local = local
        self._connect = connect
        self._tell = tell
        self._changed = changed
        self._now_ready = now_ready
        self._told: dict[str, _Told] = {}
        self._awaited: dict[str, None] = {}
        """Live members whose announcements are still to come."""
        self._began = False
        self._waits_since = local.loop.time()
        """Since when this node waits for announcements before it publishes, seconds of the loop's clock."""
        self._readiness: list[asyncio.Future[None]] = []
        self._part_bytes = min(local.config.transport.frame_bytes_max // 2, 256 << 10)

    # Own channels.

    def add(self, channel: str) -> None:
        """This node has a subscriber to the channel; see `confirmed`."""
        if self.own.add(channel):
            self._tell_all()

    def remove(self, channel: str) -> None:
        """A subscriber has ended."""
        if self.own.remove(channel):
            self._tell_all()

    async def confirmed(self) -> None:
        """Returns when all live members publish to the present channels of this node.

        Raises:
            Timeout: not within `pubsub.subscribe_timeout_s`.
        """
        version = self.own.version
        pending = {
            node_id: None
            for node_id, told in self._told.items()
            if told.live and not told.old and (told.confirmed < version or told.again)
        }
        if not pending:
            return
        subscribing = _Subscribing(version, pending, self._local.loop.create_future())
        for node_id in pending:
            self._told[node_id].waiting.append(subscribing)
        within_s = self._local.config.pubsub.subscribe_timeout_s
        try:
            await asyncio.wait((subscribing.future,), timeout=within_s)
        finally:
            for node_id in pending:
                if node_id in self._told and subscribing in self._told[node_id].waiting:
                    self._told[node_id].waiting.remove(subscribing)
        if pending:
            silent = ", ".join(self._told[node_id].place.authority for node_id in pending if node_id in self._told)
            raise Timeout(
                f"members have not confirmed the subscription within {within_s} s (pubsub.subscribe_timeout_s): "
                f"{silent}",
                maybe_executed=False,
            )

    def _tell_all(self) -> None:
        for told in self._told.values():
            self._begin(told)
        if not self._told:
            self.trim()

    def _begin(self, told: _Told) -> None:
        if told.task is None and not told.old and not self._local.closing:
            told.task = self._local.spawn(self._announce(told), name=f"inaho-announce-{told.place.authority}")

    async def _announce(self, told: _Told) -> None:
        """Calls a node until it has confirmed all, while it is known."""
        pause_s = PAUSE_S
        await asyncio.sleep(0)  # what changes in this iteration of the loop goes with the first call
        try:
            while (told.again or told.confirmed != self.own.version) and self._is_known(told) and not told.old:
                try:
                    await self._announce_once(told)
                    pause_s = PAUSE_S
                except InahoError as error:
                    self._local.log.debug(
                        "announcing subscriptions to %s failed: %s", told.place.authority, describe(error)
                    )
                    if not told.live:
                        break
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, PAUSE_MAX_S)
        finally:
            told.task = None

    async def _announce_once(self, told: _Told) -> None:
        connection = await self._connect(told.place.authority, told.place.node_id)
        if not connection.peer.speaks(TOPICS):
            told.old = True
            self._settled(told)
            self._arrived(told.place.node_id)
            return
        told.again = False
        version = self.own.version
        try:
            for part in self.own.since(told.confirmed, self._part_bytes):
                part.seen = self.remote.version_of(told.place.node_id)
                part.asks = told.place.node_id in self._awaited
                if not await self._tell(told.place, part):
                    told.confirmed, told.again, told.behind = ALL, True, True
                    return
        except BaseException:
            told.again = True
            raise
        told.confirmed = version
        if told.behind:
            told.behind, told.caught_up_at = False, self._local.loop.time()
        for subscribing in [each for each in told.waiting if each.version <= version]:
            told.waiting.remove(subscribing)
            subscribing.answered(told.place.node_id)

    def _settled(self, told: _Told) -> None:
        """Nobody waits for the node any more."""
        for subscribing in told.waiting:
            subscribing.answered(told.place.node_id)
        told.waiting.clear()

    def _is_known(self, told: _Told) -> bool:
        return self._told.get(told.place.node_id) is told

    # Other nodes.

    def node_is_live(self, place: Place, *, awaits: bool) -> None:
        """A node is, or is again, a live member, or announces to this node before it is one.

        Args:
            place: the node.
            awaits: this node publishes only when it has the announcements of that one.
        """
        told = self._told.get(place.node_id)
        if told is None:
            told = self._told[place.node_id] = _Told(place)
        elif not told.live:
            told.again = True
        told.live = True
        if awaits and not told.old:
            self._awaited[place.node_id] = None
            if self.ready:
                self.ready, self._waits_since = False, self._local.loop.time()
        self._begin(told)

    def node_is_cut_off(self, node_id: str) -> None:
        """A member is unreachable, or was removed: nobody waits for it."""
        told = self._told.get(node_id)
        if told is not None:
            told.live = False
            told.behind = True
            self._settled(told)
        self._arrived(node_id)

    def forget(self, node_id: str) -> None:
        """A node has ended."""
        self.node_is_cut_off(node_id)
        self._told.pop(node_id, None)
        self._changed(self.remote.forget(node_id))

    def trim(self) -> None:
        """Forgets the changes that all nodes have confirmed."""
        self.own.confirmed_by_all(
            min((told.confirmed for told in self._told.values() if not told.old), default=self.own.version)
        )

    def reconnected(self, node_id: str) -> None:
        """There is a new connection to the node: it is called if it does not know all."""
        told = self._told.get(node_id)
        if told is not None and (told.again or told.confirmed != self.own.version):
            self._begin(told)

    def came_late(self, node_id: str, at: float) -> bool:
        """Whether a node publishes to this one only since after that time, seconds of the loop's clock."""
        told = self._told.get(node_id)
        return told is None or told.behind or told.caught_up_at > at

    def knows(self, node_id: str) -> bool:
        """Whether the node has ever announced its channels to this one."""
        return node_id in self.remote

    def announced(self, node_id: str, announcement: Announcement) -> bool:
        """Takes a part of what another node announces; returns whether it leads on from what this node has."""
        accepted, changed = self.remote.apply(node_id, announcement)
        if changed:
            self._changed(changed)
        if accepted and not announcement.more:
            self._arrived(node_id)
        told = self._told.get(node_id)
        if told is not None and announcement.seen < told.confirmed:  # the node has forgotten this one
            told.again = told.behind = True
            self._begin(told)
        elif told is not None and announcement.asks:
            told.again = True
            self._begin(told)
        return accepted

    # Readiness.

    def begin(self) -> None:
        """The first topology is applied."""
        self._began, self._waits_since = True, self._local.loop.time()
        self._look()

    def _arrived(self, node_id: str) -> None:
        self._awaited.pop(node_id, None)
        self._look()

    def _look(self) -> None:
        if self._began and not self._awaited and not self.ready:
            self.ready = True
            self._release()

    def _release(self) -> None:
        self._now_ready()
        waiting, self._readiness = self._readiness, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait_ready(self) -> None:
        """Returns when this node may publish. It does so anyway when it has waited for `pubsub.subscribe_timeout_s`."""
        if self.ready:
            return
        waits_until = self._waits_since + self._local.config.pubsub.subscribe_timeout_s
        future = self._local.loop.create_future()
        self._readiness.append(future)
        try:
            async with asyncio.timeout_at(waits_until):
                await future
        except TimeoutError:
            if self._awaited:
                self._local.log.warning(
                    "publishing without the subscriptions of %d members that have not announced them within %g s "
                    "(pubsub.subscribe_timeout_s)",
                    len(self._awaited), self._local.config.pubsub.subscribe_timeout_s,
                )  # fmt: skip
                self._awaited.clear()
            self._began = True
            self._look()

    def close(self) -> None:
        """This node stops: nobody waits any more."""
        for told in self._told.values():
            self._settled(told)
        self._release()

    def check(self) -> None:
        """Asserts the invariants."""
        self.own.check()
        self.remote.check()
        assert all(node_id in self._told for node_id in self._awaited)
        assert not (self.ready and self._awaited)
