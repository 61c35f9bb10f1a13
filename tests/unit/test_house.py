"""The layout rules of the repository: short modules, few collaborators, every room described."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "inaho"
RUNTIME = SOURCE / "runtime"

LINES_MAX = 400
COLLABORATORS_MAX = 8
VALUES = {"bool", "bytes", "float", "int", "str", "None", "type"}
"""Annotations of plain values: what a class is told, not what it works with."""

MODULES = sorted(path for folder in ("src", "tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py"))


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


def names_in(annotation: ast.expr) -> set[str]:
    """The names that an annotation is made of."""
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}


def collaborators(function: ast.FunctionDef) -> list[str]:
    """The parameters of a constructor that are objects with a behaviour of their own."""
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs][1:]
    return [p.arg for p in parameters if p.annotation is None or not names_in(p.annotation) <= VALUES]


def constructors(module: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    yield node.name, item


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(ROOT).as_posix())
def test_a_module_is_short_enough_to_be_read_at_once(module: Path):
    lines = module.read_text("utf-8").count("\n")
    assert lines <= LINES_MAX


def test_modules_of_the_runtime_are_neither_crumbs_nor_novels():
    lengths = [len(m.read_text("utf-8").splitlines()) for m in RUNTIME.rglob("*.py") if m.name != "__init__.py"]
    assert 80 <= statistics.median(lengths) <= 250


@pytest.mark.parametrize("module", sorted(RUNTIME.rglob("*.py")), ids=name_of)
def test_a_class_of_the_runtime_has_few_collaborators(module: Path):
    given = {name: collaborators(init) for name, init in constructors(module)}
    assert {name: parts for name, parts in given.items() if len(parts) > COLLABORATORS_MAX} == {}


@pytest.mark.parametrize("room", sorted(p for p in RUNTIME.iterdir() if (p / "__init__.py").is_file()), ids=name_of)
def test_a_room_says_what_lives_there_and_who_may_import_it(room: Path):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or ""
    assert "import" in text


def test_collaborators_are_counted():
    [init] = ast.parse("def __init__(self, a: Local, b: int, c: str | None, *, d: Callable[[], int], e): ...").body
    assert isinstance(init, ast.FunctionDef)
    assert collaborators(init) == ["a", "d", "e"]
