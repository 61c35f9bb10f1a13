"""The report of an acceptance run as Markdown: a pure function of what was asked, measured and judged.

Apart from `acceptance.py`, so that the tests can check what is said of a run without running one. A report is read
long after, elsewhere: it names commit, machine and versions, and no path of the machine that made it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["FULL_S", "Outcome", "Report", "Verdict", "as_markdown", "without_paths"]

FULL_S = 14_400.0
"""Seconds of a full run. A report of a shorter one says that it is short."""


class Verdict(Enum):
    """What came of a part.

    A missed target is no failure: it is a time on a machine that may be shared.
    """

    PASSED = "passed"
    MISSED = "target missed"
    FAILED = "FAILED"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Outcome:
    """What one part was asked, and what came of it.

    Attributes:
        name: of the part, as `--only` takes it.
        shows: what is shown if it passes.
        command: as it can be repeated in the root of a clone.
        asked: the repetitions that the budget allowed.
        measured: lines of what was found; empty when it was not run.
        verdict: the judgement.
        why: reason of a verdict that is not `PASSED`.
        seconds: that it took.
        log: the last lines of its output, where it failed.
    """

    name: str
    shows: str
    command: str = ""
    asked: str = ""
    measured: tuple[str, ...] = ()
    verdict: Verdict = Verdict.NOT_RUN
    why: str = ""
    seconds: float = 0.0
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes:
        date: of its beginning, YYYY-MM-DD.
        command: that started it.
        budget_s: seconds that were asked for.
        seconds: that it took.
        facts: names and values for the head: commit, machine, load, versions.
        outcomes: of all parts, in the order in which they ran.
    """

    date: str
    command: str
    budget_s: float
    seconds: float
    facts: Mapping[str, str]
    outcomes: Sequence[Outcome]


def without_paths(text: str, known: Mapping[str, str]) -> str:
    """`text` without paths of this machine.

    Args:
        text: what a part has written.
        known: folders and what stands for each, e.g. of the clone and of temporary files; longer ones are looked for
            first. Of any other absolute path only the last name is left.
    """
    for folder in sorted(known, key=len, reverse=True):
        text = text.replace(folder, known[folder])
    return re.sub(r"(?<![\w.$~/:>)\]}-])/(?:[\w.@+-]+/)+([\w.@+-]*)", r"…/\1", text)


def as_markdown(report: Report) -> str:
    """The report as a document."""
    counts = [(verdict, sum(each.verdict is verdict for each in report.outcomes)) for verdict in Verdict]
    facts = {
        **report.facts,
        "asked": f"`{report.command}`",
        "budget": f"{report.budget_s:,.0f} s",
        "took": f"{report.seconds:,.0f} s",
    }
    lines = [
        f"# Acceptance of {report.date}",
        "",
        ", ".join(f"{count} {verdict.value}" for verdict, count in counts if count) + ".",
    ]
    if report.budget_s < FULL_S:
        lines += [
            "",
            f"This was a short run: {report.budget_s:,.0f} s of the {FULL_S:,.0f} s of a full one. It shows that the "
            "parts work; a percentile of few repetitions is only the largest of them.",
        ]
    lines += ["", "| | |", "|---|---|", *(_row(name, value) for name, value in facts.items())]
    lines += ["", "| Part | What it shows | Asked | Measured | Took, s | Verdict |", "|---|---|---|---|---:|---|"]
    lines += [_line(each) for each in report.outcomes]
    lines += ["", "## Commands", "", "From the root of a clone, after `make setup`:", ""]
    lines += [f"- {each.name}: `{each.command}`" for each in report.outcomes if each.command]
    for each in report.outcomes:
        if each.log:
            lines += ["", f"## The last lines of {each.name}", "", *(f"    {line}".rstrip() for line in each.log)]
    return "\n".join(lines) + "\n"


def _line(each: Outcome) -> str:
    verdict = f"{each.verdict.value}: {each.why}" if each.why else each.verdict.value
    took = f"{each.seconds:,.0f}" if each.verdict is not Verdict.NOT_RUN else ""
    return _row(each.name, each.shows, each.asked, "<br>".join(each.measured), took, verdict)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
