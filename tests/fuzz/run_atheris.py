"""Runs the coverage-guided targets one after another: `python tests/fuzz/run_atheris.py [SECONDS]`, for all together.

Where atheris has no wheel it says so and does nothing: the mutations of `test_frame_mutation.py` run everywhere.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

TARGETS = ("frames", "codec", "handshake")


def main() -> int:
    """The number of targets that found something."""
    if importlib.util.find_spec("atheris") is None:
        print(
            f"atheris is not installed (is there a wheel for {sys.version.split()[0]} on {sys.platform}?): "
            "not fuzzed by coverage"
        )
        return 0
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    failed = 0
    for name in TARGETS:
        script = Path(__file__).with_name(f"atheris_{name}.py")
        print(f"fuzzing {name} for {max(1, seconds // len(TARGETS))} s", flush=True)
        failed += (
            subprocess.run([sys.executable, str(script), str(max(1, seconds // len(TARGETS)))], check=False).returncode
            != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
