"""The control plane of one node, as the other parts see it: on a client, and before a member starts, there is none.

Parts report what they observe without a check whether there is a control plane. So none of them must know that a client
has none, or when that of a member begins.
"""

from __future__ import annotations

import asyncio

from inaho.core.inputs import Input
from inaho.core.node import ControlNode
from inaho.core.node.lifecycle import LEAVING, MEMBER, NEW, Stage
from inaho.runtime.control.driver import Driver
from inaho.types import MemberStatus

__all__ = ["ControlPlane"]


class ControlPlane:
    """Takes inputs for the control plane of one node, if it has one.

    Attributes:
        driver: runs the machine; None on a client, and before `begin`.
    """

    def __init__(self) -> None:
        self.driver: Driver | None = None

    def begin(self, driver: Driver) -> None:
        """The member starts."""
        self.driver = driver

    @property
    def machine(self) -> ControlNode | None:
        """The state machine; None on a client, and before `begin`."""
        return None if self.driver is None else self.driver.control

    @property
    def is_member(self) -> bool:
        """Whether the cluster has admitted this node."""
        return self.driver is not None and self.driver.joined.done()

    @property
    def incarnation(self) -> int:
        """Of this node; 0 on a client, and while it is no member: before its admission, and after a removal."""
        if self.driver is None or self.driver.control.stage not in (MEMBER, LEAVING):
            return 0
        return self.driver.control.member.incarnation

    @property
    def stage(self) -> Stage:
        """Where the life of this node stands; `new` on a client, and before `begin`."""
        return NEW if self.driver is None else self.driver.control.stage

    @property
    def up(self) -> tuple[str, ...]:
        """The authorities of the members that are up, sorted; empty on a client, and before `begin`."""
        members = () if self.driver is None else self.driver.control.topology.members
        return tuple(member.authority for member in members if member.status is MemberStatus.UP)

    def loads(self) -> dict[str, float]:
        """The known loads of members, by node id."""
        return {} if self.driver is None else dict(self.driver.control.loads())

    def feed(self, given: Input) -> None:
        """Runs one step of the machine, if there is one."""
        if self.driver is not None:
            self.driver.feed(given)

    async def wait_left(self, within_s: float) -> bool:
        """Waits until the leave is acknowledged, at most `within_s` seconds. Returns whether it is."""
        if self.driver is None:
            return True
        await asyncio.wait((self.driver.left,), timeout=within_s)
        return self.driver.left.done()

    def stop(self) -> None:
        """No further step."""
        if self.driver is not None:
            self.driver.stop()
