"""Virtual environments for peers, made on first use and kept: `.bench-venvs/<peer>` at the top of the project.

Peers never enter the project's own environment: their dependencies are not ours, and figures of a peer should be those
of its pinned release. An environment that could not be completed is removed, so that the next run tries again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".bench-venvs"
INSTALL_TIMEOUT_S = 600.0


class NotInstalled(Exception):  # noqa: N818  a state to report, not a fault
    """The peer cannot be installed here; the text says why."""


def ensure(name: str, *, requirements: Path | None = None, folder: Path = FOLDER) -> Path:
    """The interpreter of the peer's environment, which is made when it is missing or its pins have changed.

    Args:
        name: of the peer.
        requirements: pins; those beside this file unless given.
        folder: where environments are kept.

    Raises:
        NotInstalled: pip could not install the pins.
    """
    requirements = requirements or HERE / f"requirements-{name}.txt"
    environment = folder / name
    python = environment / "bin" / "python"
    installed = environment / "installed.txt"
    pins = f"{sys.version}\n{requirements.read_text()}"
    if installed.exists() and installed.read_text() == pins:
        return python
    shutil.rmtree(environment, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run(sys.executable, "-m", "venv", str(environment))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements))
    except NotInstalled:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    installed.write_text(pins)
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled("; ".join(errors) or done.stderr.strip()[-500:] or f"status {done.returncode}")
