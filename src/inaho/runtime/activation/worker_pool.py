"""The activations of a stateless kind on one node: decides when to add one and which one runs a call.

The first activation of an identity is in `KindHost.activations`, as for any kind, so a call that finds it idle takes
the usual path. The pool has the further activations, and chooses one when the first activation is busy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from inaho.core.activation.lease import Lease
from inaho.errors import Overloaded
from inaho.runtime.grains.activation_turns import count_turns, running_turns

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation, Turn

__all__ = ["WorkerPool"]


class WorkerPool:
    """The further activations of a stateless kind on one node.

    Args:
        host: the kind.

    Attributes:
        retiring: activations that end after their turns and get no new ones, by `id`, since users may define `__eq__`.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host
        self._extras: dict[str, list[Activation]] = {}
        self.retiring: dict[int, Activation] = {}

    def __len__(self) -> int:
        return sum(map(len, self._extras.values())) + len(self.retiring)

    def __iter__(self) -> Iterator[Activation]:
        """All further activations, including those that are ending."""
        for extras in self._extras.values():
            yield from extras
        yield from self.retiring.values()

    def __contains__(self, grain: Activation) -> bool:
        return any(grain is extra for extra in self._extras.get(grain._inaho_key, ())) or id(grain) in self.retiring

    def lease(self, key: str) -> Lease:
        """A lease of epoch 0, in no ledger: it excludes no other activation.

        Raises:
            Overloaded: the node has `activation.activations_max` activations.
        """
        local, count = self._host.local, self._host.around.count.count
        if count >= local.config.activation.activations_max:
            raise Overloaded(
                f"{count} activations are here (activation.activations_max)",
                identity=f"{self._host.name}/{key}",
                authority=local.authority,
            )
        return Lease(self._host.name, key, local.node_id, 0, local.now)

    def pick(self, primary: Activation, turn: Turn | None) -> Activation:
        """The activation for a call that finds the first one busy: an idle one, a new one, or the least busy.

        Args:
            primary: the activation of `KindHost.activations`.
            turn: the call, if it exists already. It gets no activation whose running turns wait for it.

        Raises:
            ActivationFailed: the user's constructor raised.
        """
        host, key = self._host, primary._inaho_key
        extras = self._extras.get(key, [])
        for extra in extras:
            if extra._inaho_turn is None:
                extra._inaho_touched = primary._inaho_touched = host.local.now
                return extra
        going = bool(host.lifecycle.reason_of(primary))
        room = host.around.count.count < host.local.config.activation.activations_max
        if len(extras) + 1 < host.kind.stateless_max and room and not going and host.around.leases.open:
            extra = host.make_worker(key)
            self._extras.setdefault(key, []).append(extra)
            host.starting.begin(extra, None, again=True)
            return extra
        able = [primary, *extras]
        if turn is not None:
            able = [grain for grain in able if not self._waits(grain, turn)] or able
        return min(able, key=_length)

    def _waits(self, grain: Activation, turn: Turn) -> bool:
        running = running_turns(grain)
        return bool(running) and self._host.around.runner.chains.waits(running, turn)

    def busy(self, key: str) -> bool:
        """Whether a turn runs or waits at one of the further activations of that identity."""
        return any(extra._inaho_turn is not None for extra in self._extras.get(key, ()))

    def retire(self, grain: Activation, reason: str) -> None:
        """Gives an activation no new turns, since it begins to end. With the first activation all further ones end."""
        key = grain._inaho_key
        extras = self._extras.get(key, [])
        left = [extra for extra in extras if extra is not grain]
        if len(left) < len(extras):
            self.retiring[id(grain)] = grain
            if left:
                self._extras[key] = left
            else:
                del self._extras[key]
        elif self._host.activations.get(key) is grain:
            for extra in extras:
                self._host.deactivate_soon(extra, reason)

    def remove(self, grain: Activation) -> bool:
        """Removes a further activation that has ended; False if `grain` is none."""
        self.retire(grain, "")
        return self.retiring.pop(id(grain), None) is not None

    def check(self) -> None:
        """Asserts the bound, and that no identity has further activations without a first one."""
        for key, extras in self._extras.items():
            assert 0 < len(extras) < self._host.kind.stateless_max, f"{len(extras)} extras of {key}"
            assert key in self._host.activations, f"extras of {key} without a first one"


def _length(grain: Activation) -> int:
    return sum(count_turns(grain))
