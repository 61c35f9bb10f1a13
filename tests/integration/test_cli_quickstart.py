"""`inaho quickstart` from end to end, as a newcomer runs it, twice at once, and interrupted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import inaho
from inaho.core.identity.pid import parse_pid

COMMAND = [sys.executable, "-m", "inaho.cli", "quickstart"]
WAIT_S = 45.0

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts quickstarts with their folders below `tmp_path`, and ends those that are left."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INAHO_")}
    started: list[subprocess.Popen[bytes]] = []

    def begin(*options: str, **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*COMMAND, "--directory", str(tmp_path), *options],
            env={**clean, "PYTHONPATH": str(Path(inaho.__path__[0]).parent), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()  # its nodes notice, and leave
        process.communicate()


def document(process: subprocess.Popen[bytes]) -> tuple[int, Any, str]:
    out, errors = process.communicate(timeout=WAIT_S)
    return process.returncode, msgspec.json.decode(out), errors.decode()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def check_success(run: Any) -> None:
    assert run["ok"], run
    assert [member["status"] for member in run["members"]] == ["up", "up"]
    first, second = (node["authority"] for node in run["nodes"])
    assert [parse_pid(pid).authority for pid in run["pids"]] == [first, second]
    assert all(call["ok"] for call in run["calls"])
    between = {(call["source"].rpartition(" ")[2], call["target"]) for call in run["calls"] if " on " in call["source"]}
    assert between == {(first, second), (second, first)}
    survival = run["survival"]
    assert (survival["lived_on"], survival["answers_from"]) == (second, first)
    assert survival["value_before"] == survival["value_after"] == survival["value_then"] - 1 > 0
    assert 0 < survival["took_s"] < 30
    assert survival["killed_pid"] in run["stopped"]
    assert not any(is_alive(pid) for pid in run["stopped"])


def test_two_at_once_succeed_without_touching_each_other(start: Start):
    processes = [start("--json"), start("--json")]
    runs = []
    for process in processes:
        code, run, errors = document(process)
        assert code == 0, (run, errors)
        check_success(run)
        runs.append(run)
    one, other = runs
    assert one["run_directory"] != other["run_directory"]
    assert not {node["authority"] for node in one["nodes"]} & {node["authority"] for node in other["nodes"]}
    for run in runs:
        text = Path(run["report"]).read_text()
        assert Path(run["report"]).parent == Path(run["run_directory"])
        for wanted in (*run["pids"], *run["seeds"], "rm -r", "Every step succeeded."):
            assert wanted in text


def test_it_tells_how_soon_after_its_start_the_members_were_up(start: Start):
    """That it takes two seconds at most is for `benchmarks/inaho_start.py`: here others have the processors too."""
    began = time.monotonic()
    code, run, _ = document(start("--json"))
    assert code == 0
    assert 0.1 < run["members_up_s"] <= min(20.0, time.monotonic() - began)


def kept(process: subprocess.Popen[bytes], folder: Path) -> tuple[str, Path]:
    """Reads until the cluster is kept running; its output so far, and the folder of the run."""
    assert process.stdout is not None
    lines = []
    for line in iter(process.stdout.readline, b""):
        lines.append(line.decode())
        if "until Ctrl-C" in lines[-1]:
            break
    (run_directory,) = folder.iterdir()
    return "".join(lines), run_directory


def test_a_kept_cluster_is_whole_can_be_used_and_ends_with_the_command(start: Start, tmp_path: Path):
    process = start("--keep")
    text, run_directory = kept(process, tmp_path)
    for wanted in ("success: 2 members", "sample grain: inaho://", "kill -9", "survived: Counter/"):
        assert wanted in text
    shown = subprocess.run(
        [*COMMAND[:-1], "members", "--json", "--config", str(run_directory / "cluster.toml")],
        env={**os.environ, "PYTHONPATH": str(Path(inaho.__path__[0]).parent)},
        capture_output=True,
        timeout=WAIT_S,
        check=True,
    )
    up = [member for member in msgspec.json.decode(shown.stdout)["members"] if member["status"] == "up"]
    assert len(up) == 2
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert b"report: " in out
    assert "Every step succeeded." in (run_directory / "quickstart-report.md").read_text()
    for authority in (member["authority"] for member in up):
        host, _, port = authority.rpartition(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


def test_a_quickstart_that_is_killed_leaves_no_node_behind(start: Start, tmp_path: Path):
    process = start("--json")
    logs: list[Path] = []

    def started() -> bool:
        logs[:] = [log for log in tmp_path.glob("*/node-*.log") if b'"ready"' in log.read_bytes()]
        return len(logs) == 2

    wait_until(started)
    ready = [next(line for line in log.read_bytes().splitlines() if b'"ready"' in line) for log in logs]
    pids = [msgspec.json.decode(line)["pid"] for line in ready]  # what a node says of errors is in its log too
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_failure_has_its_reason_and_its_report_and_ends_what_was_started(start: Start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, run, errors = document(start("--json", "--authority", f"127.0.0.1:{taken.getsockname()[1]}"))
    assert (code, run["ok"], run["error"]["code"]) == (1, False, "authority_in_use")
    assert "node-1" in run["error"]["reason"]
    assert "authority_in_use" in errors
    assert "ended early with `authority_in_use`" in Path(run["report"]).read_text()
    assert len(run["stopped"]) == 2
    assert not any(is_alive(pid) for pid in run["stopped"])


@pytest.mark.parametrize(
    ("options", "environ", "named"),
    [
        (["--authority", "", "--seeds", ""], {}, ["authority", "seeds"]),
        (["--port", ""], {}, ["port"]),
        ([], {"INAHO_AUTHORITY": "127.0.0.1:7700"}, ["seeds"]),
    ],
)
def test_a_missing_setting_stops_the_start_and_is_named(
    start: Start, tmp_path: Path, options: list[str], environ: dict[str, str], named: list[str]
):
    code, answer, _ = document(start("--json", *options, **environ))
    assert code == 2
    assert [part.split()[:2] for part in answer["error"]["reason"].split("; ")] == [
        [name, "missing:"] for name in named
    ]
    assert list(tmp_path.iterdir()) == []
