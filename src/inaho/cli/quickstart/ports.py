"""Reserves free ports, so that no other process takes them before a node binds them.

A port that was only looked up may be taken by another run before the node binds it, so two quickstarts at once would
sometimes collide. A reservation holds a bound socket for each port instead, for the duration of the run.
"""

from __future__ import annotations

import socket
import sys

from inaho.authority import Authority
from inaho.errors import InvalidConfig

__all__ = ["Reservation"]


class Reservation:
    """Ports that no other process gets while this object is open.

    On Linux a bound socket that does not listen keeps the port from being handed out and lets a node bind it
    explicitly, since both set SO_REUSEADDR. On other systems the port is released at once, and another process may get
    it in the next moments.

    Args:
        host: to bind.
        count: how many ports.

    Raises:
        InvalidConfig: the host cannot be bound.
    """

    def __init__(self, host: str, count: int) -> None:
        self._sockets: list[socket.socket] = []
        self.authorities: list[str] = []
        try:
            for _ in range(count):
                self._sockets.append(reserved := _bound(host))
                self.authorities.append(str(Authority(host, reserved.getsockname()[1])))
        except OSError as error:
            self.close()
            raise InvalidConfig(f"cannot bind a port of {host}: {error.strerror or error}") from error
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Releases the ports."""
        for reserved in self._sockets:
            reserved.close()
        self._sockets.clear()


def _bound(host: str) -> socket.socket:
    found = sorted(socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM), key=lambda entry: entry[0] != socket.AF_INET)
    family, *_, address = found[0]
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
    except OSError:
        reserved.close()
        raise
    return reserved
