"""`Grain`, the class that users write, and what is read from it.

A grain's public `async def` methods (and async generators) are its interface. Everything about them is read when the
class is made, so that a type that cannot cross the wire is an error in the importing module and not at the first call.
An activation is the user's instance itself with six slots of ours: no wrapper, no queue, no lock, no Task while it is
idle, because a node holds millions.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, overload

from inaho.core.rpc.turns import TurnQueue
from inaho.errors import InvalidGrain, NoSuchMethod, SchemaMismatch
from inaho.runtime.grain_state import StateRecord, clear_state, save_state
from inaho.runtime.method import GrainMethod, MethodOptions
from inaho.runtime.turn import CURRENT, Turn
from inaho.types import ClusterIdentity, Epoch
from inaho.wire.codec import check_type, decoder

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from inaho.core.activation.lease import Lease
    from inaho.runtime.cluster import Cluster
    from inaho.runtime.kind import KindHost

    S = TypeVar("S", default=None)
    Function = TypeVar("Function", bound=Callable[..., Any])
else:
    from typing import TypeVar

    S = TypeVar("S")
    Function = TypeVar("Function")

__all__ = ["CallContext", "Grain", "GrainKind", "method"]

_OPTIONS: Final = "__inaho_method__"


@overload
def method(function: Function, /) -> Function: ...


@overload
def method(
    *, read_only: bool = False, idempotent: bool = False, timeout: float | None = None
) -> Callable[[Function], Function]: ...


def method(
    function: Any = None, /, *, read_only: bool = False, idempotent: bool = False, timeout: float | None = None
) -> Any:
    """Sets options of a grain's method.

    Args:
        read_only: the method changes nothing, so its turns may interleave with other read-only turns, and it is
            idempotent.
        idempotent: running it twice is the same as once, so a call whose outcome is unknown is retried.
        timeout: seconds until a call fails with `Timeout`, above 0; None takes `rpc.timeout_s`.

    Raises:
        InvalidGrain: the time-out is not above 0.
    """
    if timeout is not None and not timeout > 0:
        raise InvalidGrain(f"a method's timeout must be above 0 seconds, not {timeout}")

    def decorate(target: Any) -> Any:
        setattr(target, _OPTIONS, MethodOptions(read_only=read_only, idempotent=idempotent, timeout_s=timeout))
        return target

    return decorate if function is None else decorate(function)


class GrainKind:
    """What was read from one grain class.

    Attributes:
        cls: the class.
        name: of the kind, in the whole cluster.
        methods: by name.
        reentrant: turns need not wait for each other.
        idle_ttl_s: overrides `activation.idle_ttl_s`; None does not.
        state_type: class of the durable state; None for a kind without.
        decode_state: bytes to state.
        plain_start, plain_stop: `on_activate`, `on_deactivate` are not overridden, so both ends cost nothing.
    """

    def __init__(self, cls: type[Grain[Any]], name: str, *, reentrant: bool, idle_ttl_s: float | None) -> None:
        self.cls = cls
        self.name = name
        self.reentrant = reentrant
        self.idle_ttl_s = idle_ttl_s
        self.methods: dict[str, GrainMethod] = {}
        self.state_type: Any = None
        self.decode_state: Callable[[bytes | memoryview], Any] | None = None
        self.plain_start = cls.on_activate is Grain.on_activate
        self.plain_stop = cls.on_deactivate is Grain.on_deactivate
        self.has_init = cls.__init__ is not object.__init__
        self.proxy_class: type[Any] | None = None

    @classmethod
    def unknown(cls, name: str) -> GrainKind:
        """A kind of which only the name is known, for calls by name."""
        return cls(Grain, name, reentrant=False, idle_ttl_s=None)

    def read(self, local_names: dict[str, Any]) -> None:
        """Reads state type and methods; `local_names` are those around the class statement."""
        cls = self.cls
        self.state_type = _state_type(cls)
        if self.state_type is not None:
            check_type(self.state_type, f"the state of {self.name}")
            _make_state(self.state_type, self.name)
            self.decode_state = decoder(self.state_type)
        for name, function in _interface(cls):
            scope = {**vars(sys.modules[function.__module__]), **local_names, cls.__name__: cls}
            try:
                hints = typing.get_type_hints(function, scope, include_extras=True)
            except (NameError, TypeError, AttributeError, SyntaxError) as error:
                raise InvalidGrain(f"the annotations of {self.name}.{name} cannot be read: {error}") from error
            self.methods[name] = GrainMethod(self.name, name, function, getattr(function, _OPTIONS, None), hints)

    def find(self, name: str, *, stream: bool) -> GrainMethod:
        """The method of that name.

        Raises:
            NoSuchMethod: there is none; the reason lists what there is.
            SchemaMismatch: it is a stream and the caller does not expect one, or the other way round.
        """
        found = self.methods.get(name)
        if found is None:
            known = ", ".join(self.methods)
            raise NoSuchMethod(f"{self.name} has no method {name!r} here; it has: {known}", identity=self.name)
        if found.stream != stream:
            raise SchemaMismatch(f"{self.name}.{name} is a stream on one side only", identity=self.name)
        return found

    def new_state(self) -> Any:
        """State of an identity that was never saved."""
        return _make_state(self.state_type, self.name)


def _make_state(state_type: Any, kind: str) -> Any:
    try:
        return state_type()
    except TypeError as error:
        raise InvalidGrain(
            f"the state of {kind} ({state_type!r}) must be constructible without arguments: {error}"
        ) from error


def _state_type(cls: type[Any], given: tuple[Any, ...] = ()) -> Any:
    """S of `Grain[S]`, followed through generic bases; None where there is none. `given`: arguments of `cls` itself."""
    known: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), given, strict=False))
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin: Any = typing.get_origin(base) or base
        if not inspect.isclass(origin) or not issubclass(typing.cast(Any, origin), Grain):
            continue
        arguments: tuple[Any, ...] = tuple(
            known.get(given, given) if isinstance(given, typing.TypeVar) else given for given in typing.get_args(base)
        )
        state: Any = next(iter(arguments), None) if origin is Grain else _state_type(origin, arguments)
        if state is not None and state is not type(None) and not isinstance(state, typing.TypeVar):
            return state
    return None


def _interface(cls: type[Any]) -> list[tuple[str, Callable[..., Any]]]:
    """Public coroutine methods and async generators, sorted by name; inherited ones included."""
    found: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__):
        if base in (object, Generic) or base is Grain:
            continue
        for name, value in vars(base).items():
            marked = hasattr(value, _OPTIONS)
            if name.startswith("_") or name in _HOOKS:
                if marked:
                    raise InvalidGrain(f"{cls.__name__}.{name} has @method but is not a public method")
                continue
            if name in _RESERVED:
                raise InvalidGrain(f"{cls.__name__}.{name} hides Grain.{name}; choose another name")
            if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
                found[name] = value
            elif marked:
                raise InvalidGrain(f"{cls.__name__}.{name} has @method but is not an async def")
            else:
                found.pop(name, None)
    return sorted(found.items())


def _names_around(module: str) -> dict[str, Any]:
    """Local names where a class statement of `module` is being run, for annotations that are only text.

    Between here and there may lie a metaclass and the user's own `__init_subclass__`: those are passed over.
    """
    frame = sys._getframe(2)
    while frame.f_code.co_name in ("__new__", "__init_subclass__") or frame.f_globals.get("__name__") != module:
        if frame.f_back is None:
            return {}
        frame = frame.f_back
    return dict(frame.f_locals)


class CallContext:
    """The call that is running, as `self.context` gives it."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @property
    def caller(self) -> ClusterIdentity | None:
        """The grain that waits for this call; None when the caller is none."""
        turn = self._turn
        if turn.caller is not None:
            return turn.caller.grain.identity
        if turn.chain:
            return ClusterIdentity(turn.chain[-1].kind, turn.chain[-1].key)
        return None

    @property
    def caller_authority(self) -> str:
        """Node that the call came from; empty for a client, this node's own for a local call."""
        connection = self._turn.connection
        return self._turn.grain._inaho_host.authority if connection is None else connection.peer.authority

    @property
    def deadline(self) -> float:
        """When the caller stops waiting, in seconds of the loop's clock."""
        return self._turn.deadline

    @property
    def trace(self) -> str:
        """W3C `traceparent` of the caller; empty when not traced."""
        return self._turn.trace

    @property
    def epoch(self) -> Epoch:
        """Fencing token of this activation, for the user's own databases: it only grows for one identity."""
        return self._turn.grain._inaho_lease.epoch


class Grain(Generic[S]):
    """Base of grains: `class Cart(Grain[CartState])`, or `class Echo(Grain)` without durable state.

    Class arguments:
        name: name of the kind in the cluster; the class's name unless given.
        reentrant: turns of one activation may interleave at every await.
        idle_ttl_s: seconds without a call after which an activation is unloaded; 0 keeps it.

    Methods whose names do not begin with an underscore and that are `async def` can be called from anywhere. Turns of
    one activation run one after another. Async generators are streams: they interleave with turns, since a consumer
    may take its time, and should not rely on the state between two `yield`s.

    Raises:
        InvalidGrain: when the class is made, if it cannot be served.
    """

    __slots__ = ("_inaho_host", "_inaho_key", "_inaho_lease", "_inaho_record", "_inaho_touched", "_inaho_turn")

    inaho_kind: ClassVar[GrainKind]

    _inaho_host: KindHost
    _inaho_key: str
    _inaho_turn: Turn | TurnQueue[Turn] | None
    _inaho_touched: float
    _inaho_lease: Lease
    _inaho_record: StateRecord | None

    def __init_subclass__(
        cls, *, name: str = "", reentrant: bool = False, idle_ttl_s: float | None = None, **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        if idle_ttl_s is not None and idle_ttl_s < 0:
            raise InvalidGrain(f"{cls.__name__}: idle_ttl_s must be 0 or more, not {idle_ttl_s}")
        kind = GrainKind(cls, name or cls.__name__, reentrant=reentrant, idle_ttl_s=idle_ttl_s)
        kind.read(_names_around(cls.__module__))
        cls.inaho_kind = kind

    @property
    def key(self) -> str:
        """Key of this identity within its kind."""
        return self._inaho_key

    @property
    def identity(self) -> ClusterIdentity:
        """Kind and key."""
        return ClusterIdentity(self._inaho_host.name, self._inaho_key)

    @property
    def cluster(self) -> Cluster:
        """The cluster, for calling other grains: `self.cluster.grain(Other, key)`."""
        return self._inaho_host.node.cluster

    @property
    def context(self) -> CallContext:
        """The call that is running.

        Raises:
            RuntimeError: outside a call, as in a Task that outlives its turn.
        """
        scope = CURRENT.get()
        if scope is None or scope.over or scope.turn is None or scope.turn.grain is not self:
            raise RuntimeError(f"no call is running at {self.identity}")
        return CallContext(scope.turn)

    @property
    def state(self) -> S:
        """Durable state, loaded before the first call. Changes last from the next `save`."""
        return self._stateful().value  # type: ignore[no-any-return]

    @state.setter
    def state(self, value: S) -> None:
        self._stateful().value = value

    async def save(self) -> None:
        """Makes the state durable, fenced by version and epoch. When it returns, the state is committed.

        Raises:
            StateConflict: another activation has saved since; this one is stale and is stopped.
            StorageFailed: the outcome is unknown.
            SerializationFailed: the state has no encoding.
        """
        await save_state(self._inaho_host, self, self._stateful())

    async def clear(self) -> None:
        """Deletes the saved state and begins with a new one. Raises as `save`."""
        await clear_state(self._inaho_host, self, self._stateful())

    def deactivate(self) -> None:
        """Unloads this activation when its running turns have ended; the next call makes a new one."""
        self._inaho_host.deactivate_soon(self, "requested")

    async def on_activate(self) -> None:
        """Runs once before the first call, with the state loaded. Raising fails the activation."""

    async def on_deactivate(self, reason: str) -> None:
        """Runs after the last turn: `reason` is idle, moved, requested, failed or shutdown. Not run on a crash."""

    def _stateful(self) -> StateRecord:
        record = self._inaho_record
        if record is None:
            raise RuntimeError(f"{self._inaho_host.name} has no durable state: derive it from Grain[SomeStruct]")
        return record

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_inaho_key', '(not activated)')!r}>"


_HOOKS: Final = frozenset({"on_activate", "on_deactivate"})
_RESERVED: Final = frozenset(name for name in vars(Grain) if not name.startswith("_")) - _HOOKS
