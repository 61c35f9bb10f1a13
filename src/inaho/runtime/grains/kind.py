"""What the runtime knows of one grain class, read once, when the class is defined.

The interface of a class are its public `async def` methods and async generators. Whatever is wrong with one of them is
an error in the module that defines the class, and not at the first call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from inaho.core.activation.placement import OWNER
from inaho.errors import InvalidGrain, NoSuchMethod, SchemaMismatch
from inaho.runtime.grains.interface import (
    HOOKS,
    Found,
    bindings,
    complete,
    find_methods,
    hints_of,
    make_state,
    state_type,
)
from inaho.runtime.grains.method import GrainMethod
from inaho.runtime.grains.method_options import OPTIONS
from inaho.runtime.grains.reminder_delivery import REMIND, delivery_method
from inaho.runtime.grains.subscribing import (
    GrainSubscription,
    is_for_messages,
    read_subscriptions,
    subscribed_methods,
)
from inaho.wire.codec import check_type, decoder

__all__ = ["GrainKind"]


class GrainKind:
    """What was read from one grain class.

    Args:
        cls: the class.
        name: of the kind.
        base: `Grain`, which imports this module; this module does not import it.
        reentrant, idle_ttl_s, on_failure, placement, role: see `Grain`.

    Attributes:
        cls: the class.
        name: of the kind, in the whole cluster.
        methods: by name.
        reentrant: turns need not wait for each other.
        idle_ttl_s: overrides `activation.idle_ttl_s`; None does not.
        on_failure: see `failure_policy`.
        placement: one of `core.activation.placement.STRATEGIES`.
        placed: the owner of an identity is not simply its host.
        role: a node must have it to host the kind; empty for any node.
        stateless_max: activations of one identity per node, see `stateless`; 0 for kinds that are active once.
        hidden: methods that the runtime calls but references do not have.
        hints: annotations of its methods as they were written, with type variables, for classes derived from it.
        state_type: class of the durable state; None for a kind without.
        decode_state: bytes to state.
        plain_start, plain_stop: `on_activate`, `on_deactivate` are not overridden, so both ends cost nothing.
        reminded: `on_reminder` is overridden: it may have reminders.
        subscriptions: topics whose messages its methods get, see `subscribing`.
    """

    def __init__(
        self,
        cls: type[Any],
        name: str,
        *,
        base: type[Any],
        reentrant: bool = False,
        idle_ttl_s: float | None = None,
        on_failure: str = "keep",
        placement: str = OWNER,
        role: str = "",
    ) -> None:
        self.cls: Any = cls
        self.name = name
        self.reentrant = reentrant
        self.idle_ttl_s = idle_ttl_s
        self.on_failure = on_failure
        self.placement = placement
        self.placed = placement != OWNER
        self.role = role
        self.stateless_max = 0
        self.methods: dict[str, GrainMethod] = {}
        self.hidden: dict[str, GrainMethod] = {}
        self.subscriptions: list[GrainSubscription] = []
        self.hints: dict[str, dict[str, Any]] = {}
        self.state_type: Any = None
        self.decode_state: Callable[[bytes | memoryview], Any] | None = None
        self.plain_start = cls.on_activate is base.on_activate
        self.plain_stop = cls.on_deactivate is base.on_deactivate
        self.reminded = cls.on_reminder is not base.on_reminder
        self._base = base
        self.has_init = cls.__init__ is not object.__init__
        self.proxy_class: type[Any] | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether only the name is known."""
        return self.cls is self._base

    def read(self, local_names: dict[str, Any]) -> None:
        """Reads state type and methods; `local_names` are those around the class statement."""
        cls = self.cls
        reserved = frozenset(name for name in vars(self._base) if not name.startswith("_")) - HOOKS
        bound = bindings(cls, local_names)
        self.state_type = state_type(cls, self._base, bound)
        if self.state_type is not None:
            check_type(self.state_type, f"the state of {self.name}")
            make_state(self.state_type, self.name)
            self.decode_state = decoder(self.state_type)
        elif self.on_failure == "reset" and not getattr(cls, "__parameters__", ()):
            raise InvalidGrain(f"{self.name} has no durable state to reset; give on_failure='stop' or none")
        if self.reminded:
            self.hidden[REMIND] = delivery_method(self.name)
        methods = {found.name: found for found in find_methods(cls, self._base, reserved, local_names)}
        subscribed = {name: Found(name, owner, function) for name, owner, function in subscribed_methods(cls)}
        for name, found in {**methods, **subscribed}.items():
            hints = self.hints[name] = hints_of(found, cls, local_names)
            scope = vars(sys.modules[found.function.__module__])
            known = bound.get(found.owner, {})
            hints = {each: complete(hint, known, scope) for each, hint in hints.items()}
            if name in subscribed:
                self._read_subscriptions(found, hints)
                if any(map(is_for_messages, hints.values())):
                    continue  # a message has a receipt, so no caller can send one
            if name in methods:
                options = getattr(found.function, OPTIONS, None)
                self.methods[name] = GrainMethod(self.name, name, found.function, options, hints)

    def _read_subscriptions(self, found: Found, hints: dict[str, Any]) -> None:
        for each in read_subscriptions(self.name, found, hints):
            self.subscriptions.append(each)
            self.hidden[each.deliver.name] = each.deliver
            self.hidden[each.redeliver.name] = each.redeliver

    def find(self, name: str, *, stream: bool) -> GrainMethod:
        """The method of that name.

        Raises:
            NoSuchMethod: there is none; the reason lists what there is.
            SchemaMismatch: it is a stream and the caller does not expect one, or the other way round.
        """
        found = self.methods.get(name) or self.hidden.get(name)
        if found is None:
            known = ", ".join(self.methods)
            raise NoSuchMethod(f"{self.name} has no method {name!r} here; it has: {known}", identity=self.name)
        if found.stream != stream:
            raise SchemaMismatch(f"{self.name}.{name} is a stream on one side only", identity=self.name)
        return found

    def uncallable(self) -> list[str]:
        """Public names of the class that a reference does not have."""
        return [name for name in dir(self.cls) if not name.startswith("_") and name not in self.methods]

    def explain_missing(self, name: str) -> str:
        """The reason why a reference lacks an attribute of that name of the class, for an `AttributeError`."""
        methods = ", ".join(self.methods)
        if not hasattr(self._base, name):
            return f"{name!r} of {self.name} is not called from outside: that are public async def methods, {methods}"
        return f"{self.name} has no {name!r} that can be called from outside; it has: {methods}"

    def new_state(self) -> Any:
        """State of an identity that was never saved."""
        return make_state(self.state_type, self.name)
