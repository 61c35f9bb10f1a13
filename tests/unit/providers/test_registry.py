"""The set of providers of a node: names, owners, order, capabilities, restarts, failures (SPEC PR-1, PR-5)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.core.provisioning.descriptor import Capabilities
from inaho.errors import (
    ProviderInvalid,
    ProviderStoreDamaged,
    ProviderStoreFailed,
    ProviderStreamFailed,
    ProviderUnreachable,
    ShuttingDown,
)
from inaho.events import (
    ProviderDisabled,
    ProviderRegistered,
    ProviderRemoved,
)
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.providers.registered import Owner
from support.registries import MEMBERSHIP, NOTHING, TestedRegistry

DOWN = ProviderUnreachable("provider x: 10.0.0.9:2379 refuses connections")


def defined(name: str, url: str = "memory://shop", priority: int = 0) -> ProviderDescriptor:
    return ProviderDescriptor(name=name, url=url, priority=priority)


@pytest.fixture
async def tested(tmp_path: Path) -> TestedRegistry:
    """With the providers `a` and `b` of the configuration."""
    tested = TestedRegistry(tmp_path)
    await tested.registry.open([defined("a"), defined("b")])
    return tested


async def again(tmp_path: Path, needed: Capabilities = NOTHING) -> TestedRegistry:
    """The node is started again."""
    tested = TestedRegistry(tmp_path, needed)
    await tested.registry.open([defined("a"), defined("b")])
    return tested


# PR-1.1: missing fields.


async def test_pr_1_1_missing_required_fields_are_refused_each_named(tested: TestedRegistry):
    before = tested.registry.providers
    with pytest.raises(ProviderInvalid, match=r"name is missing; url is missing; secrets\.x: give either env or file"):
        await tested.registry.add(ProviderDescriptor(secrets={"x": SecretReference()}))
    with pytest.raises(ProviderInvalid, match=r"unknown scheme 'etcdd'; known are .*etcd, "):
        await tested.registry.add(defined("c", "etcdd://a:1"))
    with pytest.raises(ProviderInvalid, match=r"provider 'c': url: the URL has no scheme"):
        await tested.registry.add(defined("c", "10.0.0.9:2379"))
    assert tested.registry.providers == before
    assert await tested.stored() == []


async def test_an_object_that_lacks_what_a_provider_has_is_refused_with_all_that_it_lacks(tested: TestedRegistry):
    class Half:
        name = "half"
        capabilities = Capabilities(watch=True)

        async def read(self) -> None: ...

    missing = "Half is no provider: method check is missing; method close is missing; method watch is missing"
    with pytest.raises(ProviderInvalid, match=missing):
        await tested.registry.add(Half())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ProviderInvalid, match="name is missing; capabilities is missing; method check is missing"):
        await tested.registry.add(object())  # type: ignore[arg-type]
    assert tested.names == ["a", "b"]


async def test_a_start_with_mistakes_names_all_of_them_and_makes_nothing(tmp_path: Path):
    tested = TestedRegistry(tmp_path)
    bad = [defined("a"), defined("b", "memory://x/y"), defined("c", "etcdd://x")]
    with pytest.raises(ProviderInvalid, match=r"provider b: write memory://.*; provider c: unknown scheme"):
        await tested.registry.open(bad)
    assert (tested.names, tested.events, tested.sets) == ([], [], [])
    with pytest.raises(ProviderInvalid, match="the name a is taken"):
        await tested.registry.open([defined("a"), defined("a", "memory://x")])
    assert tested.names == []


# PR-1.2: names.


@pytest.mark.parametrize("name", ["a", "c"])
async def test_pr_1_2_a_taken_name_is_an_error_and_the_existing_provider_stays(tested: TestedRegistry, name: str):
    await tested.registry.add(defined("c"))
    before = tested.registry.providers
    with pytest.raises(ProviderInvalid, match=f"the name {name} is taken by another provider: remove that one"):
        await tested.registry.add(defined(name, "memory://other"))
    with pytest.raises(ProviderInvalid, match=f"the name {name} is taken"):
        await tested.registry.add(MemoryProvider(name))
    assert tested.registry.providers == before
    for each in before:
        assert each.provider is not None
        await each.provider.check()  # none was closed


async def test_what_the_configuration_has_cannot_be_removed_or_replaced(tested: TestedRegistry):
    with pytest.raises(ProviderInvalid, match="the provider a belongs to the configuration; change it there"):
        await tested.registry.remove("a")
    with pytest.raises(ProviderInvalid, match="the name b is taken"):
        await tested.registry.replace_all([defined("c"), defined("b")])
    with pytest.raises(ProviderInvalid, match="there is no provider 'x'; there are a, b"):
        await tested.registry.remove("x")
    assert tested.names == ["a", "b"]


async def test_the_configuration_wins_over_the_file_without_changing_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    tested = TestedRegistry(tmp_path)
    added = defined("b", "memory://other")
    await tested.store.change(add=[added])
    with caplog.at_level(logging.WARNING, "inaho.providers"):
        tested = await again(tmp_path)
    assert [(each.name, each.owner, each.url) for each in tested.registry.providers] == [
        ("a", Owner.CONFIGURATION, "memory://shop"),
        ("b", Owner.CONFIGURATION, "memory://shop"),
    ]
    assert "the added provider b is not used: the configuration has its name" in caplog.text
    assert await tested.store.load() == (added,)


# PR-1.3: capabilities.


async def test_pr_1_3_a_provider_that_lacks_a_capability_is_disabled_with_the_reason(tmp_path: Path):
    tested = await again(tmp_path, MEMBERSHIP)
    added = await tested.registry.add(defined("c", "seeds://10.0.0.1:7700", priority=-1))
    reason = "the node needs registration of members, entries with node ids, kinds and weights, which it does not have"
    assert (added.disabled, added.provider) == (reason, None)
    assert tested.names == ["c", "a", "b"]
    assert tested.told(ProviderDisabled) == [ProviderDisabled(provider="c", reason=reason)]
    assert await tested.stored() == ["c"]
    tested = await again(tmp_path)  # nothing is needed of it any more
    [found] = [each for each in tested.registry.providers if each.name == "c"]
    assert found.disabled == ""
    assert found.provider is not None


# PR-1.4: connectivity.


async def test_pr_1_4_a_provider_is_reached_before_it_is_accepted(tested: TestedRegistry):
    topology = MemoryTopology.named("c")
    refused = ProviderInvalid("provider c: the password is refused")
    for error in (DOWN, refused, ProviderStreamFailed("provider c: strange")):
        topology.fail(error)
        with pytest.raises(type(error), match=error.reason):
            await tested.registry.add(defined("c", "memory://c"))
    topology.fail(None)
    topology.pause()
    with pytest.raises(ProviderUnreachable, match="provider c: the memory topology has not answered within"):
        await tested.registry.add(defined("c", "memory://c"))
    assert (tested.names, await tested.stored()) == (["a", "b"], [])
    topology.resume()
    await tested.registry.add(defined("c", "memory://c"))
    assert (tested.names, await tested.stored()) == (["a", "b", "c"], ["c"])


async def test_at_the_start_a_server_that_is_down_is_no_error_but_refused_credentials_are(tmp_path: Path):
    topology = MemoryTopology.named("start")
    topology.fail(DOWN)
    tested = TestedRegistry(tmp_path)
    await tested.registry.open(["memory://start", "memory://shop"])
    assert [each.disabled for each in tested.registry.providers] == ["", ""]
    topology.fail(ProviderInvalid("provider memory: the password is refused"))
    tested = TestedRegistry(tmp_path)
    with pytest.raises(ProviderInvalid, match="the password is refused"):
        await tested.registry.open(["memory://start", "memory://shop"])
    assert tested.names == []


async def test_a_definition_in_the_file_that_is_not_valid_any_more_is_disabled(tmp_path: Path):
    tested = TestedRegistry(tmp_path)
    await tested.store.change(add=[defined("c", "memory://x/y"), defined("d")])
    tested = await again(tmp_path)
    [found] = [each for each in tested.registry.providers if each.disabled]
    assert (found.name, found.provider) == ("c", None)
    assert "write memory:// and one name" in found.disabled
    assert tested.names == ["a", "b", "c", "d"]
    await tested.registry.remove("c")
    assert await tested.stored() == ["d"]


async def test_an_object_may_fail_in_its_own_way(tested: TestedRegistry):
    class Broken(MemoryProvider):
        async def check(self) -> None:
            raise KeyError("token")

        async def close(self) -> None:
            raise RuntimeError("cannot close")

    with pytest.raises(ProviderInvalid, match=r"provider broken: its check failed: KeyError.*token"):
        await tested.registry.add(Broken("broken"))
    assert tested.names == ["a", "b"]


# PR-1.5: restarts.


async def test_pr_1_5_accepted_definitions_are_there_after_a_restart_and_objects_are_not(
    tested: TestedRegistry, tmp_path: Path
):
    await tested.registry.add(defined("c", priority=5))
    await tested.registry.add(defined("d", priority=-5))
    await tested.registry.add(MemoryProvider("mine"), priority=1)
    assert tested.names == ["d", "a", "b", "mine", "c"]
    owners = [each.owner for each in tested.registry.providers]
    assert owners == [Owner.STORE, Owner.CONFIGURATION, Owner.CONFIGURATION, Owner.PROGRAM, Owner.STORE]
    before = [(each.name, each.definition) for each in tested.registry.providers if each.definition]
    await tested.registry.remove("mine")
    assert tested.names == ["d", "a", "b", "c"]
    assert await tested.stored() == ["c", "d"]
    tested = await again(tmp_path)
    assert [(each.name, each.definition) for each in tested.registry.providers] == before
    await tested.registry.remove("d")
    assert [event.provider for event in tested.told(ProviderRemoved) if isinstance(event, ProviderRemoved)] == ["d"]
    assert (await again(tmp_path)).names == ["a", "b", "c"]


async def test_a_damaged_file_refuses_the_start_and_changes(tested: TestedRegistry, tmp_path: Path):
    await tested.registry.add(defined("c"))
    await asyncio.to_thread((tmp_path / "providers.jsonl").write_bytes, b"{}\n")
    with pytest.raises(ProviderStoreDamaged, match=r"providers\.jsonl, line 1"):
        await again(tmp_path)
    with pytest.raises(ProviderStoreDamaged):
        await tested.registry.add(defined("d"))
    with pytest.raises(ProviderStoreDamaged):
        await tested.registry.remove("c")
    assert tested.names == ["a", "b", "c"]


async def test_a_file_that_cannot_be_written_leaves_the_set(tested: TestedRegistry, tmp_path: Path):
    await asyncio.to_thread((tmp_path / "providers.lock").mkdir)
    with pytest.raises(ProviderStoreFailed, match="cannot be written"):
        await tested.registry.add(defined("c"))
    assert (tested.names, await tested.stored()) == (["a", "b"], [])


async def test_a_caller_that_is_cancelled_while_the_file_is_written_leaves_file_and_set_equal(
    tested: TestedRegistry, monkeypatch: pytest.MonkeyPatch
):
    begun, go = asyncio.Event(), asyncio.Event()
    change = tested.store.change

    async def slowly(**changes: Any) -> None:
        begun.set()
        await go.wait()
        await change(**changes)

    monkeypatch.setattr(tested.store, "change", slowly)
    adding = asyncio.create_task(tested.registry.add(defined("c")))
    await begun.wait()
    for _ in range(3):  # also if it is cancelled again
        adding.cancel()
        await asyncio.sleep(0)
    removing = asyncio.create_task(tested.registry.remove("c"))
    assert not adding.done()
    begun.clear()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert tested.names == ["a", "b", "c"]
    await removing
    assert tested.sets[1:] == [["a", "b", "c"], ["a", "b"]]
    assert await tested.stored() == []


async def test_a_caller_that_is_cancelled_before_has_added_nothing(tested: TestedRegistry):
    topology = MemoryTopology.named("c")
    topology.pause()
    adding = asyncio.create_task(tested.registry.add(defined("c", "memory://c")))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert (tested.names, await tested.stored()) == (["a", "b"], [])


async def test_a_node_that_leaves_takes_no_change(tested: TestedRegistry):
    await tested.registry.add(defined("c"))
    topology = MemoryTopology.named("d")
    topology.pause()
    adding = asyncio.create_task(tested.registry.add(defined("d", "memory://d")))
    await asyncio.sleep(0)
    tested.registry.close()
    topology.resume()
    for change in (adding, tested.registry.remove("c"), tested.registry.replace_all([])):
        with pytest.raises(ShuttingDown, match="the node leaves"):
            await change
    assert (tested.names, await tested.stored()) == (["a", "b", "c"], ["c"])
    assert len(tested.sets) == 2


async def test_changes_at_once_are_made_one_after_another(tested: TestedRegistry):
    results = await asyncio.gather(
        *(tested.registry.add(defined("c", f"memory://{number}")) for number in range(4)), return_exceptions=True
    )
    assert [isinstance(each, ProviderInvalid) for each in results] == [False, True, True, True]
    assert [each.url for each in await tested.store.load()] == ["memory://0"]
    await asyncio.gather(tested.registry.add(defined("d")), tested.registry.remove("c"))
    assert (tested.names, await tested.stored()) == (["a", "b", "d"], ["d"])


# Order and events.


async def test_the_order_is_the_priority_then_the_order_of_registration(tmp_path: Path):
    tested = TestedRegistry(tmp_path)
    await tested.registry.open(["memory://x", defined("low", priority=9), MemoryProvider("mine"), "memory://y"])
    assert tested.names == ["memory", "mine", "memory-2", "low"]
    assert tested.sets == [tested.names]
    urls = {event.provider: event.url for event in tested.events if isinstance(event, ProviderRegistered)}
    assert urls == {"memory": "memory://x", "low": "memory://shop", "mine": "MemoryProvider", "memory-2": "memory://y"}


async def test_there_are_at_most_so_many_providers(tmp_path: Path):
    tested = TestedRegistry(tmp_path, config=ProvisioningConfig(providers_max=2))
    await tested.registry.open([defined("a"), defined("b")])
    with pytest.raises(ProviderInvalid, match=r"3 providers are more than 2 \(provisioning\.providers_max\)"):
        await tested.registry.add(defined("c"))
    assert (tested.names, await tested.stored()) == (["a", "b"], [])
