"""Draws the parts of `docs/architecture.md` that follow from the code, so that the document cannot say anything else.

Usage: `python scripts/draw_architecture.py` writes them. With `--check` it writes nothing, and ends with 1 where they
differ from the code. A part stands between the lines `<!-- drawn: NAME -->` and `<!-- end: NAME -->`; what draws it is
in `PARTS`.
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

DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"

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
    lines += ["", "| Reason of an end | `save()` | a reset that is due | calls that wait |", "|---|---|---|---|"]
    for reason, rule in REASONS.items():
        save = "allowed" if rule.save else "refused"
        reset = "is done before" if rule.reset else "is not done"
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


PARTS: Final[dict[str, Callable[[], str]]] = {"life of an activation": draw_life}
"""What draws each part."""


def drawn(document: str) -> str:
    """The document with all parts as the code has them.

    Raises:
        ValueError: a part has no place in the document.
    """
    for name, draw in PARTS.items():
        begin, end = f"<!-- drawn: {name} -->\n", f"<!-- end: {name} -->\n"
        before, found, rest = document.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{DOCUMENT.name} has no place for the part {name!r}")
        document = f"{before}{begin}\n{draw()}\n\n{end}{after}"
    return document


def main(arguments: list[str]) -> int:
    """Writes or checks the document."""
    document = DOCUMENT.read_text()
    expected = drawn(document)
    if "--check" in arguments:
        if document != expected:
            print(f"{DOCUMENT.name} is not what the code says: run {Path(__file__).name}")
        return int(document != expected)
    DOCUMENT.write_text(expected)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
