"""Any sequence of changes and failures leaves the set of providers, the file and what was told equal."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.errors import ProviderError
from inaho.providers.registered import Owner
from support.registries import TestedRegistry

NAMES = st.sampled_from(["a", "b", "c", "d"])
DEFINITIONS = st.builds(
    ProviderDescriptor,
    name=NAMES,
    url=st.sampled_from(["memory://x", "seeds://a:1", "etcdd://x", "memory://x/y"]),
    priority=st.integers(0, 2),
)
Step = ProviderDescriptor | str | tuple[ProviderDescriptor, ...] | None
"""Add it, remove the name, replace all by these, start the node again."""

STEPS: st.SearchStrategy[list[Step]] = st.lists(
    DEFINITIONS | NAMES | st.lists(DEFINITIONS, max_size=3).map(tuple) | st.none(),
    max_size=12,
)


async def run(folder: Path, steps: list[Step]) -> None:
    config = ProvisioningConfig(validation_failures_max=1000, providers_max=3)
    given_ = [ProviderDescriptor(name="a", url="seeds://a:1", priority=1)]
    tested = TestedRegistry(folder, config=config)
    await tested.registry.open(given_)
    expected: dict[str, ProviderDescriptor] = {}  # of the file
    for value in steps:
        changed = dict(expected)
        if value is None:
            tested = TestedRegistry(folder, config=config)
            await tested.registry.open(given_)
        elif isinstance(value, ProviderDescriptor):
            changed[value.name] = value
        elif isinstance(value, str):
            changed.pop(value, None)
        else:
            changed = {each.name: each for each in value}
        before = tested.registry.providers
        try:
            if isinstance(value, ProviderDescriptor):
                await tested.registry.add(value)
            elif isinstance(value, str):
                await tested.registry.remove(value)
            elif value is not None:
                await tested.registry.replace_all(value)
        except ProviderError:
            assert tested.registry.providers == before
        else:
            expected = changed
        assert await tested.store.load() == tuple(expected.values())
        ordered = sorted([*given_, *expected.values()], key=lambda each: each.priority)
        assert [each.definition for each in tested.registry.providers] == ordered
        assert tested.sets[-1] == tested.names
        owners = {each.name: each.owner for each in tested.registry.providers}
        assert owners == {"a": Owner.CONFIGURATION, **dict.fromkeys(expected, Owner.STORE)}


@given(steps=STEPS)
def test_the_set_and_the_file_are_equal_after_each_step(steps: list[Step]):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), steps))
