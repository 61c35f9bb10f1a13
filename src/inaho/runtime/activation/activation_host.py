"""What the parts of a `KindHost` need of their host and of each other, and what the hosts of one node share.

`KindHost` makes its parts, so it imports them, and a part must not import `KindHost`. The parts name `ActivationHost`
instead. A part reaches another part through the host, and each of them has a protocol here with what the others call.

Why the parts get the host and not each other: they call each other in both directions, so none of them can be made
last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from inaho.runtime.activation.leases import LeasePool

if TYPE_CHECKING:
    from inaho.core.activation.life import ActivationState
    from inaho.errors import InahoError
    from inaho.runtime.activation.activation_count import ActivationCount
    from inaho.runtime.activation.changes import Changes, Gates
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.activation.ports import Freshness, Ownership, Services
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.activation.state import States
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.turns.runner import TurnRunner

__all__ = ["ActivationHost", "Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that the hosts of one node share.

    Attributes:
        local: the node.
        runner: runs turns.
        leases: the right to activate.
        count: of activations.
        states: loads and saves.
        ownership, freshness, services: see their classes.
    """

    local: LocalNode
    runner: TurnRunner
    leases: Leases
    count: ActivationCount
    states: States
    ownership: Ownership
    freshness: Freshness
    services: Services


class ActivationHost(Protocol):
    """A kind on one node, as the parts of its host know it: a `KindHost`."""

    @property
    def name(self) -> str:
        """Of the kind."""
        ...

    @property
    def kind(self) -> GrainKind:
        """What was read from the class."""
        ...

    @property
    def local(self) -> LocalNode:
        """The node."""
        ...

    @property
    def authority(self) -> str:
        """Of the node."""
        ...

    @property
    def around(self) -> Surroundings:
        """What the hosts of the node share."""
        ...

    @property
    def activations(self) -> Mapping[str, Activation]:
        """By key."""
        ...

    @property
    def apart(self) -> bool:
        """Its activations do not follow the owners of partitions."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether code of grains is cancelled because the node or its program ends."""
        ...

    # Its parts.

    @property
    def pool(self) -> HostPool | None:
        """The further activations of a stateless kind; None for all others."""
        ...

    @property
    def lifecycle(self) -> HostLifecycle:
        """The states of its activations."""
        ...

    @property
    def starting(self) -> HostStarting:
        """How its activations come up."""
        ...

    @property
    def ending(self) -> HostEnding:
        """How its activations end."""
        ...

    @property
    def resets(self) -> HostResets:
        """How their states are loaded again after a failure."""
        ...

    @property
    def streams(self) -> HostStreams:
        """Their running streams."""
        ...

    @property
    def timers(self) -> HostTimers:
        """Their timers."""
        ...

    @property
    def changes(self) -> Changes:
        """What is under way with them."""
        ...

    @property
    def gates(self) -> Gates:
        """Who waits for them."""
        ...

    # Its activations. See the methods of `KindHost`.

    def activate(self, key: str) -> Activation:
        """Makes the activation of an identity that this node owns. Raises as `KindHost.activate`."""
        ...

    def make_worker(self, key: str) -> Activation:
        """A further activation of a stateless kind, for its pool. Raises as `activate`."""
        ...

    def lives(self, grain: Activation) -> bool:
        """Whether it is an activation of this kind and not a former one."""
        ...

    def is_asked_for(self, key: str) -> bool:
        """Whether the next owner waits for what the activation had."""
        ...

    def deactivate_soon(self, grain: Activation, reason: str) -> None:
        """Ends the activation when its running turns have; at once when there are none."""
        ...

    def remove(self, grain: Activation, error: InahoError | None = None) -> None:
        """Takes an activation that is gone out of all tables; `error` says why it did not come up."""
        ...

    async def until_proved(self, grain: Activation) -> None:
        """Returns when the activation has proved that it has what is stored. Raises `InahoError` when it cannot."""
        ...


class HostLifecycle(Protocol):
    """The states of the activations of one kind: a `Lifecycle`."""

    def state_of(self, grain: Activation) -> ActivationState:
        """The state of an activation."""
        ...

    def reason_of(self, grain: Activation) -> str:
        """Why an activation ends, or is to end; empty while it does not."""
        ...

    def is_in_use(self, grain: Activation) -> bool:
        """Whether a turn runs or waits at it, or something is under way with it."""
        ...

    def begin(self, grain: Activation) -> None:
        """It is made, and its turns wait until it is `up`."""
        ...

    def up(self, grain: Activation) -> None:
        """Its state is loaded and `on_activate` has returned."""
        ...

    def failed(self, grain: Activation) -> None:
        """It did not come up, or the program has ended during its reset: it is gone."""
        ...

    def deactivated(self, grain: Activation) -> None:
        """`on_deactivate` is over: it is gone."""
        ...

    def give_up(self, grain: Activation) -> None:
        """What is under way with it takes too long."""
        ...

    def turn_failed(self, grain: Activation, method: str, reason: str) -> None:
        """A turn has failed, and the kind has its state reset then."""
        ...

    def reset_done(self, grain: Activation) -> None:
        """Its state is what was saved last."""
        ...

    def reset_failed(self, grain: Activation) -> None:
        """What was saved last cannot be loaded: it ends."""
        ...


class HostStarting(Protocol):
    """Brings up the activations of one kind: a `Starting`."""

    def begin(self, grain: Activation, handed: ActivationRecord | None, again: bool) -> None:
        """Brings up an activation that has been made; `again`: it was unloaded here before."""
        ...

    def failed(self, grain: Activation, error: BaseException) -> None:
        """An activation did not come up: it is gone, and its turns are answered with the failure."""
        ...

    def give_up(self, grain: Activation, error: BaseException) -> None:
        """As `failed`, of an activation that takes too long to come up."""
        ...


class HostEnding(Protocol):
    """Ends the activations of one kind: an `Ending`."""

    def announce(self, grain: Activation, reason: str) -> None:
        """It is certain that an activation ends."""
        ...

    def begin(self, grain: Activation, reason: str) -> None:
        """Ends an activation where no turn runs."""
        ...


class HostResets(Protocol):
    """Loads the states of one kind's activations again: a `Resets`."""

    def begin(self, grain: Activation, method: str, reason: str) -> None:
        """Resets an activation where no turn runs, since `method` has failed for that reason."""
        ...

    def give_up(self, grain: Activation) -> None:
        """A reset takes too long: the activation ends."""
        ...


class HostStreams(Protocol):
    """The running streams of one kind: a `StreamTurns`."""

    def __contains__(self, grain: Activation) -> bool:
        """Whether an activation has any."""
        ...

    def interrupt(self, grain: Activation, reason: str) -> object:
        """The activation ends, or is gone: consumers are told at once."""
        ...

    async def end(self, grain: Activation, reason: str) -> None:
        """As `interrupt`; returns when the generators are closed, or after a limited time."""
        ...


class HostTimers(Protocol):
    """The timers of one kind's activations: an `ActivationTimers`."""

    def __contains__(self, key: str) -> bool:
        """Whether the activation of `key` has any."""
        ...

    def used_at(self, key: str, now: float) -> float:
        """When the activation of `key`, which has timers, was last of use to others."""
        ...

    def end(self, grain: Activation) -> None:
        """The activation ends, and its timers with it."""
        ...


class HostPool(LeasePool, Protocol):
    """The further activations of a stateless kind: a `WorkerPool`."""

    def busy(self, key: str) -> bool:
        """Whether one of the further activations of that identity has something to do."""
        ...

    def retire(self, grain: Activation, reason: str) -> None:
        """Gives an activation no new turns, since it begins to end."""
        ...
