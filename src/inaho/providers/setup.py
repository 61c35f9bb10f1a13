"""What the back end of a provider is made from: its URL, its secrets, the cluster that it serves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from inaho.config import SecretReference
from inaho.core.provisioning.descriptor import ProviderUrl
from inaho.errors import ProviderInvalid

__all__ = ["ProviderSetup", "Secrets"]


class Secrets:
    """The secrets of one provider. They are read when they are used, so one that was renewed is found.

    Args:
        references: by the name that the back end gives them.
    """

    def __init__(self, references: Mapping[str, SecretReference]) -> None:
        self._references = dict(references)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the secrets that were given, sorted."""
        return tuple(sorted(self._references))

    def read(self, name: str, default: str = "") -> str:
        """The secret of that name; `default` if none was given.

        Raises:
            ProviderInvalid: the variable is not set, or the file cannot be read or is empty.
        """
        reference = self._references.get(name)
        if reference is None:
            return default
        if reference.env:
            found = os.environ.get(reference.env, "")
            if not found:
                raise ProviderInvalid(f"secret {name}: the variable {reference.env} is not set or empty")
            return found
        try:
            found = Path(reference.file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ProviderInvalid(f"secret {name}: {reference.file} cannot be read: {error}") from error
        if not found:
            raise ProviderInvalid(f"secret {name}: {reference.file} is empty")
        return found


class ProviderSetup(msgspec.Struct, frozen=True):
    """What a back end is made from.

    Attributes:
        name: of the provider.
        url: its URL, taken apart.
        cluster: name of the cluster.
        secrets: of the provider.
        request_timeout_s: of one request.
    """

    name: str
    url: ProviderUrl
    cluster: str
    secrets: Secrets
    request_timeout_s: float

    @property
    def prefix(self) -> str:
        """The prefix under which the cluster is written: the path of the URL, else `inaho/` and the cluster's name."""
        return self.url.path or f"inaho/{self.cluster}"
