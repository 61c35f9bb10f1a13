"""The conformance suite that every provider of topology passes, ours and users'.

Subclass it in a test module, say how a provider is made, and pytest runs all tests:

    class TestMyProvider(ProviderConformance):
        @pytest.fixture
        def make_provider(self, prefix):
            return lambda host: MyProvider(f"my://127.0.0.1:9999/{prefix}")

Tests of a capability that the provider lacks are skipped. So are those that need `BackEnd`, access to the back end past
the provider, unless the fixture `back_end` gives it. The parts can also be chosen one by one: a provider that only
lists addresses passes `LifeConformance`.

Needs pytest and pytest-asyncio: the extra `testing`.
"""

from inaho.testing.provider_conformance.back_end import BackEnd
from inaho.testing.provider_conformance.histories import HistoryConformance
from inaho.testing.provider_conformance.records import RecordConformance
from inaho.testing.provider_conformance.registrations import RegistrationConformance
from inaho.testing.provider_conformance.suite import LifeConformance, ProviderConformance
from inaho.testing.provider_conformance.watches import WatchConformance

__all__ = [
    "BackEnd",
    "HistoryConformance",
    "LifeConformance",
    "ProviderConformance",
    "RecordConformance",
    "RegistrationConformance",
    "WatchConformance",
]
