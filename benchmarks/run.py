"""The benchmark: the limit of CPython, inaho and its peers in one run, side by side.

    make bench [ARGS="--quick --peers none"]
    python benchmarks/run.py [--rounds N] [--only calls|topics] [--peers none|xoscar|ray|nats|redis|all] [--quick]
        [--strict] [--json FILE]

Every round measures all subjects one after another, each in processes of its own, so that a machine that changes speed
changes it for all. Calls come first, then topics, in rounds of their own. The table has medians over the rounds and, as
the figure that counts, the ratio to the limit of the same round. Missed targets are said and do not fail the run,
unless `--strict` is given: a shared machine is no judge. `--apart` gives caller and callee a core each, to tell what a
change brings apart from where the processes ran.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import KEEP_APART
from peers.environments import NotInstalled, ensure
from peers.ray_calls import NOT_PERMITTED
from targets import ONCE, ROWS, Result, Round, as_table, judge, spread_of
from topics_targets import TOPIC_ROWS

HERE = Path(__file__).resolve().parent
CALL_PEERS = ("xoscar", "ray")
TOPIC_PEERS = ("nats", "redis")
PEERS = (*CALL_PEERS, *TOPIC_PEERS)
TOPIC_PARTS = ("once", "fan-out", "stored", "unsynced", "sends")
"""What `inaho_topics.py` measures in each round; `tables` is measured once."""
TOPIC_ROUNDS_MAX = 2
"""Rounds of topics, unless the number is given: each takes about twenty seconds."""
SUBJECT_TIMEOUT_S = 180.0


class Failed(Exception):  # noqa: N818  what a subject's script said, to be reported
    """A script ended without figures; the text is the reason."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def run_script(
    script: str, *arguments: str, python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON that one of our scripts prints.

    Args:
        script: its name in this folder.
        arguments: beside `--json`.
        python: the interpreter.
        environment: of the script; this process's unless given.

    Raises:
        Failed: it ended with an error, printed no JSON, or took longer than three minutes.
    """
    command = [python, str(HERE / script), *arguments, "--json"]
    # In a session of its own, so that what it started ends with it.
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=SUBJECT_TIMEOUT_S)
        except BaseException as error:
            os.killpg(process.pid, 9)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"{script} took longer than {SUBJECT_TIMEOUT_S:.0f} s") from error
            raise
    try:
        found: dict[str, Any] = json.loads(out)
    except ValueError as error:
        last = (err.strip().splitlines() or ["no message"])[-1]
        raise Failed(f"{script}: {last}", process.returncode) from error
    return found


class Run:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seconds = f"{0.3 if options.quick else 1.0}"
        self.activations = f"{20_000 if options.quick else 100_000}"
        self.identities = f"{100_000 if options.quick else 1_000_000}"
        self.stalls = ("--members", "200", "--activations", "1000", "--count", "20000") if options.quick else ()
        self.tables = ("--topics", "1000", "--cycles", "5000" if options.quick else "50000")
        self.repeat = f"{1 if options.quick else 5}"
        self.round_count: int = options.rounds or (1 if options.quick else 5)
        self.topic_round_count: int = options.rounds or min(self.round_count, TOPIC_ROUNDS_MAX)
        self.calls = options.only != "topics"
        self.topics = options.only != "calls"
        self.peers: dict[str, str] = {}
        self.rounds: list[Round] = []
        self.once: dict[str, float] = {}
        self.load_before = os.getloadavg()
        self._pythons: dict[str, str] = {}
        self._wanted: tuple[str, ...] = PEERS if options.peers == "all" else (options.peers,)

    def prepare_peers(self) -> None:
        """Installs the peers that are wanted; says of each why it is not there."""
        measured = (*(CALL_PEERS if self.calls else ()), *(TOPIC_PEERS if self.topics else ()))
        for name in PEERS:
            if name not in self._wanted or name not in measured:
                self.peers[name] = "not asked for"
                continue
            say(f"environment of {name}")
            try:
                self._pythons[name] = str(ensure(name))
                self.peers[name] = "installed"
            except NotInstalled as error:
                self.peers[name] = f"not installed: {error}"

    def measure_round(self) -> None:
        """All subjects in turn."""
        calls = ("--seconds", self.seconds)
        figures: Round = {"limit": run_script("raw_limit.py", *calls)}
        figures["inaho"] = run_script("inaho_calls.py", *calls, "--activations", self.activations)
        figures["member"] = run_script("inaho_calls.py", *calls, "--caller", "member", "--only", "many")
        self._measure_peers(figures, CALL_PEERS, "calls")
        self.rounds.append(figures)

    def measure_topics_round(self) -> None:
        """All subjects that publish and subscribe, in turn."""
        figures: Round = {"push": run_script("raw_push.py", "--seconds", self.seconds)}
        figures["topics"] = run_script("inaho_topics.py", "--seconds", self.seconds, "--only", *TOPIC_PARTS)
        self._measure_peers(figures, TOPIC_PEERS, "topics")
        self.rounds.append(figures)

    def _measure_peers(self, figures: Round, names: Sequence[str], what: str) -> None:
        for name in names:
            if name not in self._pythons:
                continue
            try:
                script = f"peers/{name}_{what}.py"
                figures[name] = run_script(script, "--seconds", self.seconds, python=self._pythons[name])
                self.peers[name] = "measured"
            except Failed as error:
                del self._pythons[name]
                self.peers[name] = f"{'skipped' if error.status == NOT_PERMITTED else 'failed'}: {error}"

    def measure_topics_once(self) -> None:
        """What topics and subscriptions leave behind."""
        self.once.update(run_script("inaho_topics.py", "--only", "tables", *self.tables))

    def measure_once(self) -> None:
        """What does not depend on the machine's mood, or takes long."""
        traced = run_script("inaho_calls.py", "--only", "first", "--trace", "--activations", self.activations)
        self.once.update(traced)
        self.once.update(run_script("identity_resolution.py", "--count", self.identities)["figures"])
        self.once.update(run_script("inaho_start.py", "--repeat", self.repeat))
        for part in ("topology", "activations"):
            self.once.update(run_script("event_loop_stalls.py", "--only", part, *self.stalls))

    def results(self) -> list[Result]:
        """Rows of what was measured or asked for."""
        rows = [*(ROWS if self.calls else ()), *(TOPIC_ROWS if self.topics else ())]
        wanted = [
            row for row in rows if not ({row.subject, row.base[0] if row.base else ""} & set(PEERS)) - set(self._wanted)
        ]
        rounds = [*self.rounds, {ONCE: self.once}]
        return judge(rounds, wanted)

    def report(self, results: Sequence[Result], seconds: float) -> dict[str, Any]:
        """All that is known of the run, for a file."""
        return {
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "apart": KEEP_APART in os.environ,
            "machine": machine(self.load_before),
            "peers": self.peers,
            "rows": [result.as_json() for result in results],
            "rounds": self.rounds,
            "once": self.once,
        }


def machine(load_before: tuple[float, float, float]) -> dict[str, Any]:
    """What it is and how busy, for a report; `load_before`: `os.getloadavg()` when the run began."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_before": load_before,
        "load_after": os.getloadavg(),
    }


def processor() -> str:
    """Its name as the kernel gives it; empty where the kernel does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The limit of CPython, inaho and its peers, side by side.")
    parser.add_argument("--rounds", type=int, default=0, help="rounds to take medians over (5, topics 2; quick: 1)")
    parser.add_argument("--only", choices=("calls", "topics"), help="measure these; both unless given")
    parser.add_argument("--peers", choices=("none", *PEERS, "all"), default="all", help="peers to install and measure")
    parser.add_argument("--quick", action="store_true", help="one short round: tells that it runs, not how fast")
    parser.add_argument("--strict", action="store_true", help="status 1 when a target is missed or was not measured")
    parser.add_argument("--json", type=Path, default=HERE / "results.json", metavar="FILE", help="where to write all")
    parser.add_argument("--apart", action="store_true", help="pin caller and callee to a core each; not for targets")
    options = parser.parse_args(arguments)
    if options.rounds < 0:
        parser.error("--rounds must be 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    started = time.monotonic()
    if options.apart:
        os.environ[KEEP_APART] = "1"
    run = Run(options)
    run.prepare_peers()
    try:
        for number in range(run.round_count if run.calls else 0):
            say(f"round {number + 1} of {run.round_count}, {time.monotonic() - started:.0f} s")
            run.measure_round()
        for number in range(run.topic_round_count if run.topics else 0):
            say(f"topics, round {number + 1} of {run.topic_round_count}, {time.monotonic() - started:.0f} s")
            run.measure_topics_round()
        say(f"what is measured once, {time.monotonic() - started:.0f} s")
        if run.calls:
            run.measure_once()
        if run.topics:
            run.measure_topics_once()
    except Failed as error:
        say(f"no result: {error}")
        return 1
    results = run.results()
    print(as_table(results))
    for name, state in run.peers.items():
        if state not in ("measured", "not asked for"):
            print(f"{name}: {state}")
    noise = spread_of(run.rounds, "limit" if run.calls else "push", "many_per_second" if run.calls else "per_second")
    print(
        f"{len(run.rounds)} rounds; the limit itself varied by {noise:.0%} between them; load average "
        f"{run.load_before[0]:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(run.report(results, time.monotonic() - started), indent=1) + "\n")
    say(f"written to {options.json}, {time.monotonic() - started:.0f} s")
    asked = [result for result in results if result.target]
    return 1 if options.strict and not all(result.reached for result in asked) else 0


if __name__ == "__main__":
    sys.exit(main())
