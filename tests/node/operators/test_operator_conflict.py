"""An operator settles conflicting views through the operator actor of one member (SPEC CL-7.4)."""

from __future__ import annotations

from typing import Any

from inaho import Cluster
from inaho.events import SelfRemoved


async def ask(cluster: Cluster, authority: str, keep: bool) -> bool:
    return await cluster.resolve_conflict_at(cluster.self, authority, keep=keep)


async def test_there_is_no_conflict_with_a_member_or_a_stranger(fleet: Any):
    one, other = await fleet.members(2)
    for authority in (other.authority, one.authority, "127.0.0.1:1"):
        assert not await ask(one, authority, keep=True)
        assert not await ask(one, authority, keep=False)
    assert len(one.members()) == 2


async def test_a_view_is_kept_against_one_that_was_removed_or_given_up(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, membership={"remove_unreachable_after_s": 0.2})
    fleet.settle = False
    await other._node.lifecycle.stop()
    await eventually(lambda: len(one.members()) == 1)
    assert await ask(one, other.authority, keep=True)
    with one.system.events.subscribe(SelfRemoved) as lost:
        assert await ask(one, other.authority, keep=False)
        assert [event.reason for event in lost.drain()] == ["operator"]
