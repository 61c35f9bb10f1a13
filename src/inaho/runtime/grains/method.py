"""What the runtime knows of one grain method, read from its signature once, when the class is defined.

The signature gives: the decoder for arguments and result (typed, so decoding validates), the function that callers call
(with the same signature, so wrong arguments raise at the line of the call), and, per parameter, which classes can be
passed within a process as they are. During a call the signature is not read.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from functools import cached_property
from typing import Any, Final, Protocol

from inaho.errors import FrameTooLarge, InahoError, InvalidArguments, InvalidGrain, SchemaMismatch, SerializationFailed
from inaho.errors.inspection import text_of
from inaho.runtime.grains.caller_functions import make_caller
from inaho.runtime.grains.method_options import MethodOptions
from inaho.runtime.local.local_node import LocalNode
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, check_type, decoder, encode
from inaho.wire.frames import HEADER_REST, SIGNATURE_CHARS_MAX, Definition
from inaho.wire.limits import bounded, repeats
from inaho.wire.plain import check_of, classes_of

__all__ = ["STREAMS", "GrainMethod"]

STREAMS: Final = (AsyncIterator, AsyncGenerator, AsyncIterable)
METHODS_MAX: Final = 0xFFFF
PARAMETERS_MAX: Final = 255

METHODS: list[GrainMethod] = []
"""Every method of this process by its number, which is also its number on connections that this process dials."""

_untyped: Final[dict[tuple[str, str, int, bool], GrainMethod]] = {}


def _is_required(parameter: inspect.Parameter) -> bool:
    """Whether every caller must give it."""
    starred = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not starred


def _never(result: Any) -> bool:
    return False


class ValueHost(Protocol):
    """The node on which a value is copied, as the errors and limits of copies need it."""

    @property
    def local(self) -> LocalNode:
        """Has the limits."""
        ...

    @property
    def authority(self) -> str:
        """Of the node."""
        ...


class GrainMethod:
    """One method of one kind.

    Attributes:
        kind: name of the kind.
        name: of the method.
        number: its index in `METHODS`.
        function: as the user wrote it.
        simple: all parameters are positional, so `function(grain, *arguments)` does.
        call: `(grain, arguments) -> coroutine`, where `arguments` are in the order of the parameters.
        stream: whether it gives an async iterator.
        is_use: a turn of it keeps the activation from being unloaded; not so for ticks of timers (`TickMethod`).
        read_only, idempotent, timeout_s, attempt_timeout_s: see `method_options`.
        signature: text, for diagnosis.
        arity: number of parameters.
        required: parameters without a default, counted from the first.
        plain_results: classes whose exact instances need no copy within a process when they are results.
        is_plain_result: whether a result of another class needs none either.
        decode_result: bytes to result.
    """

    is_use = True

    def __init__(
        self,
        kind: str,
        name: str,
        function: Callable[..., Any],
        options: MethodOptions | None,
        hints: dict[str, Any],
    ) -> None:
        self.kind = kind
        self.name = name
        self.function = function
        self.read_only = options is not None and options.read_only
        self.idempotent = options is not None and (options.idempotent or options.read_only)
        self.timeout_s = options.timeout_s if options is not None else None
        self.attempt_timeout_s = options.attempt_timeout_s if options is not None else None
        signature = inspect.signature(function)
        self.parameters = list(signature.parameters.values())[1:]
        resolved = [p.replace(annotation=hints.get(p.name, p.empty)) for p in self.parameters]
        self.signature = str(
            signature.replace(parameters=resolved, return_annotation=hints.get("return", signature.empty))
        )
        self.arity = len(self.parameters)
        self.required = sum(map(_is_required, self.parameters))
        self._types = [self._type_of(parameter, hints) for parameter in self.parameters]
        self.result = self._result_type(function, hints)
        if self.stream and self.attempt_timeout_s is not None:
            raise InvalidGrain(
                f"{kind}.{name} is a stream, which has no attempt_timeout: its items cannot be taken back"
            )
        self.plain_results = classes_of(self.result)
        self.is_plain_result = check_of(self.result) or _never
        self.decode_result = decoder(list[self.result] if self.stream else self.result)  # type: ignore[name-defined]
        self._decoders: dict[int, Callable[[bytes | memoryview], Any]] = {}
        self._repeats: list[bool] = []
        kinds = {parameter.kind for parameter in self.parameters}
        self.simple = kinds <= {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self.call = self._adapter()
        if self.arity > PARAMETERS_MAX:
            raise InvalidGrain(f"{kind}.{self.name} has {self.arity} parameters, the most is {PARAMETERS_MAX}")
        if len(METHODS) >= METHODS_MAX:
            raise InvalidGrain(f"more than {METHODS_MAX} grain methods in one process")
        self.number = len(METHODS)
        METHODS.append(self)

    @classmethod
    def untyped(cls, kind: str, name: str, arity: int, *, stream: bool) -> GrainMethod:
        """A method of which only names are known: what it takes and gives is plain data."""
        known = _untyped.get((kind, name, arity, stream))
        if known is None:
            names = ", ".join(f"a{index}" for index in range(arity))
            scope: dict[str, Any] = {}
            exec(f"async def untyped(self, {names}):\n    {'yield' if stream else 'pass'}\n", scope)  # noqa: S102
            known = _untyped[kind, name, arity, stream] = cls(kind, name, scope["untyped"], None, {})
            known.signature = ""  # no annotations: a mismatch is a mistake of the caller
        return known

    def _type_of(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
        kind = hints.get(parameter.name, Any)
        check_type(kind, f"parameter {parameter.name!r} of {self.kind}.{self.name}")
        if parameter.kind is parameter.VAR_POSITIONAL:
            return tuple[kind, ...]  # type: ignore[valid-type]
        if parameter.kind is parameter.VAR_KEYWORD:
            return dict[str, kind]  # type: ignore[valid-type]
        return kind

    def _result_type(self, function: Callable[..., Any], hints: dict[str, Any]) -> Any:
        result = hints.get("return", Any)
        gives_stream = typing.get_origin(result) in STREAMS or result in STREAMS
        if gives_stream and inspect.iscoroutinefunction(function):
            raise InvalidGrain(
                f"{self.kind}.{self.name} is a coroutine that returns an async iterator; write it as an async "
                "generator (async def with yield), which callers iterate without await"
            )
        self.stream = gives_stream or inspect.isasyncgenfunction(function)
        if self.stream:
            arguments = typing.get_args(result)
            result = arguments[0] if arguments else Any
        check_type(result, f"the result of {self.kind}.{self.name}")
        return result

    def _adapter(self) -> Callable[[Any, tuple[Any, ...]], Any]:
        """`call`: the fastest way from a tuple of arguments to the user's function."""
        function = self.function
        if self.simple:
            return lambda grain, arguments: function(grain, *arguments)

        parameters = self.parameters

        def call(grain: Any, arguments: tuple[Any, ...]) -> Any:
            positional: list[Any] = []
            named: dict[str, Any] = {}
            for parameter, value in zip(parameters, arguments, strict=False):
                if parameter.kind is parameter.VAR_POSITIONAL:
                    positional.extend(value)
                elif parameter.kind is parameter.VAR_KEYWORD:
                    named.update(value)
                elif parameter.kind is parameter.KEYWORD_ONLY:
                    named[parameter.name] = value
                else:
                    positional.append(value)
            return function(grain, *positional, **named)

        return call

    # Callee.

    def arguments_decoder(self, arity: int) -> Callable[[bytes | memoryview], Any]:
        """Decodes `(key, argument, …)` from a caller that sends `arity` arguments.

        A caller of an older release may send fewer, where the rest have defaults.

        Raises:
            SchemaMismatch: it sends more than there are, or fewer than are needed.
        """
        known = self._decoders.get(arity)
        if known is None:
            least = max((index + 1 for index, p in enumerate(self.parameters) if _is_required(p)), default=0)
            if not least <= arity <= self.arity:
                raise SchemaMismatch(
                    f"the caller sends {arity} arguments, while {self.kind}.{self.name}{self.signature} takes "
                    f"{least} to {self.arity} here",
                    identity=self.kind,
                )
            known = self._decoders[arity] = decoder(tuple[(str, *self._types[:arity])])  # type: ignore[misc]
        return known

    def takes_many(self, arity: int) -> bool:
        """Whether the first `arity` arguments can hold any number of containers, see `wire.limits`."""
        if not self._repeats:
            self._repeats = [repeats(kind) for kind in self._types]
        return any(self._repeats[:arity])

    @cached_property
    def gives_many(self) -> bool:
        """As `takes_many`, for a result or a batch of a stream."""
        return repeats(list[self.result] if self.stream else self.result)  # type: ignore[name-defined]

    def complete(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments of a call by name, in the order of the parameters, with the defaults of those left out.

        Raises:
            SchemaMismatch: there are too many or too few.
        """
        self.arguments_decoder(len(arguments))
        rest = self.parameters[len(arguments) :]
        starred: dict[Any, Any] = {inspect.Parameter.VAR_POSITIONAL: (), inspect.Parameter.VAR_KEYWORD: {}}
        return (*arguments, *(starred.get(parameter.kind, parameter.default) for parameter in rest))

    def bounded_arguments_decoder(self, arity: int, containers_max: int) -> Callable[[bytes | memoryview], Any]:
        """As `arguments_decoder`, within `transport.containers_max`."""
        decode = self.arguments_decoder(arity)
        return bounded(decode, containers_max) if self.takes_many(arity) else decode

    def bounded_result_decoder(self, containers_max: int) -> Callable[[bytes | memoryview], Any]:
        """`decode_result` within `transport.containers_max`."""
        return bounded(self.decode_result, containers_max) if self.gives_many else self.decode_result

    def copy_arguments(self, arguments: tuple[Any, ...], key: str, host: ValueHost) -> tuple[Any, ...]:
        """Arguments as a callee on another node would get them: validated, within limits, and not shared.

        Args:
            arguments: in the order of the parameters.
            key: of the grain.
            host: the kind on this node, where the grain is.

        Raises:
            InvalidArguments, SerializationFailed, FrameTooLarge: as for a remote call.
        """
        limits = host.local.config.transport
        body = self.encode_arguments(key, arguments)
        length = HEADER_REST + len(body)
        if length > limits.frame_bytes_max:
            raise self.too_large("the arguments", length, limits.frame_bytes_max, key)
        try:
            copied: tuple[Any, ...] = self.bounded_arguments_decoder(self.arity, limits.containers_max)(body)
        except DECODE_ERRORS as error:
            failure = self.invalid_arguments(error, key)
            failure.authority = host.authority
            raise failure from error
        return copied[1:]

    def copy_result(self, result: Any, key: str, host: ValueHost) -> Any:
        """The result as a caller on another node would get it; raises what that caller would get.

        Args:
            result: what the method returned; not one of those that `is_plain_result` lets pass as they are.
            key: of the grain.
            host: the kind on this node, where the grain is.
        """
        limits = host.local.config.transport
        try:
            body = encode(result)
        except ENCODE_ERRORS as error:
            failure = self.unserializable("the result", error, key, executed=True)
            failure.authority = host.authority
            raise failure from error
        length = HEADER_REST + len(body)
        if length > limits.frame_bytes_max:
            failure = self.too_large("the result", length, limits.frame_bytes_max, key, executed=True)
            failure.authority = host.authority
            raise failure
        try:
            return self.bounded_result_decoder(limits.containers_max)(body)
        except DECODE_ERRORS as error:
            raise self.invalid_result(error, key) from error

    # Caller.

    def bind(self, reference: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Arguments in the order of the parameters, with defaults. Raises `TypeError` where they do not fit."""
        bound: tuple[Any, ...] = self._binder(reference, *arguments, **named)
        return bound

    @cached_property
    def _binder(self) -> Callable[..., Any]:
        return self.make_caller(_given)

    def encode_arguments(self, key: str, arguments: tuple[Any, ...]) -> bytes:
        """The body of a call. Raises `SerializationFailed` naming the argument that has no encoding."""
        try:
            return encode((key, *arguments))
        except ENCODE_ERRORS as error:
            raise self.unserializable_argument(arguments, error, key) from error

    def definition(self, timeout_s: float) -> Definition:
        """The definition that a connection sends before the first call of this method on it."""
        return Definition(
            self.kind, self.name, self.signature[:SIGNATURE_CHARS_MAX], self.arity, int(timeout_s * 1000), self.stream
        )

    # Errors, the same for local and remote calls.

    def invalid_arguments(self, error: Exception, key: str, caller_signature: str = "") -> InahoError:
        """The error for arguments that do not decode: a mistake of the caller, or a difference between releases."""
        if caller_signature and caller_signature != self.signature:
            return SchemaMismatch(
                f"{self.name}: the caller knows {caller_signature}, here it is {self.signature}: {text_of(error)}",
                identity=f"{self.kind}/{key}",
            )
        return InvalidArguments(
            f"{self.name}{self.signature}: {self._named(text_of(error))}", identity=f"{self.kind}/{key}"
        )

    def invalid_result(self, error: Exception, key: str) -> InahoError:
        """The error for a result that is not what the method's annotation promises."""
        return SchemaMismatch(
            f"the result of {self.name}{self.signature} does not fit its annotation: {text_of(error)}",
            identity=f"{self.kind}/{key}" if key else "",
            maybe_executed=True,
        )

    def unserializable(self, what: str, error: Exception, key: str, *, executed: bool = False) -> InahoError:
        """The error for a value that has no encoding."""
        return SerializationFailed(
            f"{what} of {self.name} cannot be serialized: {text_of(error)}",
            identity=f"{self.kind}/{key}",
            maybe_executed=executed,
        )

    def too_large(self, what: str, length: int, bytes_max: int, key: str, *, executed: bool = False) -> InahoError:
        """The error for arguments or a result that fit in no frame.

        Args:
            what: `the arguments` or `the result`.
            length: bytes of the frame.
            bytes_max: `transport.frame_bytes_max`.
            key: of the grain.
            executed: whether the method has run.
        """
        verb = "takes" if executed else "take"
        return FrameTooLarge(
            f"{what} of {self.name} {verb} {length} bytes, the most is {bytes_max} (transport.frame_bytes_max)",
            identity=f"{self.kind}/{key}",
            maybe_executed=executed,
        )

    def unserializable_argument(self, arguments: tuple[Any, ...], error: Exception, key: str) -> InahoError:
        """The error for arguments that have no encoding, naming the first one that has none."""
        for parameter, value in zip(self.parameters, arguments, strict=False):
            try:
                encode(value)
            except ENCODE_ERRORS as inner:
                return self.unserializable(f"argument {parameter.name!r}", inner, key)
        return self.unserializable("an argument", error, key)

    def _named(self, text: str) -> str:
        """Puts the parameter's name where msgspec gives an index (`$[1]`; 0 is the key)."""
        for index, parameter in enumerate(self.parameters):
            text = text.replace(f"`$[{index + 1}]", f"`{parameter.name}")
        return text

    def make_caller(self, invoke: Callable[..., Any]) -> Callable[..., Any]:
        """The function on the class of references: the user's signature, and straight into `invoke`."""
        return make_caller(self, self.kind, self.function, self.name, self.parameters, self._types, invoke)


def _given(_reference: Any, _method: GrainMethod, arguments: tuple[Any, ...], _plain: bool) -> tuple[Any, ...]:
    """Takes the place of `ref.invoke` and returns its arguments."""
    return arguments
