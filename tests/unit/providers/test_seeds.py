"""The provider of a fixed list of addresses."""

from __future__ import annotations

import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.descriptor import Capabilities, parse_url
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderInvalid
from inaho.providers.base import ProviderRead, TopologyProvider
from inaho.providers.seeds import SeedsProvider
from inaho.providers.setup import ProviderSetup, Secrets


def provider(url: str, secrets: Secrets | None = None) -> SeedsProvider:
    return SeedsProvider(ProviderSetup("fixed", parse_url(url), "shop", secrets or Secrets({}), 5.0))


async def test_the_list_is_that_of_the_url_in_its_order_and_in_one_spelling() -> None:
    seeds: TopologyProvider = provider("seeds://Node-2:7700,10.0.0.1:7700,[FD00:0::1]:7701")
    authorities = ("node-2:7700", "10.0.0.1:7700", "[fd00::1]:7701")
    assert await seeds.read() == ProviderRead(tuple(ProviderMember(authority) for authority in authorities))
    assert seeds.capabilities == Capabilities()
    await seeds.check()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("seeds://", "no address"),
        ("seeds://a", "no port"),
        ("seeds://a:0", "port 0"),
        ("seeds://a:1,A:1", "a:1 comes twice"),
        ("seeds://a:1/path", "path"),
        ("seeds://a:1?period_s=5", "unknown option period_s; known are none"),
    ],
)
def test_urls_that_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ProviderInvalid, match="provider fixed") as caught:
        provider(url)
    assert reason in caught.value.reason


def test_a_secret_is_refused() -> None:
    with pytest.raises(ProviderInvalid, match="needs no secret; remove token"):
        provider("seeds://a:1", Secrets({"token": SecretReference(env="TOKEN")}))
