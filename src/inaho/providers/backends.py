"""Makes the back end of a provider from its definition; the scheme of the URL names it.

A module of an optional package is imported only when its scheme is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.core.provisioning.descriptor import parse_url, problems
from inaho.errors import ProviderInvalid
from inaho.providers.base import TopologyProvider
from inaho.providers.setup import ProviderSetup, Secrets

__all__ = ["SCHEMES", "make_provider"]

SCHEMES: Final[dict[str, tuple[str, str]]] = {
    "memory": ("inaho.providers.memory", "MemoryProvider"),
    "seeds": ("inaho.providers.seeds", "SeedsProvider"),
    "dns": ("inaho.providers.dns", "DnsProvider"),
    "dns+srv": ("inaho.providers.dns", "DnsProvider"),
    "etcd": ("inaho.providers.etcd", "EtcdProvider"),
    "etcds": ("inaho.providers.etcd", "EtcdProvider"),
    "consul": ("inaho.providers.consul", "ConsulProvider"),
    "consuls": ("inaho.providers.consul", "ConsulProvider"),
    "kubernetes": ("inaho.providers.kubernetes", "KubernetesProvider"),
    "redis": ("inaho.providers.redis", "RedisProvider"),
    "rediss": ("inaho.providers.redis", "RedisProvider"),
    "postgresql": ("inaho.providers.postgresql", "PostgresProvider"),
}
"""By scheme the module and the class; the `s` at the end of `etcds`, `consuls` and `rediss` means TLS."""


def make_provider(descriptor: ProviderDescriptor, cluster: str, config: ProvisioningConfig) -> TopologyProvider:
    """The back end of a definition; nothing is connected yet.

    Args:
        descriptor: the definition.
        cluster: name of the cluster.
        config: `request_timeout_s`.

    Raises:
        ProviderInvalid: the definition has mistakes, each named; its back end is unknown, or its package not installed.
    """
    found = problems(descriptor)
    if found:
        raise ProviderInvalid(f"provider {descriptor.name or descriptor.shown_url!r}: {'; '.join(found)}")
    url = parse_url(descriptor.url)
    if url.scheme not in SCHEMES:
        raise ProviderInvalid(
            f"provider {descriptor.name}: unknown scheme {url.scheme!r}; known are {', '.join(sorted(SCHEMES))}"
        )
    module, name = SCHEMES[url.scheme]
    make: Any = getattr(import_module(module), name)
    provider: TopologyProvider = make(
        ProviderSetup(descriptor.name, url, cluster, Secrets(descriptor.secrets), config.request_timeout_s)
    )
    return provider
