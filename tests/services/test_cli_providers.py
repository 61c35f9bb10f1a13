"""`inaho up --provider` and `inaho providers` as an operator runs them: real processes, etcd and lists of addresses."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec

from support.cli_processes import COMMAND, SECRET, WAIT_S, environment, node
from support.etcd_server import EtcdServer

SETTINGS = dedent("""
    [provisioning]
    timeout_s = 1.5
    request_timeout_s = 1.0
    read_period_s = 0.3
    back_off_min_s = 0.1
    back_off_max_s = 0.2
    cool_down_s = 0.5
    ttl_s = 3.0
""")


class Operator:
    """Runs `inaho providers` against the cluster that a provider lists."""

    def __init__(self, folder: Path, url: str) -> None:
        self.settings = folder / "inaho.toml"
        self.settings.write_text(SETTINGS)
        self.options = ("--secret", SECRET, "--name", "shop", "--config", str(self.settings))
        self.url = url

    def run(self, *arguments: str, by_provider: bool = True) -> tuple[int, Any, str]:
        """Exit code, the JSON document on standard output, and standard error."""
        finding = ("--provider", self.url) if by_provider else ()
        done = subprocess.run(
            [*COMMAND, *arguments, *finding, *self.options, "--json"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        return done.returncode, msgspec.json.decode(done.stdout), done.stderr.decode()

    def until(self, code: int, *arguments: str, by_provider: bool = True) -> Any:
        """The document of a command once it ends with that code."""
        deadline = time.monotonic() + WAIT_S
        while (told := self.run(*arguments, by_provider=by_provider))[0] != code:
            assert time.monotonic() < deadline, told
        return told[1]


def test_members_without_seeds_find_each_other_and_their_providers_are_changed(etcd_server: EtcdServer, tmp_path: Path):
    url = f"{etcd_server.url}/cli"
    operator = Operator(tmp_path, url)
    options = ("--storage", "memory", "--provider", url, *operator.options)
    with (
        node(tmp_path, *options, "--data-dir", "1") as one,
        node(tmp_path, *options, "--data-dir", "2") as two,
    ):
        both = sorted([one.authority, two.authority])
        listed = operator.until(0, "providers", "list")["providers"]
        assert [(each["member"], each["name"], each["owner"]) for each in listed] == [
            (authority, "etcd", "configuration") for authority in both
        ]
        members = operator.until(0, "providers", "why")["members"]
        assert [(each["member"], each["active"], each["others"]) for each in members] == [
            (authority, "etcd", []) for authority in both
        ]
        assert all("first" in each["why"] for each in members)

        seeds = f"seeds://{','.join(both)}"
        adding = ("providers", "add", seeds, "--as", "list", "--priority", "5")
        code, added, _ = operator.run(*adding)
        assert (code, added["provider"], sorted(added["added_by"]), added["refused"]) == (0, "list", both, [])
        code, added, told = operator.run(*adding)
        assert (code, added["added_by"], len(added["refused"])) == (2, [], 2)
        assert "refused [provider_invalid]: the name list is taken by another provider: remove that one first" in told
        code, _, told = operator.run("providers", "add", "etcd://127.0.0.1:1/shop", "--as", "down", "--at", both[0])
        assert code == 1
        assert f"{both[0]} refused [provider_unreachable]" in told
        code, _, told = operator.run("providers", "remove", "etcd")
        assert code == 2
        assert "the provider etcd belongs to the configuration" in told


def test_while_etcd_is_paused_the_next_provider_is_used_and_said(etcd_server: EtcdServer, tmp_path: Path):
    operator = Operator(tmp_path, f"{etcd_server.url}/paused")
    options = ("--storage", "memory", "--provider", operator.url, *operator.options, "--data-dir", "1")
    with node(tmp_path, *options) as one:
        assert operator.run("providers", "add", f"seeds://{one.authority}", "--as", "list", "--priority", "5")[0] == 0
        etcd_server.pause()
        try:
            by_seed = ("--seeds", one.authority)
            asking = ("providers", "why", "--at", one.authority, *by_seed)
            found = operator.until(0, *asking, by_provider=False)
            deadline = time.monotonic() + WAIT_S
            while found["members"][0]["active"] != "list":
                assert time.monotonic() < deadline, found
                found = operator.until(0, *asking, by_provider=False)
            [member] = found["members"]
            assert "etcd" in member["why"]
            assert [(each["provider"], each["state"]) for each in member["others"]] == [("etcd", "down")]
            removing = ("providers", "remove", "list", "--at", one.authority)
            _, removed, _ = operator.run(*removing, *by_seed, by_provider=False)
            assert removed["removed_by"] == [one.authority]
            unhealthy = operator.until(1, "providers", "health", *by_seed, by_provider=False)
            assert unhealthy["without"] == [one.authority]
        finally:
            etcd_server.resume()
        assert operator.until(0, "providers", "health")["healthy"] is True


def test_what_was_added_is_there_after_a_restart(etcd_server: EtcdServer, tmp_path: Path):
    operator = Operator(tmp_path, "")
    options = ("--storage", "memory", *operator.options, "--data-dir", "data")
    with node(tmp_path, *options) as alone:
        by_seed = ("--seeds", alone.authority)
        assert operator.run("providers", "list", *by_seed, by_provider=False)[1]["providers"] == []
        adding = ("providers", "add", f"{etcd_server.url}/restart", *by_seed)
        assert operator.run(*adding, by_provider=False)[0] == 0
        assert alone.process.stdin is not None
        alone.process.stdin.close()
        assert alone.process.wait(WAIT_S) == 0
    operator.url = f"{etcd_server.url}/restart"
    with node(tmp_path, *options) as again:
        [listed] = operator.until(0, "providers", "list")["providers"]  # the node has registered in it
        assert (listed["member"], listed["name"], listed["owner"]) == (again.authority, "etcd", "store")
        checking = [*COMMAND, "providers", "check", operator.url, "--name", "shop", "--json"]
        found = msgspec.json.decode(subprocess.run(checking, env=environment(), capture_output=True, check=True).stdout)
        assert found["members"] == [again.authority]


def test_a_command_that_finds_no_cluster_says_so(etcd_server: EtcdServer, tmp_path: Path):
    operator = Operator(tmp_path, f"{etcd_server.url}/nobody")
    code, answer, _ = operator.run("providers", "remove", "seeds://127.0.0.1:1", "--connect-timeout", "0.5")
    assert (code, answer["error"]["code"]) == (1, "topology_unavailable")
