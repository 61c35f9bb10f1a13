"""Checks one provider without a cluster: is the definition valid, does the back end answer, what does it list."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from inaho.config import ClusterConfig, ProviderDescriptor, with_names
from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.snapshot import checked
from inaho.errors import ProviderUnreachable
from inaho.providers.validator import ProviderValidator

__all__ = ["CheckedProvider", "check_provider"]

_log: Final = logging.getLogger("inaho.providers")


class CheckedProvider(msgspec.Struct, frozen=True):
    """A provider whose back end has answered.

    Attributes:
        name: of the definition.
        url: without secrets.
        capabilities: what the back end can do.
        members: authorities that it lists for the cluster, sorted.
        blocked: authorities that are blocked there, sorted.
    """

    name: str
    url: str
    capabilities: Capabilities
    members: tuple[str, ...]
    blocked: tuple[str, ...]


async def check_provider(provider: str | ProviderDescriptor, *, config: ClusterConfig | None = None) -> CheckedProvider:
    """Checks a provider as a node would before it accepts it, and reads what it lists. Nothing is written.

    Args:
        provider: a URL or a definition.
        config: `name` of the cluster, and `provisioning`; by default the defaults.

    Raises:
        ProviderInvalid: the definition is not valid, or the back end refuses the credentials or a permission.
        ProviderUnreachable: the back end cannot be reached, or does not answer in time.
        ProviderStreamFailed: it answers strangely, or what it lists cannot be the members of this cluster.
    """
    settings = config or ClusterConfig()
    [definition] = with_names([ProviderDescriptor(url=provider) if isinstance(provider, str) else provider])
    validator = ProviderValidator(settings.name, settings.provisioning, _log)
    made = await validator.make(definition)
    limit_s = settings.provisioning.request_timeout_s
    try:
        await validator.check(made)
        async with asyncio.timeout(limit_s):
            found = await made.read()
    except TimeoutError as error:
        raise ProviderUnreachable(f"provider {definition.name}: no answer to a read within {limit_s:g} s") from error
    finally:
        await validator.close(made)
    members, blocked = checked(found.members, found.blocked_nodes, settings.membership.members_max, settings.name)
    authorities = tuple(member.authority for member in members)
    return CheckedProvider(definition.name, definition.shown_url, made.capabilities, authorities, blocked)
