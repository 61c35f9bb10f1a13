"""Providers of topology: the definition of one (`[[providers]]`) and the settings of all (`provisioning.*`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["ProviderDescriptor", "ProvisioningConfig", "SecretReference", "with_names"]

_SECRET_OPTIONS: Final = re.compile(r"(password|passwd|secret|token|api_?key)=[^&]*", re.IGNORECASE)


class SecretReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a secret is; the secret itself is never in a definition (SPEC PR-1.5). One of both is given.

    Attributes:
        env: name of an environment variable.
        file: path of a file; read again when it has changed, so a secret can be renewed while the node runs.
    """

    env: str = ""
    file: str = ""


class ProviderDescriptor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The definition of one provider (SPEC PR-1).

    `core.provisioning.descriptor` checks it: so a definition with a mistake can be read, and each mistake named.

    Attributes:
        name: unique on the node; letters, digits, `-`, `_` and `.`.
        url: `etcd://10.0.0.9:2379/shop?tls=true`: the scheme names the back end, then its servers, separated by commas,
            then the prefix under which the cluster is written, then options. It contains no password.
        priority: the lowest number is used first; equal numbers in the order in which they were given.
        secrets: by the name that the back end gives them (`password`, `token`, ...).
    """

    name: str = ""
    url: str = ""
    priority: int = 0
    secrets: Mapping[str, SecretReference] = {}

    @property
    def scheme(self) -> str:
        """The name of the back end; empty if the URL has none."""
        scheme, separator, _ = self.url.partition("://")
        return scheme if separator else ""

    @property
    def shown_url(self) -> str:
        """The URL for people, without user and password. A definition that has them is refused, but shown before."""
        _, found, end = _SECRET_OPTIONS.sub(r"\1=***", self.url).rpartition("@")
        return f"{self.scheme}://***@{end}" if found else end

    def __repr__(self) -> str:
        return f"ProviderDescriptor({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [
            ("name", self.name),
            ("url", self.shown_url),
            ("priority", self.priority),
            ("secrets", dict(self.secrets)),
        ]


def with_names(definitions: Iterable[ProviderDescriptor], taken: Iterable[str] = ()) -> tuple[ProviderDescriptor, ...]:
    """The definitions, each with a name: without one it gets its scheme, or `etcd-2` where `etcd` is taken.

    Args:
        definitions: in the order of the user; those without a scheme stay without a name, and are refused later.
        taken: names of other providers of the node.
    """
    given = tuple(definitions)
    names = {*taken, *(definition.name for definition in given)}
    found: list[ProviderDescriptor] = []
    for definition in given:
        scheme = definition.scheme.replace("+", "-")
        if not definition.name and scheme:
            name, number = scheme, 1
            while name in names:
                number += 1
                name = f"{scheme}-{number}"
            names.add(name)
            definition = msgspec.structs.replace(definition, name=name)
        found.append(definition)
    return tuple(found)


class ProvisioningConfig(Group, frozen=True, kw_only=True):
    """How providers are watched, and when another one is used (SPEC PR-2).

    Attributes:
        timeout_s: a provider that has not answered for this long is down.
        errors_max: a provider that has failed so often in a row is down.
        delay_max_s: a provider whose last answer took longer is degraded.
        back_off_min_s, back_off_max_s: pause after a failure; it doubles with each failure in a row.
        cool_down_s: the provider in use is changed at most once in this time, and one of higher priority is used again
            when it has been up for this long. The first change after a quiet time does not wait.
        read_period_s: all entries are read and compared this often, whatever a watch says. Shorter notices a lost
            watch and a silent server sooner, longer costs fewer requests.
        read_pause_s: shortest time between two reads; what a watch reports meanwhile costs one read.
        silence_s: a watch that has said nothing for this long is begun again.
        ttl_s: a registration that is not renewed is gone after this time. It is renewed every third of it.
        request_timeout_s: one request to a back end.
        retry_s: while a node looks for its cluster, it reads this often.
        validation_failures_max: after so many definitions in a row that failed their validation, no further one is
            accepted for `suspension_s` (SPEC PR-5.2).
        suspension_s: see `validation_failures_max`.
        updates_max: snapshots and notices that wait for a consumer; beyond it older snapshots are left out.
        providers_max: providers of one node.
    """

    timeout_s: float = 15.0
    errors_max: int = 3
    delay_max_s: float = 5.0
    back_off_min_s: float = 2.0
    back_off_max_s: float = 30.0
    cool_down_s: float = 10.0
    read_period_s: float = 5.0
    read_pause_s: float = 0.2
    silence_s: float = 60.0
    ttl_s: float = 15.0
    request_timeout_s: float = 5.0
    retry_s: float = 0.25
    validation_failures_max: int = 5
    suspension_s: float = 60.0
    updates_max: int = 256
    providers_max: int = 16

    def check(self) -> None:
        if self.back_off_min_s > self.back_off_max_s:
            raise InvalidConfig(
                f"ProvisioningConfig.back_off_min_s ({self.back_off_min_s}) must not exceed "
                f"back_off_max_s ({self.back_off_max_s})"
            )
        if self.read_period_s >= self.timeout_s:
            raise InvalidConfig(
                f"ProvisioningConfig.read_period_s ({self.read_period_s}) must be below timeout_s ({self.timeout_s})"
            )
