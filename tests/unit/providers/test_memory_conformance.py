"""The memory back end passes the conformance suite."""

from __future__ import annotations

import pytest

from inaho.providers.memory import MemoryProvider
from inaho.testing.provider_conformance import ProviderConformance
from support.memory_back_end import MemoryBackEnd


class TestMemoryProvider(ProviderConformance):
    ttl_s = 0.2

    @pytest.fixture
    def back_end(self) -> MemoryBackEnd:
        return MemoryBackEnd()

    @pytest.fixture
    def make_provider(self, back_end: MemoryBackEnd):
        return lambda host: MemoryProvider(f"memory-{host}", back_end.topology)
