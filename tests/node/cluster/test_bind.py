"""A node that binds another address than the one at which others reach it, as in a container."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import inaho
from inaho import ClusterConfig, Grain, InvalidConfig, load_config
from inaho.authority import own_addresses
from inaho.runtime.cluster.extension import ClusterExtension


class Here(Grain, name="bind.here"):
    """Says where it is."""

    async def at(self) -> str:
        return self.cluster.authority


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:0", pytest.param("[::]:0", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]
)
async def test_others_dial_the_authority_and_not_what_is_bound(bind: str) -> None:
    given: dict[str, Any] = {"grains": [Here], "secret": "s3cret", "storage": "memory"}
    async with (
        inaho.join("127.0.0.1:0", bind=bind, **given) as one,
        inaho.join("localhost:0", bind="0.0.0.0:0", seeds=[one.authority], **given) as two,
        inaho.connect([two.authority], secret="s3cret") as client,
    ):
        assert one.authority.startswith("127.0.0.1:") and not one.authority.endswith(":0")
        assert two.authority.startswith("localhost:")
        assert {await client.grain(Here, str(key)).at() for key in range(40)} == {one.authority, two.authority}


async def test_the_port_of_the_authority_may_be_another_one(kept_port: int) -> None:
    with socket.socket() as forwarded:  # what a container publishes
        forwarded.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{forwarded.getsockname()[1]}"
        async with inaho.join(authority, bind=f"127.0.0.1:{kept_port}", storage="memory") as cluster:
            assert cluster.authority == authority
            assert cluster.self.authority == authority
            with socket.create_connection(("127.0.0.1", kept_port)):
                pass


@pytest.mark.parametrize("authority", ["0.0.0.0:7700", "[::]:7700"])
@pytest.mark.parametrize("bind", ["", "0.0.0.0:7700"])
def test_an_address_that_means_all_is_no_authority(authority: str, bind: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        inaho.join(authority, bind=bind, secret="x")
    for words in (authority, "no address that others can dial", "authority='host.example:7700'", f"bind='{bind}"):
        assert words in str(raised.value)
    with pytest.raises(InvalidConfig, match="others can dial"):
        own_addresses(authority, bind)


async def test_the_extension_refuses_it_too() -> None:
    system = inaho.ActorSystem("shop", extensions=[ClusterExtension(ClusterConfig(authority="0.0.0.0:0", secret="x"))])
    with pytest.raises(InvalidConfig, match="others can dial"):
        await system.start()


def test_what_cannot_go_together() -> None:
    with pytest.raises(InvalidConfig, match="name the port in bind"):
        inaho.join("10.0.0.1:7700", bind="0.0.0.0:0", secret="x")
    with pytest.raises(InvalidConfig, match="no port"):
        inaho.join("10.0.0.1:7700", bind="0.0.0.0", secret="x")
    with pytest.raises(InvalidConfig, match="authority is missing"):
        inaho.join(bind="0.0.0.0:7700", secret="x")


async def test_what_is_bound_needs_authentication_wherever_others_reach_it() -> None:
    with pytest.raises(InvalidConfig, match=r"0\.0\.0\.0:0 can be reached from other machines"):
        await inaho.join("127.0.0.1:0", bind="0.0.0.0:0", storage="memory")


def test_it_can_be_given_in_the_environment() -> None:
    settings = load_config(environ={"INAHO_AUTHORITY": "10.0.0.1:7700", "INAHO_BIND": "0.0.0.0:7700"}, overrides={})
    assert (settings.authority, settings.bind) == ("10.0.0.1:7700", "0.0.0.0:7700")
