"""Network namespaces for a partition without a reset: each host is one, a bridge in another joins them.

Everything is made inside namespaces with a name of this run, so that the machine's own network is neither used nor
changed, and addresses cannot collide with it. A cut takes down the bridge's side of a host's cable: what is sent is
lost, nobody is told, and connections stay open at both ends, as with a switch that lost its power.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess

NETWORK = "10.99.7"


def run(*command: str) -> None:
    """One `ip` command; what it says is in the error."""
    done = subprocess.run(["ip", *command], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(command)}: {done.stderr.strip() or done.returncode}")


def why_not() -> str | None:
    """Why this machine cannot have such a network; None when it can.

    Raises:
        RuntimeError: `ip` is missing where every test must run.
    """
    if shutil.which("ip") is None:
        if os.environ.get("CI") == "true":
            raise RuntimeError("the command `ip` is missing: install the package iproute2")
        return "the command `ip` is missing (package iproute2)"
    trial = Islands(1)
    try:
        trial.build()
        run("netns", "exec", trial.names[0], "true")
    except OSError as error:
        return f"network namespaces are not permitted here: {error}"
    finally:
        trial.remove()
    return None


class Islands:
    """So many hosts on one network, each in a namespace of its own.

    Attributes:
        names: of the hosts' namespaces.
    """

    def __init__(self, count: int) -> None:
        prefix = f"inaho-{os.getpid()}-{secrets.token_hex(3)}"
        self._middle = f"{prefix}-middle"
        self.names = tuple(f"{prefix}-{number}" for number in range(count))
        self._made: list[str] = []

    def address(self, number: int) -> str:
        """The address of a host, reachable from the others only."""
        return f"{NETWORK}.{number + 1}"

    def command(self, number: int) -> tuple[str, ...]:
        """What stands before a command that is to run on that host; it becomes the command, with the same pid."""
        return ("ip", "netns", "exec", self.names[number])

    def build(self) -> None:
        """Makes namespaces, bridge and cables."""
        for name in (self._middle, *self.names):
            run("netns", "add", name)
            self._made.append(name)
        run("-n", self._middle, "link", "add", "bridge0", "type", "bridge")
        run("-n", self._middle, "link", "set", "bridge0", "up")
        for number, name in enumerate(self.names):
            port = f"port{number}"
            cable = ("type", "veth", "peer", "name", "eth0", "netns", name)
            run("-n", self._middle, "link", "add", port, *cable)
            run("-n", self._middle, "link", "set", port, "master", "bridge0", "up")
            run("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("-n", name, "link", "set", device, "up")

    def cut(self, number: int) -> None:
        """Nothing reaches that host, or leaves it, from now on."""
        run("-n", self._middle, "link", "set", f"port{number}", "down")

    def heal(self, number: int) -> None:
        """Undoes `cut`."""
        run("-n", self._middle, "link", "set", f"port{number}", "up")

    def remove(self) -> None:
        """Removes what `build` made, and nothing else; each namespace, even when another cannot be."""
        failures: list[OSError] = []
        while self._made:
            try:
                run("netns", "delete", self._made.pop())
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
