"""A `ProviderRegistry` with a real validator and file, and what it has told."""

from __future__ import annotations

import logging
from pathlib import Path

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.descriptor import Capabilities
from inaho.events import Event
from inaho.providers.registered import RegisteredProvider
from inaho.providers.registry import ProviderRegistry
from inaho.providers.store import FileProviderStore
from inaho.providers.validator import ProviderValidator

__all__ = ["MEMBERSHIP", "NOTHING", "TestedRegistry"]

NOTHING = Capabilities()

MEMBERSHIP = Capabilities(register=True, details=True)
"""What is needed of a provider that is the membership."""


class TestedRegistry:
    """See the module.

    Args:
        folder: of the file.
        needed: capabilities.

    Attributes:
        registry, store: under test.
        events: that it has published.
        sets: that it has made, the names of each.
        now: its time; a test sets it.
    """

    __test__ = False

    def __init__(self, folder: Path, needed: Capabilities = NOTHING, config: ProvisioningConfig | None = None) -> None:
        settings = config or ProvisioningConfig(request_timeout_s=0.05)
        self.now = 0.0
        self.events: list[Event] = []
        self.sets: list[list[str]] = []
        self.store = FileProviderStore(folder / "providers.jsonl")
        self.registry = ProviderRegistry(
            ProviderValidator("shop", settings, logging.getLogger("tests")),
            self.store,
            settings,
            needed,
            now=lambda: self.now,
            publish=self.events.append,
            changed=self._changed,
        )

    def _changed(self, providers: tuple[RegisteredProvider, ...]) -> None:
        assert providers == self.registry.providers
        self.sets.append([each.name for each in providers])

    @property
    def names(self) -> list[str]:
        """Of the providers, the highest priority first."""
        return [each.name for each in self.registry.providers]

    async def stored(self) -> list[str]:
        """Names in the file."""
        return [each.name for each in await self.store.load()]

    def told(self, kind: type[Event]) -> list[Event]:
        """The events of that class."""
        return [event for event in self.events if isinstance(event, kind)]
