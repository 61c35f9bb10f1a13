"""Calls of Ray actors, in the loops that measure inaho.

    .bench-venvs/ray/bin/python benchmarks/peers/ray_calls.py [--seconds S] [--actors N] [--in-flight N] [--json]

Ray binds the host's addresses, so the script first moves into a network namespace with nothing but loopback, and a
process namespace, which ends everything that Ray started. Where that is not permitted it says so and ends with
status 77. A Ray actor is a process of its own: 1,000 do not fit on two cores, so the keys are spread over a few.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import IN_FLIGHT, Echoed, Figures, keys, latency, rate, show

ENTERED = "INAHO_BENCH_NAMESPACE"
"""Set in the environment of the process that runs inside."""

NOT_PERMITTED = 77
ACTORS = 8
OBJECT_STORE_BYTES = 100 << 20


def isolated_command(*command: str) -> list[str]:
    """`command` in namespaces of its own, with loopback up."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    entering = ["unshare", *rights, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*entering, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


def why_not_isolated() -> str:
    """Empty when namespaces can be made, else the reason."""
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            return f"{tool} is not on PATH"
    trial = subprocess.run(isolated_command("true"), capture_output=True, text=True, timeout=30, check=False)
    return "" if trial.returncode == 0 else trial.stderr.strip() or f"unshare ended with status {trial.returncode}"


async def measure(ray: Any, seconds: float, actors: int, in_flight: int) -> Figures:
    class Echo:
        def echo(self, key: str, n: int) -> tuple[str, int]:
            return key, n

    # A plain method: measured beside an `async def` one it is the faster of the two.
    made = ray.remote(num_cpus=0)(Echo)
    names = keys()
    echoes = [made.remote().echo for _ in range(actors)]
    await asyncio.gather(*(echo.remote(names[0], 0) for echo in echoes))

    async def call(number: int) -> Echoed:
        return Echoed(*await echoes[number % actors].remote(names[number % len(names)], number))

    async def call_first(number: int) -> Echoed:
        return Echoed(*await echoes[0].remote(names[0], number))

    figures = await latency(call_first, seconds=seconds)
    figures["many_per_second"] = await rate(call, seconds=seconds, in_flight=in_flight, first=in_flight)
    figures["actors"] = actors
    return figures


def run_inside(options: argparse.Namespace) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray as untyped_ray  # type: ignore[import-not-found, import-untyped, unused-ignore]

    ray: Any = untyped_ray
    folder = tempfile.mkdtemp(prefix="ray-")  # short: a socket's path has at most 107 bytes
    try:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=folder,
        )
        show(asyncio.run(measure(ray, options.seconds, options.actors, options.in_flight)), options.json)
        sys.stdout.flush()
        ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Calls of Ray actors in other processes.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement")
    parser.add_argument("--actors", type=int, default=ACTORS, help="actors, each a process, to spread the keys over")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="calls under way at once")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    if ENTERED in os.environ:
        run_inside(options)
        return 0
    reason = why_not_isolated()
    if reason:
        print(f"no network namespace: {reason}", file=sys.stderr)
        return NOT_PERMITTED
    command = isolated_command(sys.executable, str(Path(__file__).resolve()), *sys.argv[1:])
    return subprocess.run(command, env={**os.environ, ENTERED: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
