"""Builds an error from its code, which is what crosses the wire."""

from __future__ import annotations

from typing import Final

from inaho.errors import actors, base, bootstrap, calls, connections, membership, providers, pubsub, storage, usage
from inaho.errors.base import InahoError
from inaho.errors.calls import RemoteError

__all__ = ["error_from_code"]

_MODULES: Final = (base, connections, membership, calls, providers, pubsub, storage, bootstrap, usage, actors)


def _by_code() -> dict[str, type[InahoError]]:
    kinds: list[type[InahoError]] = [getattr(module, name) for module in _MODULES for name in module.__all__]
    return {kind.code: kind for kind in kinds}


_BY_CODE: Final = _by_code()


def error_from_code(
    code: str, reason: str, *, identity: str = "", authority: str = "", maybe_executed: bool = False
) -> InahoError:
    """Builds the error of `code`, as received from a peer; an unknown code becomes `RemoteError`."""
    kind = _BY_CODE.get(code)
    if kind is None:
        reason = f"unknown error code {code!r}: {reason}"
        return RemoteError(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
    return kind(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
