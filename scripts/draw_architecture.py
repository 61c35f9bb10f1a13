"""Generates the parts of `docs/architecture.md` and `docs/modules.md` that follow from the code.

Usage: `python scripts/draw_architecture.py` writes them. With `--check` it writes nothing, and ends with 1 where they
differ from the code. A part stands between the lines `<!-- drawn: NAME -->` and `<!-- end: NAME -->`; `PARTS` names the
function that draws it. So these parts are never out of date: a test fails when they are.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from inaho.core.activation.life import REASONS, TRANSITIONS, ActivationEvent, ActivationState

ROOT: Final = Path(__file__).resolve().parents[1]
ARCHITECTURE: Final = ROOT / "docs" / "architecture.md"
MODULES: Final = ROOT / "docs" / "modules.md"
SOURCE: Final = ROOT / "src" / "inaho"

DUE: Final = {
    ActivationState.RESET_DUE: "a reset is due",
    ActivationState.ENDING: "an end is due",
    ActivationState.UNPROVED: "a proof is required",
}
"""When a state is entered that is not the last one of an entry of `TRANSITIONS`."""


def draw_life() -> str:
    """The states of an activation: a diagram, and what each state and each reason means."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_name(ActivationState.ACTIVATING)}"]
    for state, events in TRANSITIONS.items():
        for target, labels in _arrows(state, events).items():
            lines.append(f"    {_name(state)} --> {_name(target)}: {', '.join(labels)}")
    lines += [f"    {_name(ActivationState.GONE)} --> [*]", "```", ""]
    lines += ["| State | Meaning |", "|---|---|"]
    lines += [f"| {_name(state)} | {text} |" for state, text in _meanings(ActivationState).items()]
    lines += ["", "| Reason of an end | `save()` | pending reset | calls that wait |", "|---|---|---|---|"]
    for reason, rule in REASONS.items():
        save = "allowed" if rule.save else "refused"
        reset = "done first" if rule.reset else "skipped"
        lines.append(f"| `{reason}` | {save} | {reset} | go on {rule.waiting} |")
    return "\n".join(lines)


def _arrows(
    state: ActivationState, events: Mapping[ActivationEvent, tuple[ActivationState, ...]]
) -> dict[ActivationState, list[str]]:
    """The labels of what leads from one state to others; events that change nothing are left out."""
    arrows: dict[ActivationState, list[str]] = {}
    for event, targets in events.items():
        *_, last = targets
        for target in targets:
            if target is not state:
                condition = DUE[target] if target is not last else "otherwise" if len(targets) > 1 else ""
                label = f"{event.value} [{condition}]" if condition else event.value
                arrows.setdefault(target, []).append(label)
    return arrows


def _name(state: ActivationState) -> str:
    return state.name.title().replace("_", "")


def _meanings(states: type[enum.Enum]) -> dict[ActivationState, str]:
    """The text below each member of an enum of states."""
    (definition,) = ast.parse(inspect.getsource(states)).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    found: dict[ActivationState, str] = {}
    for member, text in itertools.pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            (name,) = member.targets
            found[ActivationState[ast.unparse(name)]] = ast.literal_eval(text.value)
    return found


def draw_modules() -> str:
    """Each package with the first line of its docstring, and a table of its modules with the first line of theirs."""
    lines: list[str] = []
    for package in sorted(SOURCE.rglob("__init__.py"), key=lambda path: path.parent.parts):
        folder = package.parent
        name = folder.relative_to(SOURCE).as_posix()
        modules = sorted(path for path in folder.glob("*.py") if not path.name.startswith("__"))
        lines += [f"## {'inaho' if folder == SOURCE else name}", "", first_line(package), ""]
        if modules:
            lines += ["| Module | |", "|---|---|"]
            lines += [f"| `{path.stem}` | {first_line(path).replace('|', chr(92) + '|')} |" for path in modules]
            lines.append("")
    return "\n".join(lines[:-1])


def first_line(path: Path) -> str:
    """The first line of a module's docstring.

    Raises:
        ValueError: there is none, or it is not a sentence on one line.
    """
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    line, _, rest = text.partition("\n")
    if not line.endswith(".") or (rest and not rest.startswith("\n")):
        raise ValueError(f"the docstring of {path.relative_to(SOURCE)} does not begin with one sentence on one line")
    return line


PARTS: Final[dict[Path, dict[str, Callable[[], str]]]] = {
    ARCHITECTURE: {"life of an activation": draw_life},
    MODULES: {"modules": draw_modules},
}
"""What draws each part of each document."""


def drawn(path: Path, document: str) -> str:
    """The document at `path` with all its parts as the code has them; `document` is its text.

    Raises:
        ValueError: a part has no place in the document.
    """
    for name, draw in PARTS[path].items():
        begin, end = f"<!-- drawn: {name} -->\n", f"<!-- end: {name} -->\n"
        before, found, rest = document.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{path.name} has no place for the part {name!r}")
        document = f"{before}{begin}\n{draw()}\n\n{end}{after}"
    return document


def main(arguments: list[str]) -> int:
    """Writes or checks the documents."""
    differ = 0
    for path in PARTS:
        document = path.read_text()
        expected = drawn(path, document)
        if "--check" not in arguments:
            path.write_text(expected)
        elif document != expected:
            differ = 1
            print(f"{path.name} differs from the code: run {Path(__file__).name}")
    return differ


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
