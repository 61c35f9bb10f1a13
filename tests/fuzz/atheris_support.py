"""What the coverage-guided targets share: how they are run, and the bounds that hold for every input.

    python tests/fuzz/atheris_frames.py [SECONDS]

Each target is a program, because libFuzzer takes over the process and ends it. An input that breaks a promise is
written below `build/fuzz` and named in the output; `python tests/fuzz/atheris_frames.py 0 FILE` feeds it once more.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "build" / "fuzz"
PROCESSOR_MAX_S = 0.02
TRIES = 5
"""An input that took too long is fed again: what else the machine does and the collection of garbage take time too."""

INSTRUMENTED_FACTOR = 5
"""Counting branches makes Python so much slower; the bound is that of code without it."""

GROWTH_MAX_MB = 200
"""Beyond what the process had after its first inputs; libFuzzer's own tables are most of it."""

INPUT_BYTES_MAX = 64 << 10


def bounded(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`target`, which fails when an input takes too much processor time or memory."""
    state = {"inputs": 0, "resident_kb": 0}

    def feed(data: bytes) -> None:
        for _ in range(TRIES):
            start = time.thread_time()
            target(data)
            taken = time.thread_time() - start
            if taken <= PROCESSOR_MAX_S * INSTRUMENTED_FACTOR:
                break
        else:
            raise AssertionError(f"an input of {len(data)} bytes takes {taken * 1e3:.0f} ms of processor time")
        state["inputs"] += 1
        resident_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if state["inputs"] == 1000:
            state["resident_kb"] = resident_kb
        if state["resident_kb"] and resident_kb - state["resident_kb"] > GROWTH_MAX_MB << 10:
            raise AssertionError(f"the process has grown by more than {GROWTH_MAX_MB} MB")

    return feed


def run(name: str, target: Callable[[bytes], None], seeds: list[bytes]) -> None:
    """Fuzzes for the seconds that the command line says (60), or feeds the files that it names."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    found = f"-artifact_prefix={CORPUS}/{name}-"
    limits = [
        "-timeout=20",
        f"-max_len={INPUT_BYTES_MAX}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    what = sys.argv[2:] or [f"-max_total_time={seconds}", str(corpus)]
    atheris.Setup([sys.argv[0], *limits, found, *what], bounded(target))
    atheris.Fuzz()
