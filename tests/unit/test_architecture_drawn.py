"""The drawn parts of `docs/architecture.md` are what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from inaho.core.activation.life import TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    """The script, imported from its file: `scripts` is not a package."""
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "scripts/draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_is_what_the_script_draws(drawing: ModuleType) -> None:
    document = drawing.DOCUMENT.read_text()
    assert drawing.drawn(document) == document, "run scripts/draw_architecture.py"


def test_a_part_that_was_changed_by_hand_is_drawn_again(drawing: ModuleType) -> None:
    document = drawing.DOCUMENT.read_text()
    assert drawing.drawn(document.replace("    [*] --> Activating\n", "")) == document


def test_a_part_without_a_place_is_an_error(drawing: ModuleType) -> None:
    with pytest.raises(ValueError, match="life of an activation"):
        drawing.drawn("# Architecture\n")


def test_every_change_of_state_is_drawn(drawing: ModuleType) -> None:
    picture = drawing.draw_life()
    for state, events in TRANSITIONS.items():
        for event, targets in events.items():
            for target in set(targets) - {state}:
                arrow = f"{drawing._name(state)} --> {drawing._name(target)}: "
                (line,) = [line for line in picture.splitlines() if arrow in line]
                assert event.value in line
