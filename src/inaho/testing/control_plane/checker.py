"""The interface of a checker of simulated control planes, and its error."""

from __future__ import annotations

from inaho.core.effects import Effect
from inaho.core.inputs import Input
from inaho.core.node import ControlNode
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member

__all__ = ["CheckFailed", "Checker", "life_of"]

_GENERATION_BITS = 20


class CheckFailed(AssertionError):  # noqa: N818
    """A condition does not hold.

    Attributes:
        checker: name of the checker.
    """

    def __init__(self, checker: str, message: str) -> None:
        super().__init__(f"{checker}: {message}")
        self.checker = checker


class Checker:
    """Base of all checkers: sees each step, and the end."""

    name = "nothing"

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        """Checks the result of a step."""

    def at_end(self, simulation: ControlSimulation) -> None:
        """Checks the final state, after the cluster has healed and converged."""

    def fail(self, message: str) -> CheckFailed:
        """The failure to raise."""
        return CheckFailed(self.name, message)


def life_of(member: Member) -> tuple[str, int]:
    """Node id and generation: what a removal ends."""
    return (member.node_id, member.incarnation >> _GENERATION_BITS)
