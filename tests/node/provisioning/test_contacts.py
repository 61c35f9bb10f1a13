"""What runs at an authority: a member, a node that starts, nothing, or something that does not say."""

from __future__ import annotations

import asyncio
import socket

import pytest

import inaho
from inaho.actor import EventStream
from inaho.config import ClusterConfig
from inaho.core.provisioning.founding import Contact
from inaho.events import ConnectionRefused
from inaho.runtime.local.clock import SystemEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.provisioning.contacts import HandshakeContacts, contact_all
from inaho.runtime.transport.transport import TcpTransport
from support.fleet import Fleet
from support.tcp_nodes import Node, tcp


def contacts(name: str = "shop", secret: str = "s3", node_id: str = "") -> HandshakeContacts:
    """Those of a node that is no member."""
    config = ClusterConfig(name=name, secret=secret)
    local = LocalNode(config, events=EventStream(), entropy=SystemEntropy(), loop=asyncio.get_running_loop())
    local.node_id = node_id or local.node_id
    return HandshakeContacts(local, TcpTransport(config.transport, authenticated=True))


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ({"incarnation": 1 << 20}, Contact.MEMBER),
        ({"incarnation": 0}, Contact.STARTING),
        ({"cluster": "another", "incarnation": 1}, Contact.REFUSES),
        ({"secret": "another", "incarnation": 1}, Contact.SILENT),
        ({"node_id": "m1", "incarnation": 1}, Contact.REFUSES),
    ],
    ids=["member", "starting", "another cluster", "another secret", "this node"],
)
async def test_a_process_that_answers(says: dict[str, object], found: Contact) -> None:
    async with Node(tcp(), **says) as node:
        assert await contacts(node_id="m1").contact(node.authority) is found


async def test_another_process_at_the_authority_is_no_answer_of_the_one_in_question() -> None:
    async with Node(tcp(), node_id="m1", incarnation=1) as node:
        assert await contacts().contact(node.authority, "m1") is Contact.MEMBER
        assert await contacts().contact(node.authority, "m2") is Contact.REFUSES


async def test_a_port_without_a_process_and_one_that_never_answers() -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{port.getsockname()[1]}"
        assert await contacts().contact(authority) is Contact.REFUSES
        port.listen()
        assert await contacts().contact(authority) is Contact.SILENT


async def test_a_member_is_one_and_notices_no_member_that_comes_and_goes() -> None:
    fleet = Fleet("tcp")
    try:
        member = await fleet.member()
        refused: list[ConnectionRefused] = []
        member._node.local.events.subscribe_callback(ConnectionRefused, refused.append)
        asking = contacts(member.config.name, member.config.secret)
        assert await asking.contact(member.authority) is Contact.MEMBER
        assert not refused
        assert [each.authority for each in member.members()] == [member.authority]
    finally:
        await fleet.close()


async def test_a_node_that_looks_for_its_cluster_is_starting() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        seed = f"127.0.0.1:{silent.getsockname()[1]}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            authority = f"127.0.0.1:{free.getsockname()[1]}"
        joining = asyncio.ensure_future(inaho.join(authority, seeds=[seed, authority]))
        try:
            async with asyncio.timeout(5.0):
                while (found := await contacts("inaho", "").contact(authority)) is Contact.REFUSES:
                    await asyncio.sleep(0.01)
            assert found is Contact.STARTING
        finally:
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)


class Scripted:
    """Contacts whose results a test names, and who was asked."""

    def __init__(self, **found: Contact) -> None:
        self.asked: list[str] = []
        self._found = found

    async def contact(self, authority: str) -> Contact:
        self.asked.append(authority)
        return self._found.get(authority, Contact.REFUSES)


async def test_all_are_dialled_in_groups_until_there_is_a_member() -> None:
    many = [f"n{number}" for number in range(100)]
    scripted = Scripted(n40=Contact.MEMBER)
    found = await contact_all(scripted, many, until_member=True)
    assert scripted.asked == many[:64] and found["n40"] is Contact.MEMBER
    scripted.asked.clear()
    assert set(await contact_all(scripted, many)) == set(many) and len(scripted.asked) == 100
