"""Associations of a node, without the node: who counts as a member is a question to the topology alone."""

from __future__ import annotations

import asyncio

import pytest

from inaho import AuthenticationFailed, ClusterConfig, DeliveryConfig, Member, MemberStatus, TopologySnapshot
from inaho.actor import EventStream
from inaho.core.delivery.associations import AuthorityState
from inaho.errors import Quarantined
from inaho.runtime.connections.associations import Associations
from inaho.runtime.local.clock import SystemEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology
from inaho.runtime.transport.transport import DialFailed
from inaho.wire.handshake import PeerInfo

PEER = "10.0.0.2:7700"


class Effects:
    """Keeps what follows from the decisions."""

    def __init__(self) -> None:
        self.cut: list[tuple[str, str]] = []
        self.freed: list[str] = []
        self.ended_pauses = 0

    def cut_off(self, authority: str, error: Quarantined) -> None:
        self.cut.append((authority, error.reason))

    def released(self, authority: str) -> None:
        self.freed.append(authority)

    def pauses_changed(self) -> None:
        self.ended_pauses += 1


class Bench:
    """Associations of one node, with its topology."""

    def __init__(self) -> None:
        local = LocalNode(
            ClusterConfig(delivery=DeliveryConfig(failures_max=3)),
            events=EventStream(),
            entropy=SystemEntropy(),
            loop=asyncio.get_running_loop(),
        )
        local.authority = "10.0.0.1:7700"
        self.topology = Topology(local, lambda _: None)
        self.effects = Effects()
        self.associations = Associations(local, self.topology, self.effects)

    def admit(self, node_id: str, status: MemberStatus = MemberStatus.UP) -> None:
        member = Member(authority=PEER, node_id=node_id, incarnation=1, status=status, kinds=(), weight=1, roles=())
        self.topology.snapshot = TopologySnapshot(version=1, hash=1, members=(member,))

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.associations.failed(PEER, DialFailed("no answer", authority=PEER, cause_kind="timeout"))


async def test_failed_dials_count_only_against_members():
    bench = Bench()
    bench.fail(10)
    assert bench.associations.quarantined() == ()
    bench.admit("a" * 16)
    bench.fail(2)
    assert bench.effects.cut == []
    bench.fail(1)
    assert bench.effects.cut == [(PEER, "3 dials failed in a row: no answer")]
    with pytest.raises(Quarantined):
        bench.associations.demand(PEER)


async def test_a_member_that_cannot_authenticate_is_quarantined_and_a_stranger_is_not():
    bench = Bench()
    failure = AuthenticationFailed("wrong secret", authority=PEER)
    bench.associations.failed(PEER, failure)
    assert bench.effects.cut == []
    bench.admit("a" * 16)
    bench.associations.failed(PEER, failure)
    assert bench.effects.cut == [(PEER, "authentication_failed: wrong secret")]


async def test_a_process_that_only_claims_the_authority_of_a_member_does_not_harm_it():
    bench = Bench()
    bench.admit("a" * 16)
    bench.associations.violated(PeerInfo(PEER, "b" * 16, 1, "member", 1, 1), "garbage")
    assert bench.effects.cut == []
    bench.associations.violated(PeerInfo(PEER, "a" * 16, 1, "member", 1, 1), "garbage")
    assert bench.effects.cut == [(PEER, "garbage")]


async def test_another_process_at_the_authority_ends_the_quarantine():
    bench = Bench()
    bench.admit("a" * 16)
    bench.associations.violated(PeerInfo(PEER, "a" * 16, 1, "member", 1, 1), "garbage")
    bench.admit("b" * 16)
    assert bench.topology.snapshot is not None
    bench.associations.apply_topology(bench.topology.snapshot)
    assert bench.effects.freed == [PEER]
    assert bench.effects.ended_pauses == 1
    assert bench.associations.machine.state(PEER) is AuthorityState.DISCONNECTED
