"""`inaho up`, `members`, `call` and `bench` as a user runs them: real processes on loopback.

Every process is a child of this one and is ended through its own handle; nodes also watch their standard input, so
that a test run which is killed leaves none behind.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inaho.testing.histories.grain_process import free_ports
from support.cli_processes import COMMAND, SECRET, WAIT_S, Node, environment, node, run


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests that only call it."""
    with node(tmp_path_factory.mktemp("shop"), "--secret", SECRET, "--storage", "memory") as started:
        assert started.ready["event"] == "ready"
        yield started


def client(shop: Node, *arguments: str) -> tuple[int, list[Any], str]:
    return run(arguments[0], "--seeds", shop.authority, "--secret", SECRET, *arguments[1:])


def free_port() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


# A cluster.


def test_members_join_are_shown_and_leave_at_sigterm(tmp_path: Path):
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET)
    ready_file = tmp_path / "ready.json"
    options = ("--secret-file", str(secret_file), "--storage", "memory", "--name", "shops")
    with (
        node(tmp_path, *options) as first,
        node(tmp_path, *options, "--seeds", first.authority, "--ready-file", str(ready_file)) as second,
    ):
        assert msgspec.json.decode(ready_file.read_bytes()) == second.ready
        assert second.ready["pid"] == second.process.pid
        code, (shown,), _ = run("members", "--seeds", second.authority, *options[:2], "--name", "shops")
        assert (code, shown["cluster"]) == (0, "shops")
        assert [(member["authority"], member["status"], member["kinds"]) for member in shown["members"]] == [
            (authority, "up", ["Shop"]) for authority in sorted([first.authority, second.authority])
        ]
        second.process.terminate()
        assert second.rest()[-1] == {"event": "left", "authority": second.authority}
        assert second.process.returncode == 0
        assert not ready_file.exists()
        first.process.send_signal(signal.SIGINT)
        seen = [(event["event"], event["authority"]) for event in first.rest() if "authority" in event]
        assert ("MemberUp", second.authority) in seen
        assert ("MemberLeaving", second.authority) in seen or ("MemberRemoved", second.authority) in seen
        assert seen[-1] == ("left", first.authority)


def test_a_node_leaves_when_its_parent_is_gone(tmp_path: Path):
    with node(tmp_path, "--storage", "memory") as started:
        assert started.process.stdin is not None
        started.process.stdin.close()
        started.process.stdin = None
        assert started.rest()[-1]["event"] == "left"
        assert started.process.returncode == 0


def test_a_node_that_finds_no_seed_can_be_stopped(tmp_path: Path):
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [
                *COMMAND,
                "up",
                "inaho.cli.sample",
                "--authority",
                "127.0.0.1:0",
                "--seeds",
                free_port(),
                "--log-level=debug",
            ],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            until = time.monotonic() + WAIT_S
            while b"dialling" not in log.read_bytes():  # it is looking for its seed
                assert time.monotonic() < until
                time.sleep(0.01)
            process.terminate()
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()
    assert b"stopped before it had joined" in log.read_bytes()


def test_a_storage_that_cannot_work_as_configured_ends_the_start(tmp_path: Path):
    pytest.importorskip("asyncpg")
    storage = "postgresql://127.0.0.1:1/db?sslmode=bogus"
    options = ("--authority", "127.0.0.1:0", "--data-dir", str(tmp_path))
    status, (answer,), complaint = run("up", "inaho.cli.sample", *options, "--storage", storage)
    assert (status, answer["error"]["code"]) == (2, "invalid_config")
    assert answer["error"]["reason"] in complaint


def test_a_storage_that_is_not_there_is_told_at_the_start(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no storage of ours")
    with subprocess.Popen(
        [*COMMAND, "up", "inaho.cli.sample", "--authority=127.0.0.1:0", "--storage=sqlite:notes.txt", "--stop-on-eof"],
        env=environment(),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"ready: ")
            _, complaint = process.communicate(timeout=WAIT_S)  # it leaves at the end of its input
        finally:
            process.kill()
    assert process.returncode == 0
    assert b"opening the storage failed" in complaint and b"notes.txt" in complaint


# Calls.


def test_arguments_are_json_or_text_and_defaults_hold(shop: Node):
    code, (answer,), _ = client(shop, "call", "Shop", "alice", "order", "apple", "2")
    assert (code, answer) == (0, {"result": {"key": "alice", "sku": "apple", "n": 2, "gift": False}})
    code, (answer,), _ = client(shop, "call", "Shop", "alice", "order", "apple")
    assert answer["result"]["n"] == 1
    code, (answer,), _ = client(shop, "call", "Shop", "alice", "order", "--", "apple", "-2")
    assert answer["result"]["n"] == -2


@pytest.mark.parametrize("explicit", [[], ["--stream"]])
def test_a_stream_is_found_out_and_written_line_by_line(shop: Node, explicit: list[str]):
    code, items, _ = client(shop, "call", "Shop", "alice", "letters", "rice", *explicit)
    assert (code, items) == (0, [{"item": letter} for letter in "rice"])


def test_people_get_text_and_tables(shop: Node):
    seeds = ("--seeds", shop.authority, "--secret", SECRET)

    def plain(*arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments, *seeds],
            env=environment(),
            capture_output=True,
            timeout=WAIT_S,
            check=True,
            text=True,
        )
        return done.stdout

    assert plain("call", "Shop", "alice", "letters", "ab") == "a\nb\n"
    assert msgspec.json.decode(plain("call", "Shop", "alice", "order", "apple"))["sku"] == "apple"
    table = plain("members")
    assert all(wanted in table for wanted in (shop.authority, shop.ready["node_id"], "up", "Shop"))


@pytest.mark.parametrize(
    ("call", "code", "told"),
    [
        (["Nonsense", "k", "order"], "no_such_kind", "hosted are: Shop"),
        (["Shop", "k", "ordr"], "no_such_method", "it has: broken, fail, letters, order"),
        (["Shop", "k", "order"], "schema_mismatch", "sends 0 arguments"),
        (["Shop", "k", "letters", "a", "b"], "schema_mismatch", "sends 2 arguments"),
        (["Shop", "k", "order", "apple", "two"], "invalid_arguments", "Expected `int`, got `str`"),
        (["Shop", "", "order", "apple"], "invalid_pid", "key"),
    ],
    ids=["kind", "method", "too few", "too many for a stream", "type", "key"],
)
def test_a_call_that_cannot_be_served_says_why(shop: Node, call: list[str], code: str, told: str):
    status, (answer,), errors = client(shop, "call", *call)
    assert status == (2 if code == "invalid_pid" else 1)
    assert answer["error"]["code"] == code
    assert told in answer["error"]["reason"]
    assert told in errors
    assert answer["error"]["maybe_executed"] is False


def test_an_exception_of_the_grain_arrives_with_type_text_and_place(shop: Node):
    for how, type_name, message in (("own", "OutOfStock", "no rice"), ("other", "ValueError", "no such thing")):
        status, (answer,), _ = client(shop, "call", "Shop", "k", "fail", how)
        assert (status, answer["error"]["code"]) == (1, "remote_error")
        assert type_name in answer["error"]["reason"]
        assert message in answer["error"]["reason"]
        assert "inaho_cli_test_store.py" in answer["error"]["remote_traceback"]


def test_a_stream_that_breaks_off_gives_what_came_before(shop: Node):
    status, (first, last), _ = client(shop, "call", "Shop", "k", "broken")
    assert (status, first) == (1, {"item": 1})
    assert "broken off" in last["error"]["reason"]


# Who is not let in, and where nobody is.


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--secret", "wrong"], "authentication_failed"),
        ([], "authentication_failed"),
        (["--secret", SECRET, "--name", "other"], "wrong_cluster"),
    ],
    ids=["wrong secret", "no secret", "wrong name"],
)
def test_a_stranger_is_refused_as_client_and_as_member(shop: Node, options: list[str], code: str):
    for command in (["members"], ["up", "inaho.cli.sample", "--authority", "127.0.0.1:0", "--storage", "memory"]):
        status, (answer,), _ = run(*command, "--seeds", shop.authority, *options)
        assert (status, answer["error"]["code"]) == (1, code), answer


def test_a_dead_seed_is_given_up_in_time_and_a_living_one_beside_it_is_enough(shop: Node):
    dead = free_port()
    started = time.monotonic()
    status, (answer,), _ = run("members", "--seeds", dead, "--connect-timeout", "0.3")
    assert (status, answer["error"]["code"]) == (1, "topology_unavailable")
    assert dead in answer["error"]["reason"]
    assert "no seed answered within 0.3 s" in answer["error"]["reason"]
    assert time.monotonic() - started < 15  # most of it is the start of the interpreter
    status, (answer,), _ = client(shop, "members", "--seeds", f"{dead},{shop.authority}")
    assert (status, len(answer["members"])) == (0, 1)


def test_a_port_in_use_is_told(shop: Node):
    status, (answer,), _ = run("up", "inaho.cli.sample", "--authority", shop.authority, "--storage", "memory")
    assert (status, answer["error"]["code"], answer["error"]["authority"]) == (1, "authority_in_use", shop.authority)


def test_nothing_but_loopback_is_bound_without_authentication():
    status, (answer,), _ = run("up", "inaho.cli.sample", "--authority", "192.0.2.1:0", "--storage", "memory")
    assert (status, answer["error"]["code"]) == (2, "invalid_config")
    assert "secret" in answer["error"]["reason"]


def test_bench_measures_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    status, (figures,), _ = run("bench", "--seconds", "0.05", "--in-flight", "8")
    assert status == 0
    assert 0 < figures["sequential"]["p50_us"] <= figures["sequential"]["p99_us"]
    assert figures["one_grain"]["calls_per_s"] > 0
    assert figures["many_grains"]["grains"] == 1000
    assert list(tmp_path.iterdir()) == []
