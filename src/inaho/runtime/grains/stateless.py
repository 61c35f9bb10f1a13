"""`@inaho.stateless`: kinds that each host activates for its own calls, several activations at once.

Two activations of a stateless kind cannot disagree about anything, so there is no owner to ask and no lease. A host of
the kind runs its own calls; other members call the owner by hash, as for any kind. Clients call the hosts in turn: a
member is one caller of many, but a client may be the only one. `inaho.runtime.activation.worker_pool` decides how many
activations there are at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from inaho.core.activation.placement import OWNER
from inaho.errors import InvalidGrain

if TYPE_CHECKING:
    from inaho.runtime.grains.grain import Grain

__all__ = ["stateless"]

GrainClass = TypeVar("GrainClass", bound="type[Grain[Any]]")


def stateless(*, max: int) -> Callable[[GrainClass], GrainClass]:
    """Class decorator: activations live on the node that calls, up to `max` per identity and node.

    Each activation still runs one turn at a time, and no two calls need meet the same one. A process that hosts the
    kind calls its own activations; a member that does not host it calls those of one member, and a client those of all
    that host it: with each call of a method, those of the next member. A client that has not the class and calls by
    name (`Cluster.call`) cannot tell that the kind is stateless: its calls of one key all reach one member. A class
    derived from it is not stateless unless it is decorated too.

    Args:
        max: activations of one identity on one node, at least 1.

    Raises:
        InvalidGrain: the class has durable state, reminders, subscriptions or a placement, or `max` is below 1.
    """

    def decorate(cls: GrainClass) -> GrainClass:
        kind = vars(cls).get("inaho_kind")
        if kind is None:
            raise InvalidGrain(f"{cls!r} is not a Grain class")
        if max < 1:
            raise InvalidGrain(f"{kind.name}: max must be at least 1, not {max}")
        if kind.state_type is not None:
            raise InvalidGrain(f"{kind.name} has durable state, which several activations would not agree on")
        if kind.reminded:
            raise InvalidGrain(f"{kind.name} has on_reminder, and a reminder belongs to one activation")
        if kind.subscriptions:
            raise InvalidGrain(f"{kind.name} has @subscribe, and the messages of a key belong to one activation")
        if kind.placement != OWNER:
            raise InvalidGrain(f"{kind.name}: stateless workers run where they are called; give no placement")
        kind.stateless_max = max
        return cls

    return decorate
