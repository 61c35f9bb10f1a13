"""Errors of providers of topology (SPEC PR). Their class says what failed, and so does `failure` (SPEC PR-5.5)."""

from __future__ import annotations

from typing import ClassVar

from inaho.errors.base import InahoError

__all__ = [
    "BlockedByProvider",
    "InvalidSnapshot",
    "PlacementPaused",
    "ProviderError",
    "ProviderInvalid",
    "ProviderStoreDamaged",
    "ProviderStoreFailed",
    "ProviderStreamFailed",
    "ProviderUnreachable",
]


class BlockedByProvider(InahoError):
    """An operator of the cluster ends a block, and the provider of topology still blocks the authority.

    The order of the operator is taken: no block of the cluster is left.
    """

    code = "blocked_by_provider"
    advice = "remove the entry under blocked/ in the back end, or release the quarantines of the members"


class ProviderError(InahoError):
    """A provider of topology failed; `reason` names the provider.

    Attributes:
        failure: `validation`, `connectivity` or `stream`.
    """

    code = "provider_failed"
    failure: ClassVar[str] = "stream"


class ProviderInvalid(ProviderError):
    """A definition is wrong, or the back end refuses it: a field, the credentials, a permission, a certificate."""

    code = "provider_invalid"
    advice = "correct the definition, the credentials or the permissions, then try again"
    failure = "validation"


class ProviderUnreachable(ProviderError):
    """The back end cannot be reached, or did not answer in time."""

    code = "provider_unreachable"
    advice = "check that the back end runs and that this host can reach it"
    failure = "connectivity"


class ProviderStreamFailed(ProviderError):
    """A back end that is reached failed: a watch ended, or an answer was an error."""

    code = "provider_stream_failed"
    advice = "the last snapshot stays in use; the provider is asked again after a pause"
    failure = "stream"


class InvalidSnapshot(ProviderStreamFailed):
    """What the back end lists cannot be the members of this cluster; the whole list is refused."""

    code = "provider_snapshot_invalid"
    advice = "the last snapshot stays in use until this is corrected"


class ProviderStoreDamaged(ProviderError):
    """`providers.jsonl` is not as it was written; `reason` names the line."""

    code = "provider_store_damaged"
    advice = "restore the file, or remove it and add the providers again"
    failure = "validation"


class ProviderStoreFailed(ProviderError):
    """`providers.jsonl` cannot be read or written: the disk is full, a permission is missing, its lock is held."""

    code = "provider_store_failed"
    advice = "the providers in use and the file stay as they were; correct the cause and repeat the command"
    failure = "connectivity"


class PlacementPaused(ProviderError):
    """No new activations: the provider is the membership, and is away, or its snapshot is empty or stale."""

    code = "placement_paused"
    advice = "call again when a provider is back; activations that exist are served meanwhile"
    failure = "connectivity"
