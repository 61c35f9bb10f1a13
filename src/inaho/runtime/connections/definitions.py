"""What a method number means on one accepted connection, as the caller has defined it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from inaho.errors import InahoError
from inaho.wire.codec import decoder
from inaho.wire.frames import Definition

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.method import GrainMethod

__all__ = ["Defined", "decode_definition", "decode_key"]

Decode = Callable[[bytes | memoryview], Any]


class _Keyed(Struct, array_like=True):
    """Arguments of which only the key is made; the rest is skipped, whatever it is."""

    key: str


_decode_keyed: Final = decoder(_Keyed)
decode_definition: Final = decoder(Definition)
"""The body of a `DEFINE` frame."""


class Defined:
    """What a method number means: the method here, or the error that its calls get."""

    __slots__ = ("activations", "decode", "definition", "error", "host", "method", "timeout_s")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.timeout_s = definition.timeout_ms / 1000.0
        self.host: KindHost = None  # type: ignore[assignment]
        self.method: GrainMethod = None  # type: ignore[assignment]
        self.activations: dict[str, Any] = {}
        self.decode: Decode = _decode_keyed
        self.error: InahoError | None = None


def decode_key(body: bytes | memoryview) -> str:
    """The key of a call whose arguments are not what the method takes. Raises one of `DECODE_ERRORS`."""
    keyed: _Keyed = _decode_keyed(body)
    return keyed.key
