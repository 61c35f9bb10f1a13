"""`inaho quarantine` as an operator runs it, against a real process that has quarantined a peer."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from support.attacker import Attacker
from support.cli_processes import COMMAND, SECRET, WAIT_S, environment, node

IMPOSTOR = "127.0.0.1:1"
NAME = "quarantines"


def quarantine(*arguments: str) -> tuple[int, Any, str]:
    """Exit code, the JSON document on standard output, and standard error."""
    done = subprocess.run(
        [*COMMAND, "quarantine", *arguments, "--json"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, msgspec.json.decode(done.stdout), done.stderr.decode()


def list_until_all_answer(*arguments: str) -> tuple[int, Any, str]:
    """`quarantine list`, again while a member is silent: a busy one may answer too late."""
    until = time.monotonic() + WAIT_S
    while (told := quarantine("list", *arguments))[1]["silent"] and time.monotonic() < until:
        time.sleep(0.1)
    return told


async def test_it_is_listed_and_released(tmp_path: Path):
    options = ("--secret", SECRET, "--name", NAME)
    with node(tmp_path, "--storage", "memory", *options) as one:
        client = ("--seeds", one.authority, *options)
        attacker = await Attacker.authenticated(
            one.authority, role="member", own=IMPOSTOR, cluster=NAME, secret=SECRET, node_id="b" * 16
        )
        attacker.send(b"GET / HTTP/1.1\r\n\r\n")
        await attacker.goodbye()
        code, answer, _ = list_until_all_answer(*client)
        assert (code, answer["silent"]) == (0, [])
        [entry] = answer["quarantined"]
        assert (entry["by"], entry["authority"], entry["node_id"]) == (one.authority, IMPOSTOR, "b" * 16)
        assert "protocol_violation" in entry["reason"]
        code, answer, _ = quarantine("release", IMPOSTOR, *client)
        assert (code, answer["released_by"]) == (0, [one.authority])
        code, answer, _ = list_until_all_answer(*client)
        assert (code, answer["quarantined"]) == (0, [])
        code, answer, told = quarantine("release", IMPOSTOR, *client)
        assert (code, answer["released_by"]) == (1, [])
        assert f"{IMPOSTOR} is quarantined by none of the 1 members" in told
        _, answer, _ = quarantine("release", "LOCALHOST:1", *client)
        assert answer["authority"] == "localhost:1"  # the spelling by which members know it


def test_what_is_no_authority_is_a_usage_error_and_asks_nobody():
    code, answer, told = quarantine("release", "nonsense", "--seeds", IMPOSTOR)
    assert (code, answer["error"]["code"]) == (2, "invalid_config")
    assert "'nonsense'" in told
