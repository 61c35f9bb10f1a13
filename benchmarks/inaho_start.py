"""What inaho costs before the first call: its import, and a cluster of two nodes.

    python benchmarks/inaho_start.py [--repeat N] [--json]

The import is timed in fresh interpreters, after one that compiles the bytecode, and the start of a bare interpreter is
taken off. The cluster is `inaho quickstart`'s own, which says in `members_up_s` how long after the start of the command
both nodes saw each other.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from measuring import Figures, show

QUICKSTART_TIMEOUT_S = 60.0


def interpreter_seconds(program: str) -> float:
    """Wall time of one interpreter that runs `program` and ends."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return time.perf_counter() - start


def measure_import(repeat: int) -> Figures:
    """Medians of `repeat` pairs, bare and importing in turn."""
    interpreter_seconds("import inaho")
    bare: list[float] = []
    importing: list[float] = []
    for _ in range(repeat):
        bare.append(interpreter_seconds("pass"))
        importing.append(interpreter_seconds("import inaho"))
    interpreter = statistics.median(bare)
    return {
        "interpreter_ms": interpreter * 1e3,
        "import_ms": (statistics.median(importing) - interpreter) * 1e3,
    }


def measure_quickstart(repeat: int) -> Figures:
    """Median of `members_up_s`; nothing when this installation has no command line."""
    if importlib.util.find_spec("inaho.cli") is None:
        return {}
    taken: list[float] = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(prefix="inaho-bench-") as folder:
            done = subprocess.run(
                [sys.executable, "-m", "inaho.cli", "quickstart", "--json", "--directory", folder],
                capture_output=True,
                text=True,
                timeout=QUICKSTART_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"inaho quickstart ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        taken.append(float(json.loads(done.stdout)["members_up_s"]))
    return {"quickstart_up_s": statistics.median(taken)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to import inaho and to start two nodes.")
    parser.add_argument("--repeat", type=int, default=5, help="fresh interpreters to start")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    figures = measure_import(options.repeat)
    figures.update(measure_quickstart(min(options.repeat, 3)))
    show(figures, options.json)


if __name__ == "__main__":
    main()
