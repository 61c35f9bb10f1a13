"""The import contracts hold, and really fail when a module breaks them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Runs the contracts of `root/pyproject.toml` over `root/src`."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to be spoilt."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("core/membership", "import asyncio", "core and wire are pure"),
        ("core/gossip", "from random import Random", "core and wire are pure"),
        ("core/detection", "from concurrent.futures import Future", "core and wire are pure"),
        ("wire", "import time", "core and wire are pure"),
        ("core/membership", "import inaho.observe", "imports go down only"),
        ("core/identity", "import inaho.wire", "imports go down only"),
        ("providers", "import inaho.storage", "imports go down only"),
        ("config", "import inaho.authority", "imports go down only"),
        ("observe", "import inaho.config.sources", "settings are read from files"),
        ("core/gossip", "import inaho.core.membership", "machines of the core meet only"),
        ("cli/quickstart", "import inaho.runtime.cluster.join", "the command line does what any program can do"),
        ("cli/up", "import inaho.cli.commands.up", "parts of the command line know no command"),
        ("providers", "import httpx", "optional dependencies are imported only"),
        ("observe", "import redis", "optional dependencies are imported only"),
    ],
)
def test_a_planted_violation_is_found(copy: Path, module: str, statement: str, contract: str):
    (copy / "src/inaho" / module / "planted.py").write_text(f'"""Planted."""\n\n{statement}\n')
    done = lint_imports(copy)
    assert done.returncode != 0
    [verdict] = [line for line in done.stdout.splitlines() if line.startswith(contract) and " BROKEN" in line]
    assert contract in verdict
    assert "planted" in done.stdout


@pytest.mark.parametrize(
    ("package", "module", "statement"),
    [
        ("inaho.errors", "errors/base", "from inaho.errors.calls import Timeout"),
        ("inaho.events", "events/base", "import inaho.events.storage"),
        ("inaho.config", "config/base", "from inaho.config import cluster"),
        ("inaho.actor", "actor/ref", "from inaho.actor.system import ActorSystem"),
        ("inaho.core.node", "core/node/corroboration", "from inaho.core.node.view import ClusterView"),
        ("inaho.runtime", "runtime/local/local_node", "import inaho.runtime.node.node"),
        ("inaho.runtime.activation", "runtime/activation/timers", "import inaho.runtime.activation.kind_host"),
        ("inaho.runtime.activation", "runtime/activation/ports", "from inaho.runtime.activation.state import States"),
        ("inaho.runtime.transport", "runtime/transport/accept_loop", "import inaho.runtime.transport.transport"),
        ("inaho", "storage/base", "from inaho.runtime.cluster.cluster import Cluster"),
    ],
)
def test_a_planted_circle_is_found_in_an_annotation_too(copy: Path, package: str, module: str, statement: str):
    with (copy / "src/inaho" / f"{module}.py").open("a") as file:
        file.write(f"\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {statement}\n")
    done = lint_imports(copy)
    assert done.returncode != 0
    assert "no circles between the modules of a package, annotations included BROKEN" in done.stdout
    assert f"No cycles are allowed in {package}." in done.stdout


def test_a_module_outside_the_layers_is_found(copy: Path):
    (copy / "src/inaho/helpers.py").write_text('"""Belongs nowhere."""\n')
    done = lint_imports(copy)
    assert done.returncode != 0
    assert "inaho.helpers" in done.stdout + done.stderr


def test_a_module_named_after_an_optional_dependency_may_import_it(copy: Path):
    (copy / "src/inaho/providers/http.py").write_text('"""Planted."""\n\nimport aiohttp\n')
    done = lint_imports(copy)
    assert "optional dependencies are imported only in modules named after them KEPT" in done.stdout
