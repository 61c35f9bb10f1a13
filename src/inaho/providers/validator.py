"""Checks a provider before it is accepted: its definition, then its back end (SPEC PR-1.1, PR-1.4, PR-5.5).

The two kinds of failure are kept apart, because people act differently on them: `ProviderInvalid` needs another
definition, `ProviderUnreachable` needs a server or a network, and may pass by itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib import import_module
from typing import Final

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.core.provisioning.descriptor import Capabilities, problems
from inaho.errors import ProviderError, ProviderInvalid, ProviderUnreachable
from inaho.errors.inspection import describe
from inaho.providers.backends import SCHEMES, make_provider
from inaho.providers.base import TopologyProvider

__all__ = ["ProviderValidator", "missing_capabilities"]

REQUESTS: Final = 2
"""A check may take as long as so many requests."""

_METHODS: Final[dict[str, tuple[str, ...]]] = {
    "": ("check", "read", "close"),
    "watch": ("watch",),
    "register": ("register", "renew", "deregister"),
    "record": ("read_record", "write_record"),
}
"""Methods by the capability that needs them; the empty one is always needed."""

_NAMED: Final[dict[str, str]] = {
    "watch": "a watch",
    "register": "registration of members",
    "record": "a record of the cluster",
    "details": "entries with node ids, kinds and weights",
}
"""Capabilities as people call them."""


def missing_capabilities(needed: Capabilities, has: Capabilities) -> str:
    """What a provider lacks, for people; empty if it lacks nothing."""
    return ", ".join(text for name, text in _NAMED.items() if getattr(needed, name) and not getattr(has, name))


class ProviderValidator:
    """Makes and checks providers of one node.

    Args:
        cluster: name of the cluster.
        config: `request_timeout_s`.
        logger: logs a provider that cannot be closed.
    """

    def __init__(self, cluster: str, config: ProvisioningConfig, logger: logging.Logger) -> None:
        self._cluster = cluster
        self._config = config
        self._logger = logger

    async def make(self, definition: ProviderDescriptor) -> TopologyProvider:
        """The provider of a definition; nothing is connected yet.

        Raises:
            ProviderInvalid: the definition has mistakes, all named; the back end is unknown or not installed.
        """
        module = SCHEMES.get(definition.scheme, ("",))[0]
        if module and module not in sys.modules and not problems(definition):
            await asyncio.to_thread(import_module, module)  # it may take long
        return make_provider(definition, self._cluster, self._config)

    def examine(self, provider: object) -> TopologyProvider:
        """A provider that a program has made, if it has what one needs.

        Raises:
            ProviderInvalid: it lacks attributes or methods, all named.
        """
        name, capabilities = getattr(provider, "name", None), getattr(provider, "capabilities", None)
        made_of = type(provider).__qualname__
        found = list(problems(ProviderDescriptor(name=name if isinstance(name, str) else "", url="object://")))
        if not isinstance(capabilities, Capabilities):
            found.append("capabilities is missing")
        for needs, methods in _METHODS.items():
            if not needs or getattr(capabilities, needs, False):
                found += [
                    f"method {each} is missing" for each in methods if not callable(getattr(provider, each, None))
                ]
        if found:
            raise ProviderInvalid(f"{made_of} is no provider: {'; '.join(found)}")
        usable: TopologyProvider = provider  # type: ignore[assignment]  # examined above
        return usable

    async def check(self, provider: TopologyProvider, within_s: float | None = None) -> None:
        """Reaches the back end once.

        Args:
            provider: the back end.
            within_s: seconds; two requests unless given.

        Raises:
            ProviderInvalid: it refuses the credentials, lacks a permission, or is not what the URL says.
            ProviderUnreachable: it cannot be reached, or does not answer in time.
            ProviderStreamFailed: its answer is strange.
        """
        limit_s = REQUESTS * self._config.request_timeout_s if within_s is None else within_s
        try:
            async with asyncio.timeout(limit_s):
                await provider.check()
        except ProviderError:
            raise
        except TimeoutError as error:
            raise ProviderUnreachable(f"provider {provider.name}: no answer within {limit_s:g} s") from error
        except Exception as error:  # of a provider that a program has made
            raise ProviderInvalid(f"provider {provider.name}: its check failed: {describe(error)}") from error

    async def close(self, provider: TopologyProvider) -> None:
        """Closes a provider that is not used. A failure is logged: nothing can be done about it."""
        try:
            await provider.close()
        except Exception:  # of a provider that a program has made, or of a connection
            self._logger.warning("provider %s could not be closed", provider.name, exc_info=True)
