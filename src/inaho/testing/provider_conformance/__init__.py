"""The conformance suite that every provider of topology passes, ours and users'.

Subclass it in a test module, say how a provider is made, and pytest runs all tests:

    class TestMyProvider(ProviderConformance):
        @pytest.fixture
        def make_provider(self, prefix):
            return lambda host: MyProvider(f"my://127.0.0.1:9999/{prefix}")

Tests of a capability that the provider lacks are skipped. So are those that need `BackEnd`, access to the back end past
the provider, unless the fixture `back_end` gives it. A provider that only lists addresses may subclass
`LifeConformance`, which has the tests for all providers.

Needs pytest and pytest-asyncio: the extra `testing`.
"""

from inaho.testing.provider_conformance.back_end import BackEnd
from inaho.testing.provider_conformance.suite import LifeConformance, ProviderConformance

__all__ = ["BackEnd", "LifeConformance", "ProviderConformance"]
