"""The provider for Kubernetes passes the conformance suite, against the double of the API server."""

from __future__ import annotations

import pytest

from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance import BackEnd, ProviderConformance
from inaho.testing.provider_conformance.base import LIFETIME_S, MakeProvider, authorities, member
from support.kubernetes_server import KubernetesServer
from support.provider_back_ends.kubernetes import KubernetesBackEnd

pytestmark = pytest.mark.integration


class TestKubernetesProvider(ProviderConformance):
    many = 600  # more than one page

    @pytest.fixture
    def back_end(self, kubernetes_server: KubernetesServer, prefix: str) -> KubernetesBackEnd:
        return KubernetesBackEnd(kubernetes_server, prefix)

    @pytest.fixture
    def make_provider(self, back_end: KubernetesBackEnd) -> MakeProvider:
        return back_end.provider

    async def test_blocked_authorities(
        self, registering: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        """A pod is blocked, so only an authority that has registered can be."""
        me, neighbour = member(0), member(1)
        await self.answer(registering.register(me, LIFETIME_S))
        await self.answer(other.register(neighbour, LIFETIME_S))
        for each in (me, neighbour):
            await back_end.block(each.authority)
        found = await self.answer(other.read())
        assert sorted(found.blocked_nodes) == [me.authority, neighbour.authority]
        assert authorities(found) == [me.authority, neighbour.authority]
        await back_end.unblock(me.authority)
        assert (await self.answer(other.read())).blocked_nodes == (neighbour.authority,)

    async def test_a_block_is_reported(
        self, watching: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        position = (await self.answer(watching.read())).position
        await back_end.block(neighbour.authority)
        found = await self.follow(watching, position, lambda found: bool(found.blocked_nodes), self.hint_s)
        assert found.blocked_nodes == (neighbour.authority,)
