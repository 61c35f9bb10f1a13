"""What all events have in common: frozen, stamped by whoever publishes, named as exported."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from inaho import events
from inaho.events import Event

EVENTS = [kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, Event)]
EXPORTED = [getattr(events, name) for name in events.__all__]


def test_what_is_exported_is_an_event_and_every_event_is_exported() -> None:
    assert all(issubclass(kind, Event) for kind in EXPORTED)
    bases = {base for kind in EVENTS for base in kind.__bases__}
    assert {kind for kind in EVENTS if kind not in bases} <= set(EXPORTED)
    assert len(events.__all__) == len(set(events.__all__)), "two modules export one name"


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_an_event_cannot_be_changed_and_is_made_by_keyword(kind: type[Event]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in inspect.signature(kind).parameters.values())
    assert {"at", "cause"} <= {field.name for field in msgspec.structs.fields(kind)}
    assert kind.__doc__


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_the_core_leaves_the_time_to_the_publisher(kind: type[Event]) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    assert defaults["at"] == 0.0 and defaults["cause"] == ""


SUBJECTS = {
    "topic",
    "identity",
    "kind",
    "key",
    "authority",
    "member",
    "provider",
    "node_id",
    "path",
    "pid",
    "recipient",
}
"""Fields that say whom an event is about; more of them are allowed."""

OF_THE_NODE = {
    "ConvergenceDelayed",
    "ConvergenceReached",
    "NodePaused",
    "OwnersChanged",
    "ProviderValidationSuspended",
    "ProvisioningUnavailable",
    "StorageAccepted",
    "StorageDataLost",
    "TopologyChanged",
}
"""Events about the publishing node itself, or about the whole cluster."""


def test_cl_10_1_an_event_says_whom_it_is_about_and_what_happened() -> None:
    fields = {kind: {field.name for field in msgspec.structs.fields(kind)} - {"at", "cause"} for kind in EXPORTED}
    bases = {base for kind in EXPORTED for base in kind.__bases__}
    without = {kind.__name__ for kind, names in fields.items() if kind not in bases and not names & SUBJECTS}
    assert without == OF_THE_NODE
    assert all(fields[kind] for kind in EXPORTED if kind is not Event)
