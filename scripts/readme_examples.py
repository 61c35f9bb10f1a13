"""Writes the Python examples of the READMEs and the guides to files, so that type checkers read what users copy.

Usage: `python scripts/readme_examples.py FOLDER`. The folder is emptied first. A block starts with a line of three
backquotes and `python`; its file keeps the line numbers of the README, so that a complaint about line 40 is about line
40 there. Equal blocks of the two languages are written once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.ja.md")
GUIDES = ("docs/pubsub.md",)
"""Pages of which each block is a whole program."""


class Example(NamedTuple):
    """One block: the page it stands in, the number of its first line (from 1), and its text."""

    readme: str
    line: int
    code: str


def examples(readme: str, text: str) -> Iterator[Example]:
    """Yields the Python blocks of `text`; raises ValueError when one does not end."""
    start = 0
    block: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if start and line.rstrip() == "```":
            yield Example(readme, start, "\n".join(block) + "\n")
            start, block = 0, []
        elif start:
            block.append(line)
        elif line.rstrip() == "```python":
            start = number + 1
    if start:
        raise ValueError(f"{readme}: the block at line {start} does not end")


def write_examples(root: Path, folder: Path) -> list[Path]:
    """Writes the examples of `root`'s READMEs and guides to `folder` and returns the files.

    Raises:
        ValueError: a block does not end, or there is none at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    seen: list[str] = []
    files: list[Path] = []
    for readme in (*READMES, *(guide for guide in GUIDES if (root / guide).exists())):
        for example in examples(readme, (root / readme).read_text("utf-8")):
            if example.code in seen:
                continue
            seen.append(example.code)
            file = folder / f"{Path(readme).name.removesuffix('.md').replace('.', '_').lower()}_{example.line}.py"
            file.write_text("\n" * (example.line - 1) + example.code, "utf-8")
            files.append(file)
    if not files:
        raise ValueError("the READMEs have no Python examples")
    return files


def main() -> None:
    """Command line."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for file in write_examples(ROOT, Path(sys.argv[1])):
        print(file)


if __name__ == "__main__":
    main()
