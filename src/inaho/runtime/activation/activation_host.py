"""What the parts of a `KindHost` need from their host and from each other, and what the hosts of one node share.

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
    """What the hosts of one node share.

    Attributes:
        local: the node.
        runner: runs turns.
        leases: decide whether this node may activate an identity.
        count: of activations.
        states: load and save the states of activations.
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
        """Whether its activations are independent of the owners of partitions."""
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
        """Keeps the lifecycle states of its activations."""
        ...

    @property
    def starting(self) -> HostStarting:
        """Starts its activations."""
        ...

    @property
    def ending(self) -> HostEnding:
        """Ends its activations."""
        ...

    @property
    def resets(self) -> HostResets:
        """Loads the state of an activation again after a failure."""
        ...

    @property
    def streams(self) -> HostStreams:
        """The running streams of its activations."""
        ...

    @property
    def timers(self) -> HostTimers:
        """The timers of its activations."""
        ...

    @property
    def changes(self) -> Changes:
        """The starts, ends and resets of activations that are under way."""
        ...

    @property
    def gates(self) -> Gates:
        """Lets callers wait until an activation has started or ended."""
        ...

    # Its activations. See the methods of `KindHost`.

    def activate(self, key: str) -> Activation:
        """Makes the activation of an identity that this node owns. Raises as `KindHost.activate`."""
        ...

    def make_worker(self, key: str) -> Activation:
        """Makes a further activation of a stateless kind, for its pool. Raises as `activate`."""
        ...

    def lives(self, grain: Activation) -> bool:
        """Whether `grain` is an activation of this kind that has not ended."""
        ...

    def is_asked_for(self, key: str) -> bool:
        """Whether the next owner waits for the record of this activation."""
        ...

    def deactivate_soon(self, grain: Activation, reason: str) -> None:
        """Ends the activation after its running turns; at once when no turn runs."""
        ...

    def remove(self, grain: Activation, error: InahoError | None = None) -> None:
        """Removes an ended activation from all tables; `error` is the reason when it failed to start."""
        ...

    async def until_proved(self, grain: Activation) -> None:
        """Returns when a proof has shown that the activation has the stored state. Raises `InahoError` if none can."""
        ...


class HostLifecycle(Protocol):
    """Keeps the lifecycle states of the activations of one kind: a `Lifecycle`."""

    def state_of(self, grain: Activation) -> ActivationState:
        """The lifecycle state of an activation."""
        ...

    def reason_of(self, grain: Activation) -> str:
        """Why an activation ends or will end; empty if it does not end."""
        ...

    def is_in_use(self, grain: Activation) -> bool:
        """Whether a turn runs or waits at the activation, or its start, end or reset is under way."""
        ...

    def begin(self, grain: Activation) -> None:
        """An activation starts: its turns wait until `up`."""
        ...

    def up(self, grain: Activation) -> None:
        """An activation has started: its state is loaded and `on_activate` has returned."""
        ...

    def failed(self, grain: Activation) -> None:
        """An activation failed to start, or the program ended during its reset."""
        ...

    def deactivated(self, grain: Activation) -> None:
        """An activation has ended: `on_deactivate` has returned or failed."""
        ...

    def give_up(self, grain: Activation) -> None:
        """The start, end or reset of an activation takes too long."""
        ...

    def turn_failed(self, grain: Activation, method: str, reason: str) -> None:
        """A turn of `method` failed, and the kind has `on_failure="reset"`."""
        ...

    def reset_done(self, grain: Activation) -> None:
        """An activation has its saved state again."""
        ...

    def reset_failed(self, grain: Activation) -> None:
        """The saved state of an activation cannot be loaded, so the activation ends."""
        ...


class HostStarting(Protocol):
    """Starts the activations of one kind: a `Starting`."""

    def begin(self, grain: Activation, handed: ActivationRecord | None, again: bool) -> None:
        """Starts a new activation; `again`: an activation of this identity was unloaded here before."""
        ...

    def failed(self, grain: Activation, error: BaseException) -> None:
        """Removes an activation that failed to start, and answers its waiting turns with the failure."""
        ...

    def give_up(self, grain: Activation, error: BaseException) -> None:
        """As `failed`, for an activation that takes too long to start."""
        ...


class HostEnding(Protocol):
    """Ends the activations of one kind: an `Ending`."""

    def announce(self, grain: Activation, reason: str) -> None:
        """An activation will end: stops its timers, and gives it no new turns."""
        ...

    def begin(self, grain: Activation, reason: str) -> None:
        """Ends an activation at which no turn runs."""
        ...


class HostResets(Protocol):
    """Resets the states of one kind's activations: a `Resets`."""

    def begin(self, grain: Activation, method: str, reason: str) -> None:
        """Resets an activation at which no turn runs; `method` failed for `reason`."""
        ...

    def give_up(self, grain: Activation) -> None:
        """Ends an activation whose reset takes too long."""
        ...


class HostStreams(Protocol):
    """The running streams of one kind: a `StreamTurns`."""

    def __contains__(self, grain: Activation) -> bool:
        """Whether an activation has running streams."""
        ...

    def interrupt(self, grain: Activation, reason: str) -> object:
        """Ends the streams of an activation; consumers are notified at once."""
        ...

    async def end(self, grain: Activation, reason: str) -> None:
        """As `interrupt`; returns when the generators are closed, or after a limited time."""
        ...


class HostTimers(Protocol):
    """The timers of one kind's activations: an `ActivationTimers`."""

    def __contains__(self, key: str) -> bool:
        """Whether the activation of `key` has timers."""
        ...

    def used_at(self, key: str, now: float) -> float:
        """When a caller last used the activation of `key`, which has timers."""
        ...

    def end(self, grain: Activation) -> None:
        """Ends the timers of an activation."""
        ...


class HostPool(LeasePool, Protocol):
    """The further activations of a stateless kind: a `WorkerPool`."""

    def busy(self, key: str) -> bool:
        """Whether a turn runs or waits at one of the further activations of that identity."""
        ...

    def retire(self, grain: Activation, reason: str) -> None:
        """Gives an activation no new turns, since it begins to end."""
        ...
