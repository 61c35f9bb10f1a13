"""Finds out what runs at an authority: one connection with a handshake, closed at once.

The connection is that of a client with a node id of its own. So the other node learns nothing about this one from it:
no evidence that a member is connected or gone, no caller that caches activations. Each question is a new connection,
since an open one only says what the other node was when it was opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from inaho.core.provisioning.founding import Contact
from inaho.errors import InahoError, WrongCluster
from inaho.runtime.connections.handshake import dial_authenticated
from inaho.runtime.transport.transport import DialFailed
from inaho.wire.handshake import NONCE_BYTES, Handshake, HandshakeConfig, PeerInfo

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.provisioning.ports import Contacts
    from inaho.runtime.transport.transport import Transport

__all__ = ["HandshakeContacts", "contact_all"]

CONTACT_S: Final = 1.0
"""Seconds after which an authority is silent: a node that is alive and not overloaded answers sooner."""

AT_ONCE: Final = 32
"""So many are dialled at the same time."""


class HandshakeContacts:
    """Dials authorities with the handshake of this cluster.

    Args:
        local: this node.
        transport: dials.
    """

    def __init__(self, local: LocalNode, transport: Transport) -> None:
        self._local = local
        self._transport = transport

    async def contact(self, authority: str, node_id: str = "") -> Contact:
        """Dials it once; takes `CONTACT_S` seconds at most. With a node id, another process there is a refusal."""
        try:
            async with asyncio.timeout(CONTACT_S):
                asked = await dial_authenticated(
                    self._transport, authority, self._handshake(), CONTACT_S, lambda _, peer: _Closing(peer)
                )
        except TimeoutError:
            return Contact.SILENT
        except WrongCluster:
            return Contact.REFUSES  # a process of another cluster has the port, so the registered one is gone
        except DialFailed as error:
            return Contact.REFUSES if error.cause_kind == "refused" else Contact.SILENT
        except InahoError as error:
            # It has another secret or release, or shuts down. It may be a member, so it counts as alive.
            self._local.log.debug("%s refuses to say whether it is a member: %s", authority, error.reason)
            return Contact.SILENT
        if asked.peer.node_id == self._local.node_id:
            return Contact.REFUSES  # it is this node under another name
        if node_id and asked.peer.node_id != node_id:
            return Contact.REFUSES
        return Contact.MEMBER if asked.peer.incarnation else Contact.STARTING

    def _handshake(self) -> Handshake:
        config, entropy = self._local.config, self._local.entropy
        says = HandshakeConfig(
            cluster=config.name,
            node_id=entropy.token(8).hex(),
            role="client",
            secret=config.secret,
            bytes_max=config.transport.handshake_bytes_max,
        )
        return Handshake("dialer", says, entropy.token(NONCE_BYTES))


class _Closing(asyncio.Protocol):
    """Closes the connection as soon as the handshake is done."""

    def __init__(self, peer: PeerInfo) -> None:
        self.peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def contact_all(
    contacts: Contacts, authorities: Iterable[str], *, until_member: bool = False
) -> Mapping[str, Contact]:
    """Dials all of them, `AT_ONCE` at the same time.

    Args:
        contacts: dials.
        authorities: each once.
        until_member: ends with the first group in which there is a member; the others are not dialled.
    """
    found: dict[str, Contact] = {}
    waiting = list(authorities)
    while waiting and not (until_member and Contact.MEMBER in found.values()):
        group, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        found.update(zip(group, await asyncio.gather(*map(contacts.contact, group)), strict=True))
    return found
