"""Whole sets of providers, and suspended validation (SPEC PR-5.2, PR-5.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from inaho.config import ProviderDescriptor
from inaho.errors import ProviderInvalid, ProviderUnreachable
from inaho.events import ProviderRegistered, ProviderRemoved, ProviderValidationSuspended
from inaho.providers.memory import MemoryProvider, MemoryTopology
from support.registries import TestedRegistry

DOWN = ProviderUnreachable("provider x: 10.0.0.9:2379 refuses connections")


def defined(name: str, url: str = "memory://shop", priority: int = 0) -> ProviderDescriptor:
    return ProviderDescriptor(name=name, url=url, priority=priority)


async def started(tmp_path: Path) -> TestedRegistry:
    tested = TestedRegistry(tmp_path)
    await tested.registry.open([defined("a"), defined("b")])
    return tested


@pytest.fixture
async def tested(tmp_path: Path) -> TestedRegistry:
    """With the providers `a` and `b` of the configuration."""
    return await started(tmp_path)


# PR-5.4: the old set or the new set.


async def test_pr_5_4_a_new_set_replaces_the_old_one_in_one_step(tested: TestedRegistry, tmp_path: Path):
    await tested.registry.replace_all([defined("c"), defined("d"), defined("e")])
    mine = MemoryProvider("mine")
    await tested.registry.add(mine)
    kept = {each.name: each.provider for each in tested.registry.providers}
    tested.sets.clear()
    tested.events.clear()
    await tested.registry.replace_all([defined("f"), defined("e", "memory://other"), defined("c")])
    assert tested.sets == [["a", "b", "mine", "f", "e", "c"]]
    now = {each.name: each.provider for each in tested.registry.providers}
    assert (now["c"] is kept["c"], now["mine"] is mine, now["e"] is kept["e"]) == (True, True, False)
    assert [event.provider for event in tested.events if isinstance(event, ProviderRemoved)] == ["d", "e"]
    assert [event.provider for event in tested.events if isinstance(event, ProviderRegistered)] == ["f", "e"]
    assert await tested.stored() == ["f", "e", "c"]
    assert (await started(tmp_path)).names == ["a", "b", "f", "e", "c"]


async def test_pr_5_4_a_new_set_with_a_mistake_leaves_the_old_one(tested: TestedRegistry):
    down = MemoryTopology.named("down")
    down.fail(DOWN)
    await tested.registry.replace_all([defined("c"), defined("d")])
    before, stored = tested.registry.providers, await tested.store.load()
    tested.sets.clear()
    for wrong, error in (
        (defined("f", "etcdd://x"), ProviderInvalid),
        (defined("c", "memory://other"), ProviderInvalid),
        (defined("f", "memory://down"), ProviderUnreachable),
    ):
        with pytest.raises(error):
            await tested.registry.replace_all([defined("e"), defined("c"), wrong])
        assert (tested.registry.providers, await tested.store.load()) == (before, stored)
    assert tested.sets == []
    for each in before:
        assert each.provider is not None
        await each.provider.check()


# PR-5.2: suspension.


async def test_pr_5_2_validation_that_fails_over_and_over_is_suspended_for_a_while(tested: TestedRegistry):
    bad = defined("c", "etcdd://x")
    down = MemoryTopology.named("down")
    down.fail(DOWN)
    for _ in range(4):
        with pytest.raises(ProviderInvalid, match="unknown scheme"):
            await tested.registry.add(bad)
    await tested.registry.add(defined("good"))  # so these four are not in a row with the next ones
    for number in range(5):
        assert tested.told(ProviderValidationSuspended) == []
        with pytest.raises(ProviderUnreachable):  # a failure of another kind does not count
            await tested.registry.add(defined("d", "memory://down"))
        with pytest.raises(ProviderInvalid, match="unknown scheme"):
            await (tested.registry.add(bad) if number % 2 else tested.registry.replace_all([bad]))
    [event] = tested.told(ProviderValidationSuspended)
    assert isinstance(event, ProviderValidationSuspended)
    assert (event.failures, event.for_s) == (5, 60.0)
    assert "unknown scheme" in event.reason
    tested.now = 59.5
    for refused in (tested.registry.add(defined("e")), tested.registry.replace_all([])):
        with pytest.raises(ProviderInvalid, match=r"no provider is accepted for another 0\.5 s, because 5 definitions"):
            await refused
    await tested.registry.remove("good")
    tested.now = 60.0
    await tested.registry.add(defined("e"))
    assert tested.names == ["a", "b", "e"]
    assert len(tested.told(ProviderValidationSuspended)) == 1
