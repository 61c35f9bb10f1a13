"""Checks which texts are a valid kind and a valid key.

Both are part of paths, log lines, labels of metrics and storage keys of several engines, so the rules are the strictest
of those: bounded in bytes, no control characters, nothing that UTF-8 cannot encode. A kind has no slash, so `Kind/key`
is unambiguous and a key may be a path of the user's own.

Why a check where an identity enters and not an escape at each use: if one node accepts an identity that another cannot
store, the error appears late, when somebody restores the backup.
"""

from __future__ import annotations

import re
from typing import Final

from inaho.errors import InvalidPid
from inaho.types import ClusterIdentity

__all__ = ["KEY_BYTES_MAX", "KIND_BYTES_MAX", "identity", "validate_key", "validate_kind"]

KIND_BYTES_MAX: Final = 200
"""Longest kind in bytes of UTF-8: with a key of the greatest length, a storage key stays below 1.5 KiB."""

KEY_BYTES_MAX: Final = 1024
"""Longest key in bytes of UTF-8."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN_MAX: Final = 40


def identity(kind: str, key: str) -> ClusterIdentity:
    """The identity of `kind` and `key`, checked.

    Args:
        kind: see `validate_kind`.
        key: see `validate_key`.

    Raises:
        InvalidPid: the reason names the part and the rule that it breaks.
    """
    validate_kind(kind)
    validate_key(key)
    return ClusterIdentity(kind, key)


def validate_kind(kind: object) -> None:
    """Checks that `kind` is a Python identifier, or several with dots between, of at most 200 bytes.

    Raises:
        InvalidPid: it is not.
    """
    if not isinstance(kind, str):
        raise InvalidPid(f"kind must be a str, not {type(kind).__name__}")
    if not all(part.isidentifier() for part in kind.split(".")):
        raise InvalidPid(f"kind must be a Python identifier, or several with dots between, not {_shown(kind)}")
    size = len(kind.encode())
    if size > KIND_BYTES_MAX:
        raise InvalidPid(f"kind must have at most {KIND_BYTES_MAX} bytes of UTF-8, not {size}: {_shown(kind)}")


def validate_key(key: object) -> None:
    """Checks that `key` has 1 to 1,024 bytes of UTF-8 and no control characters (Unicode category Cc).

    Raises:
        InvalidPid: it does not.
    """
    if not isinstance(key, str):
        raise InvalidPid(f"key must be a str, not {type(key).__name__}; give str(key) if that names it for good")
    if key.isascii() and key.isprintable() and 0 < len(key) <= KEY_BYTES_MAX:
        return  # nearly every key, and every call checks one
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidPid(f"key is not Unicode text: lone surrogate at position {error.start}") from None
    if not 0 < size <= KEY_BYTES_MAX:
        raise InvalidPid(f"key must have 1 to {KEY_BYTES_MAX} bytes of UTF-8, not {size}")
    control = _CONTROL.search(key)
    if control is not None:
        raise InvalidPid(f"key holds a control character at position {control.start()}: {_shown(key)}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…")
