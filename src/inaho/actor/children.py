"""Holds the children of one actor or guardian, by name.

A name is free again when its actor has ended entirely, not when it was told to: two lives of one name never overlap.
"""

from __future__ import annotations

from typing import Protocol

from inaho.actor.names import check_name
from inaho.actor.ref import ActorRef, StopReason
from inaho.errors import NameInUse

__all__ = ["Child", "Children", "Parent"]


class Child(Protocol):
    """What a parent needs of a child cell."""

    @property
    def path(self) -> str: ...

    @property
    def ref(self) -> ActorRef: ...

    def request_stop(self, reason: StopReason) -> None:
        """Ends it after its current message."""
        ...

    def resume(self) -> None:
        """The parent has decided about an escalated failure: continue."""
        ...


class Parent(Protocol):
    """What a cell needs of its parent: another cell, or a guardian."""

    @property
    def path(self) -> str: ...

    @property
    def depth(self) -> int: ...

    @property
    def ref(self) -> ActorRef | None: ...

    @property
    def children(self) -> Children: ...

    def child_terminated(self, child: Child) -> None:
        """The child has ended."""
        ...

    def child_escalated(self, child: Child, error: Exception) -> None:
        """The child failed and waits for a decision."""
        ...


class Children:
    """Living children in the order they were spawned.

    Args:
        path: of their parent.
    """

    __slots__ = ("_by_name", "_next_number", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._by_name: dict[str, Child] = {}
        self._next_number = 1

    def __len__(self) -> int:
        return len(self._by_name)

    def choose_name(self, wanted: str | None) -> str:
        """`wanted` if it is free, or a new name.

        Raises:
            NameInUse: a living child has it.
            InvalidConfig: it cannot be part of a path.
        """
        if wanted is None:
            name = f"${self._next_number}"
            self._next_number += 1
            return name
        check_name(wanted)
        if wanted in self._by_name:
            raise NameInUse("an actor of this name is alive", identity=f"{self._path}/{wanted}")
        return wanted

    def add(self, name: str, child: Child) -> None:
        """Adds a child under a name that `choose_name` gave."""
        self._by_name[name] = child

    def remove(self, child: Child) -> None:
        """Forgets a child that has ended; does nothing if it is not there."""
        if self._by_name.get(child.ref.name) is child:
            del self._by_name[child.ref.name]

    def refs(self) -> tuple[ActorRef, ...]:
        """References of the living."""
        return tuple(child.ref for child in self._by_name.values())

    def request_stop(self, reason: StopReason) -> None:
        """Tells all to end, the youngest first."""
        for child in reversed(list(self._by_name.values())):
            child.request_stop(reason)
