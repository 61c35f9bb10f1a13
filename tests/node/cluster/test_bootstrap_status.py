"""The installed cluster: its handle, its status, switching it off, and the order of its end (SPEC BS-1, BS-3)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import inaho
from inaho import ActorSystem, ClusterExtension, Grain, InvalidConfig, MemoryStorage
from inaho.errors import BridgeCreateFailed, ShuttingDown, StatusStore
from inaho.runtime.cluster.bootstrap_status import (
    BootstrapState,
    BootstrapStatus,
    BootstrapStatusStore,
    FileStatusStore,
    MemoryStatusStore,
)
from inaho.runtime.placement.partition_bridge import PartitionBridge
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.types import TopologySnapshot

NO_FILES = inaho.TlsConfig(certificate="no.crt", private_key="no.key", authority_certificates="no.ca")


class Echo(Grain):
    async def echo(self, text: str) -> str:
        return text


def config(**settings: Any) -> inaho.ClusterConfig:
    return inaho.ClusterConfig(
        authority="127.0.0.1:7700",
        membership=inaho.MembershipConfig(update_period_s=0.01, join_retry_s=0.02, found_after_s=0.02),
        **settings,
    )


def extension(network: MemoryNetwork | None = None, **options: Any) -> ClusterExtension:
    transport = MemoryTransport(network or MemoryNetwork())
    return ClusterExtension(config(), grains=[Echo], storage=MemoryStorage(), transport=transport, **options)


class Looking:
    """An extension behind the cluster: it sees what is there before the system runs."""

    name = "looking"

    def __init__(self, cluster: ClusterExtension) -> None:
        self.cluster = cluster
        self.saw: list[Any] = []

    async def install(self, system: ActorSystem) -> None:
        self.saw.append((system.running, self.cluster.cluster.authority, self.cluster.cluster.ready))

    async def stop(self) -> None:
        self.saw.append(await self.cluster.cluster.grain(Echo, "a").echo("still here"))


async def test_the_handle_is_there_before_the_system_runs_and_until_its_extensions_have_stopped():
    installed = extension()
    with pytest.raises(InvalidConfig, match="only after the actor system has started"):
        _ = installed.cluster
    looking = Looking(installed)
    async with ActorSystem("shop", extensions=[installed, looking]) as system:
        assert looking.saw == [(False, "127.0.0.1:7700", True)]
        cluster = installed.cluster
        assert system.extension(ClusterExtension).cluster is cluster
        assert await cluster.grain(Echo, "a").echo("hello") == "hello"
        assert cluster.runtime.local.authority == cluster.authority
        assert cluster.context is cluster.runtime.context
        assert cluster.partition_bridge is cluster.runtime.bridge
        assert cluster.metrics()["inaho.activations"] == [({"inaho.kind": "Echo"}, 1)]
        cluster.partition_bridge.check()
    assert looking.saw[-1] == "still here"


async def test_a_disabled_extension_makes_nothing():
    store = MemoryStatusStore()
    network = MemoryNetwork()
    disabled = extension(network, enabled=False, status_store=store)
    async with ActorSystem("shop", extensions=[disabled]) as system:
        assert system.running
        assert not system.events.wants(inaho.events.BlockListApplied)
        with pytest.raises(InvalidConfig, match="disabled"):
            _ = disabled.cluster
        other = extension(network)  # the address is free
        async with ActorSystem("other", extensions=[other]):
            assert other.cluster.ready
    assert store.status is not None
    assert (store.status.state, store.status.reason) == (BootstrapState.DISABLED, "enabled=False")


async def test_the_status_follows_the_life_and_is_read_by_the_next(tmp_path: Path):
    path = tmp_path / "status.json"
    first = extension(status_store=FileStatusStore(path))
    async with ActorSystem("shop", extensions=[first]) as system:
        assert first.status_before is None
        ready = await FileStatusStore(path).read()
        assert ready == first.status
        assert ready is not None
        assert (ready.state, ready.reason, ready.authority) == (BootstrapState.READY, "", "127.0.0.1:7700")
        assert abs(ready.at - system.clock()) < 60
    ended = await FileStatusStore(path).read()
    assert ended is not None
    assert (ended.state, ended.reason) == (BootstrapState.DISABLED, "the node has left")
    second = extension(status_store=FileStatusStore(path))
    async with ActorSystem("shop", extensions=[second]):
        assert second.status_before == ended
    assert os.listdir(tmp_path) == ["status.json"]


async def test_a_start_that_fails_leaves_its_reason():
    store = MemoryStatusStore()
    network = MemoryNetwork()
    async with ActorSystem("shop", extensions=[extension(network)]):
        with pytest.raises(inaho.AuthorityInUse):
            await ActorSystem("other", extensions=[extension(network, status_store=store)]).start()
    assert store.status is not None
    assert store.status.state is BootstrapState.ERROR
    assert store.status.reason.startswith("authority_in_use: ")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"authority": ""}, "authority"),
        ({"authority": "0.0.0.0:0"}, "others can dial"),
        ({"authority": "127.0.0.1:0", "bind": "0.0.0.0:0"}, "insecure"),
        ({"tls": NO_FILES}, "no.ca"),
    ],
)
async def test_a_configuration_that_cannot_work_fails_the_start_and_enables_nothing(
    settings: dict[str, Any], names: str
):
    impossible = ClusterExtension(config().replace(**settings), grains=[Echo], storage=MemoryStorage())
    tasks = asyncio.all_tasks()
    system = ActorSystem("shop", extensions=[impossible])
    with pytest.raises(InvalidConfig, match=names):
        await system.start()
    assert not system.running
    assert asyncio.all_tasks() == tasks
    with pytest.raises(InvalidConfig, match="only after the actor system has started"):
        _ = impossible.cluster
    assert impossible.status is not None
    assert (impossible.status.state, impossible.status.reason[:16]) == (BootstrapState.ERROR, "invalid_config: ")


class Failing(BootstrapStatusStore):
    """Fails when it is read, or at the write of one state."""

    def __init__(self, at: str, error: Exception) -> None:
        self.at = at
        self.error = error

    async def read(self) -> BootstrapStatus | None:
        if self.at == "read":
            raise self.error
        return None

    async def write(self, status: BootstrapStatus) -> None:
        if self.at == status.state.value:
            raise self.error


@pytest.mark.parametrize("at", ["read", "ready"])
@pytest.mark.parametrize("error", [StatusStore("the disk is full"), OSError("the disk is full")])
async def test_a_store_that_fails_blocks_the_start_and_leaves_nothing(at: str, error: Exception):
    network = MemoryNetwork()
    with pytest.raises(StatusStore, match="the disk is full"):
        await ActorSystem("shop", extensions=[extension(network, status_store=Failing(at, error))]).start()
    async with ActorSystem("other", extensions=[extension(network)]) as system:
        assert system.running


class OwnBridge(PartitionBridge):
    """A bridge of the user's."""


async def test_the_bridge_is_made_by_the_factory_that_was_given():
    installed = extension(bridge=OwnBridge)
    async with ActorSystem("shop", extensions=[installed]):
        assert isinstance(installed.cluster.partition_bridge, OwnBridge)
        assert await installed.cluster.grain(Echo, "a").echo("hello") == "hello"


def broken(*_: Any) -> PartitionBridge:
    raise OSError("no route")


def nothing(*_: Any) -> Any:
    return None


@pytest.mark.parametrize(("factory", "reason"), [(broken, "no route"), (nothing, "None")])
async def test_a_bridge_that_cannot_be_made_fails_the_start_and_enables_nothing(factory: Any, reason: str):
    store = MemoryStatusStore()
    network = MemoryNetwork()
    tasks = asyncio.all_tasks()
    failing = extension(network, status_store=store, bridge=factory)
    with pytest.raises(BridgeCreateFailed, match=reason):
        await ActorSystem("shop", extensions=[failing]).start()
    assert asyncio.all_tasks() == tasks
    with pytest.raises(InvalidConfig, match="only after the actor system has started"):
        _ = failing.cluster
    assert store.status is not None
    assert (store.status.state, store.status.reason[:22]) == (BootstrapState.ERROR, "bridge_create_failed: ")
    async with ActorSystem("other", extensions=[extension(network)]) as system:
        assert system.running


async def test_the_error_of_the_start_is_told_when_the_store_fails_too():
    network = MemoryNetwork()
    async with ActorSystem("shop", extensions=[extension(network)]):
        failing = extension(network, status_store=Failing("error", OSError("the disk is full")))
        with pytest.raises(inaho.AuthorityInUse) as caught:
            await ActorSystem("other", extensions=[failing]).start()
    assert any("the disk is full" in note for note in caught.value.__notes__)


async def test_a_file_that_is_no_status_and_a_folder_that_is_not_there(tmp_path: Path):
    (tmp_path / "broken").write_text('{"state":"well"}')
    with pytest.raises(StatusStore, match="broken cannot be read"):
        await FileStatusStore(tmp_path / "broken").read()
    with pytest.raises(StatusStore, match="cannot be written"):
        await FileStatusStore(tmp_path / "nowhere" / "status").write(BootstrapStatus(BootstrapState.READY))


async def test_a_node_ends_in_order_with_nothing_active_and_then_says_so(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    store = MemoryStatusStore()
    installed = extension(status_store=store)
    async with ActorSystem("shop", extensions=[installed]):
        cluster = installed.cluster
        node = cluster.runtime
        await cluster.grain(Echo, "a").echo("hello")
        write = store.write

        def told(name: str, call: Any) -> Any:
            def recorded(*arguments: Any, **named: Any) -> Any:
                order.append(name)
                return call(*arguments, **named)

            return recorded

        async def written(status: BootstrapStatus) -> None:
            order.append(f"status with {node.activations.count} active")
            await write(status)

        monkeypatch.setattr(store, "write", written)
        monkeypatch.setattr(node.bridge, "wait_handed_over", told("hand-over", node.bridge.wait_handed_over))
        monkeypatch.setattr(node.shutdown, "_farewell", told("farewell", node.acceptor.farewell))
        assert node.control.driver is not None
        monkeypatch.setattr(node.control.driver, "stop", told("gossip", node.control.driver.stop))
        monkeypatch.setattr(node.runner, "stop", told("turns", node.runner.stop))
        monkeypatch.setattr(node.topology.lookup, "close", told("identity lookup", node.topology.lookup.close))
        monkeypatch.setattr(node.topology, "close", told("member list", node.topology.close))
        monkeypatch.setattr(node.peers, "close", told("connections", node.peers.close))
        monkeypatch.setattr(node.transport, "close", told("transport", node.transport.close))
    assert order == [
        "hand-over", "farewell", "gossip", "turns", "identity lookup", "member list", "connections", "transport",
        "status with 0 active",
    ]  # fmt: skip
    assert cluster.metrics()["inaho.activations"] in ([], [({"inaho.kind": "Echo"}, 0)])
    assert store.status is not None and store.status.state is BootstrapState.DISABLED
    with pytest.raises(ShuttingDown, match="looks up no owners") as refused:
        node.topology.lookup.owner("Echo", "a")
    assert refused.value.authority == cluster.authority
    members = cluster.members()
    node.topology_changes.apply(TopologySnapshot(version=99, hash=1, members=()))
    assert cluster.members() == members != ()
