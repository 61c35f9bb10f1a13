"""Long repetitions of what the tests check briefly, with a dated report.

Usage: `python scripts/acceptance.py [--seconds 14400] [--seeds N] [--only PART ...] [--folder docs/acceptance]`, or
`make acceptance [SECONDS=...] [SEEDS=...] [ARGS="--only PART ..."]`. `--list` names the parts.

`.ci/run` takes minutes and judges a change. What is rare needs thousands of seeds, tens of restarts and servers that
fail again and again: that is this script, by hand, before a release. Each part gets its share of the seconds and makes
of it as many repetitions as fit; a part whose smallest run does not fit is named as not run. Parts follow one another,
because what they measure would not be worth much side by side.

The report goes to `docs/acceptance/YYYY-MM-DD.md` (a second one of a day gets a number), the output of each part to
`build/acceptance/`. Exit code 1 when a part failed; a target that was missed, a time on this machine, is only said.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from acceptance_parts import PARTS, Part, Reading, shares
from acceptance_report import FULL_S, Outcome, Report, Verdict, as_markdown, without_paths

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "build" / "acceptance"
LOG_LINES = 30
PATHS = {
    str(ROOT) + "/": "",
    str(ROOT): ".",
    sys.prefix: ".venv",
    tempfile.gettempdir(): "$TMPDIR",
    str(Path.home()): "~",
}
PACKAGES = ("msgspec", "uvloop", "xxhash", "opentelemetry-api", "asyncpg", "redis", "pytest", "hypothesis", "atheris")


def run_part(part: Part, seconds: float, seeds: int) -> Outcome:
    """Runs a part for about `seconds` and judges it."""
    arguments = part.arguments(seconds, seeds)
    output, status, began, took_s, runs = "", 0, time.monotonic(), 0.0, 0
    while runs < part.repeat and status == 0 and (runs == 0 or time.monotonic() - began + took_s < seconds):
        started = time.monotonic()
        # A part that was given seeds takes as long as they take.
        text, status = run_command(arguments, None if seeds else 4 * seconds + 300)
        took_s, output, runs = time.monotonic() - started, output + text, runs + 1
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{part.name.replace(' ', '-')}.log").write_text(output)
    try:
        reading = part.read(output)
    except (KeyError, ValueError) as error:
        reading = Reading(broken=(f"the output cannot be read: {error!r}",))
    broken = reading.broken
    if status and not reading.missed:
        broken = (f"it ended with status {status}", *broken) if status > 0 else ("it did not end in time", *broken)
    verdict = Verdict.FAILED if broken else Verdict.MISSED if reading.missed else Verdict.PASSED
    if reading.absent and not broken:
        return Outcome(part.name, part.shows, why=reading.absent)
    return Outcome(
        part.name,
        part.shows,
        shlex.join(["python", *arguments]),
        part.asked(arguments) + (f", {runs} times" if runs > 1 else ""),
        tuple(cleaned(line) for line in reading.lines),
        verdict,
        cleaned("; ".join(broken or reading.missed)),
        time.monotonic() - began,
        tuple(cleaned(line) for line in output.splitlines()[-LOG_LINES:]) if broken else (),
    )


def run_command(arguments: Sequence[str], limit_s: float | None) -> tuple[str, int]:
    """Output and exit status of a script of ours; negative when it was ended by the limit."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0], -1
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return output, abs(process.returncode)


def cleaned(text: str) -> str:
    """The text without paths of this machine."""
    return without_paths(text, PATHS)


def said_by(*command: str) -> str:
    """First line of what a program prints; empty where it is not installed."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [""])[0]


def facts(load_before: tuple[float, float, float]) -> dict[str, str]:
    """Commit, machine and versions of this run."""
    sys.path.append(str(ROOT / "benchmarks"))
    from run import machine

    found = machine(load_before)
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    postgres = said_by(str(servers[-1]), "--version") if servers else said_by("postgres", "--version")
    versions = [f"CPython {found['python']}", f"inaho {importlib.metadata.version('inaho')}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    dirty = bool(said_by("git", "status", "--porcelain", "--untracked-files=no"))
    return {
        "commit": said_by("git", "rev-parse", "HEAD") + (", with changes that are not committed" if dirty else ""),
        "machine": f"{found['processor']}, {found['cores']} cores, {memory_gib:.0f} GiB, {platform.platform()}",
        "load average": f"{found['load_before'][0]:.1f} before, {found['load_after'][0]:.1f} after",
        "versions": ", ".join(versions),
        "servers": ", ".join(
            said or f"no {name}"
            for name, said in (
                ("redis-server", said_by("redis-server", "--version")),
                ("postgres", postgres),
                ("etcd", said_by("etcd", "--version")),
                ("dnsmasq", said_by("dnsmasq", "--version")),
            )
        ),
    }  # fmt: skip


def free_name(folder: Path, date: str) -> Path:
    """The report of that date; one that is there is not overwritten."""
    name, number = folder / f"{date}.md", 1
    while name.exists():
        number += 1
        name = folder / f"{date}-{number}.md"
    return name


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description="Long repetitions, with a dated report.")
    parser.add_argument("--seconds", type=float, default=FULL_S, help=f"for all parts together ({FULL_S:.0f})")
    parser.add_argument("--seeds", type=int, default=0, help="seeds of each part that has some, however long they take")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help="these parts")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "acceptance", help="of the report")
    parser.add_argument("--list", action="store_true", help="names the parts and ends")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the parts and writes the report."""
    options = parse(arguments)
    if options.list:
        for part in PARTS:
            print(f"{part.name}: {part.shows} (at least {part.least_s:.0f} s)")
        return 0
    began, load_before = time.monotonic(), os.getloadavg()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    chosen = [part for part in PARTS if part.name in options.only]
    given = shares(chosen, options.seconds)
    outcomes: list[Outcome] = []
    for part in PARTS:
        if part.name not in given:
            why = "not asked for" if part not in chosen else f"takes at least {part.least_s:.0f} s, more than its share"
            outcomes.append(Outcome(part.name, part.shows, why=why))
            continue
        print(f"== {part.name}, {given[part.name]:.0f} s ({time.monotonic() - began:.0f} s)", flush=True)
        try:
            outcomes.append(run_part(part, given[part.name], options.seeds))
        except KeyboardInterrupt:
            outcomes.append(Outcome(part.name, part.shows, verdict=Verdict.FAILED, why="interrupted"))
            given = {}
            continue
        print(f"{outcomes[-1].verdict.value} {outcomes[-1].why}", flush=True)
    words = ["python", "scripts/acceptance.py", *(sys.argv[1:] if arguments is None else arguments)]
    report = Report(
        date, cleaned(shlex.join(words)), options.seconds, time.monotonic() - began, facts(load_before), outcomes
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    target = free_name(options.folder, date)
    target.write_text(as_markdown(report))
    print(f"written to {target}, {report.seconds:.0f} s")
    return 1 if any(each.verdict is Verdict.FAILED for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
