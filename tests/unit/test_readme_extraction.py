"""The examples of the READMEs: they are found, keep their line numbers, and are the same in both languages."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def extraction() -> ModuleType:
    """The script, imported from its file: `scripts` is not a package."""
    spec = importlib.util.spec_from_file_location("readme_examples", ROOT / "scripts/readme_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_are_written_with_their_line_numbers_and_old_ones_go(extraction: ModuleType, tmp_path: Path):
    (tmp_path / "README.md").write_text(
        "# x\n\n```python\na = 1\n```\n\n```console\n$ no\n```\n\n```python\nb = 2\n```\n"
    )
    (tmp_path / "README.ja.md").write_text("```python\na = 1\n```\n\n```python\nc = 3\n```\n")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "stale.py").touch()
    files = extraction.write_examples(tmp_path, folder)
    assert [file.name for file in files] == ["readme_4.py", "readme_12.py", "readme_ja_6.py"]
    assert sorted(folder.iterdir()) == sorted(files)
    for file, line, text in zip(files, (4, 12, 6), ("a = 1", "b = 2", "c = 3"), strict=True):
        assert file.read_text().splitlines()[line - 1] == text


def test_a_block_without_end_and_a_page_without_blocks_are_errors(extraction: ModuleType, tmp_path: Path):
    (tmp_path / "README.md").write_text("```python\na = 1\n")
    (tmp_path / "README.ja.md").write_text("")
    with pytest.raises(ValueError, match=r"README\.md: the block at line 2 does not end"):
        extraction.write_examples(tmp_path, tmp_path / "out")
    (tmp_path / "README.md").write_text("nothing here\n")
    with pytest.raises(ValueError, match="no Python examples"):
        extraction.write_examples(tmp_path, tmp_path / "out")


def test_both_languages_show_the_same_code(extraction: ModuleType):
    english, japanese = (
        [ast.dump(ast.parse(example.code)) for example in extraction.examples(name, (ROOT / name).read_text("utf-8"))]
        for name in extraction.READMES
    )
    assert english
    assert english == japanese
