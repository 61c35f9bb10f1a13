"""Call chains: which turn waits for which, and the detection of cycles.

A call carries the list of the turns that wait for it. If a running turn of the called grain is in the list, the call
would wait for ever, so it is refused. A turn gets a number, on the node where it runs, when a chain first names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from inaho.errors import CallCycle
from inaho.runtime.grains.activation import Turn
from inaho.runtime.grains.activation_turns import waiting_turns
from inaho.wire.frames import ChainLink

__all__ = ["CallChains"]

SHOWN: Final = 5
"""How many of the last links of a too long chain its error names."""


class CallChains:
    """Extends and checks the call chains of one node.

    Args:
        node_id: returns the id of this node, for links.
        depth_max: how many turns may wait for one turn at most (`rpc.call_chain_max`).
    """

    def __init__(self, node_id: Callable[[], str], depth_max: int) -> None:
        self.depth_max = depth_max
        self._node_id = node_id
        self._numbers = 0

    def extend(self, turn: Turn, caller: Turn) -> None:
        """Adds `turn` to the chain of `caller`, which waits for it. Raises as `check_depth`."""
        if caller.depth >= self.depth_max:
            self.check_depth(caller, f"{turn.method.kind}.{turn.method.name}")
        turn.caller = caller
        turn.depth = caller.depth + 1

    def check_depth(self, caller: Turn, method: str) -> None:
        """Refuses a call made by `caller` that would make its chain too long.

        Raises:
            CallCycle: the chain is too long; probably grains call more and more grains and wait for them.
        """
        if caller.depth >= self.depth_max:
            names = [f"{link.kind}/{link.key}" for link in self.of(caller)[-SHOWN:]]
            raise CallCycle(
                f"more than {self.depth_max} turns wait for each other (rpc.call_chain_max), the last of them "
                f"{' -> '.join(names)} ({method})"
            )

    def of(self, turn: Turn | None) -> tuple[ChainLink, ...]:
        """All turns that wait for a call made by `turn`, outermost first; `turn` is the last one.

        For a hook (`on_activate`, `on_deactivate`) these are the turns that wait for the hook to end and the turns that
        wait for those, at most as many as a chain may have.
        """
        links: list[ChainLink] = []
        node_id = self._node_id()
        while turn is not None:
            grain = turn.grain
            links.append(ChainLink(grain._inaho_host.name, grain._inaho_key, node_id, self._number(turn)))
            if turn.caller is None:
                outer = self._of_waiting(turn) if turn.hook else turn.chain
                return (*outer, *reversed(links))
            turn = turn.caller
        return ()

    def _of_waiting(self, hook: Turn) -> tuple[ChainLink, ...]:
        found: dict[ChainLink, None] = {}
        for waiting in waiting_turns(hook.grain):
            links = waiting.chain if waiting.caller is None else self.of(waiting.caller)
            if len(found) + len(links) >= self.depth_max - 1:
                break
            found.update(dict.fromkeys(links))
        return tuple(found)

    def waits(self, running: list[Turn], turn: Turn) -> bool:
        """Whether one of the running turns waits, directly or through others, for `turn`."""
        outer: list[Turn] = [turn]
        hooks: list[Turn] = []
        while outer:
            following = outer.pop()
            caller = following.caller
            if caller is None:
                if not following.chain:
                    continue
                node_id = self._node_id()
                numbers = [each.id for each in running if each.id]
                if any(link.node_id == node_id and link.turn in numbers for link in following.chain):
                    return True
            elif any(caller is each for each in running):
                return True
            elif not caller.hook:
                outer.append(caller)
            elif not any(caller is hook for hook in hooks):
                hooks.append(caller)
                outer.extend(waiting_turns(caller.grain))
        return False

    def check_arriving(self, turn: Turn) -> None:
        """Checks a turn of a starting activation that the previous owner must release first.

        Raises:
            CallCycle: a turn of the identity still runs on the previous owner and waits for `turn`.
        """
        host, key, node_id = turn.grain._inaho_host, turn.grain._inaho_key, self._node_id()
        links = self._waiting_links(turn)
        elsewhere = any(link.key == key and link.kind == host.name and link.node_id != node_id for link in links)
        if elsewhere and host.waits_for_previous_owner(turn.grain):
            reason = f"{self.describe(turn)}; the first of these turns still runs on the previous owner"
            raise CallCycle(reason, identity=str(turn.grain.identity), authority=host.authority)

    def _waiting_links(self, turn: Turn) -> tuple[ChainLink, ...]:
        return self.of(turn.caller) if turn.caller is not None else turn.chain

    def describe(self, turn: Turn) -> str:
        """Describes the cycle that `turn` would close, for an error."""
        links = self._waiting_links(turn)
        names = [f"{link.kind}/{link.key}" for link in links]
        names.append(f"{turn.grain._inaho_host.name}/{turn.grain._inaho_key}")
        start = names.index(names[-1]) if names[-1] in names[:-1] else 0
        return f"the call would wait for itself: {' -> '.join(names[start:])} ({turn.method.name})"

    def _number(self, turn: Turn) -> int:
        if not turn.id:
            self._numbers += 1
            turn.id = self._numbers
        return turn.id
