"""The drawn parts of `docs/architecture.md` and `docs/modules.md` are what the code says."""

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


def test_each_document_is_what_the_script_draws(drawing: ModuleType) -> None:
    for path in drawing.PARTS:
        document = path.read_text()
        assert drawing.drawn(path, document) == document, "run scripts/draw_architecture.py"


def test_a_part_that_was_changed_by_hand_is_drawn_again(drawing: ModuleType) -> None:
    document = drawing.ARCHITECTURE.read_text()
    assert drawing.drawn(drawing.ARCHITECTURE, document.replace("    [*] --> Activating\n", "")) == document


def test_a_part_without_a_place_is_an_error(drawing: ModuleType) -> None:
    with pytest.raises(ValueError, match="life of an activation"):
        drawing.drawn(drawing.ARCHITECTURE, "# Architecture\n")


def test_every_module_is_in_the_map(drawing: ModuleType) -> None:
    table = drawing.draw_modules()
    modules = [path for path in drawing.SOURCE.rglob("*.py") if not path.name.startswith("__")]
    assert table.count("\n| `") == len(modules)
    assert "| `conflicts` | Decides which side holds" in table


@pytest.mark.parametrize("docstring", ["", '"""No full stop"""', '"""A sentence that goes on\nin a second line."""'])
def test_a_module_without_one_sentence_on_its_first_line_is_an_error(
    drawing: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docstring: str
) -> None:
    monkeypatch.setattr(drawing, "SOURCE", tmp_path)
    module = tmp_path / "module.py"
    module.write_text(f"{docstring}\n")
    with pytest.raises(ValueError, match=r"module\.py"):
        drawing.first_line(module)


def test_every_change_of_state_is_drawn(drawing: ModuleType) -> None:
    picture = drawing.draw_life()
    for state, events in TRANSITIONS.items():
        for event, targets in events.items():
            for target in set(targets) - {state}:
                arrow = f"{drawing._name(state)} --> {drawing._name(target)}: "
                (line,) = [line for line in picture.splitlines() if arrow in line]
                assert event.value in line
