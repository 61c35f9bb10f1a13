"""Exceptions of users, good and bad, and their way over the wire and back."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from inaho import errors
from inaho.wire.exceptions import Failure, GrainError, decode_failure, encode_failure

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
INAHO_ERRORS = [getattr(errors, name) for name in errors.__all__ if name not in ("error_from_code", "RemoteError")]
SIGNALS = [
    "BaseException", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "BaseExceptionGroup",
    "StopIteration", "StopAsyncIteration", "asyncio.CancelledError", "asyncio.exceptions.CancelledError",
]  # fmt: skip
NOT_EXCEPTIONS = [
    "",
    "eval",
    "exec",
    "open",
    "print",
    "object",
    "type",
    "os.system",
    "builtins.ValueError",
    "Warning",
    "IOError",
]


class OutOfStockError(GrainError):
    def __init__(self, sku: str, left: int = 0) -> None:
        super().__init__(sku, left)
        self.sku = sku
        self.left = left


class PickyError(GrainError):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        raise {0: KeyError, 1: RuntimeError, 2: OSError, 3: RecursionError, 4: StopIteration}[number](
            "I do not like it"
        )


class ChangelingError(GrainError):
    def __new__(cls, *arguments: Any) -> Any:
        return SystemExit(1)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


def cross(error: BaseException, *, executed: bool = True) -> Exception:
    return decode_failure(encode_failure(error, identity="Cart/alice", authority="10.0.0.1:7700", executed=executed))


def failure(**parts: Any) -> bytes:
    defaults: dict[str, Any] = {"code": "", "reason": "r", "identity": "i", "authority": "a", "maybe_executed": True}
    return msgspec.msgpack.encode(Failure(**{**defaults, **parts}))


def arguments(*values: Any, **attributes: Any) -> bytes:
    return msgspec.msgpack.encode((values, attributes))


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught
