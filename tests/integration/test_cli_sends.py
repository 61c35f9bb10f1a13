"""`inaho sends` as an operator runs it, against a real cluster with calls that wait and calls that were given up."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import inaho
from support.cli_processes import COMMAND, SECRET, WAIT_S, Node, environment, node

NAME = "sends"
OPTIONS = ("--secret", SECRET, "--name", NAME)


class Refusing(inaho.Grain):
    """Grains whose calls fail. The test's own member hosts them for a moment, and the node of the commands never."""

    async def add(self, item: str) -> None:
        raise ValueError(f"no {item}")


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("sends")
    storage = f"sqlite:{folder / 'state.sqlite'}"
    with node(folder, *OPTIONS, "--storage", storage) as member:
        asyncio.run(store(member, storage))
        yield member


async def store(member: Node, storage: str) -> None:
    """Two sends that wait for an hour, and one that was given up after its only attempt."""
    config = inaho.ClusterConfig(pubsub=inaho.PubSubConfig(send_attempts_max=1))
    async with inaho.join(
        "127.0.0.1:0", seeds=[member.authority], grains=[Refusing], storage=storage, secret=SECRET, name=NAME,
        config=config,
    ) as cluster:  # fmt: skip
        for name in ("late", "later"):
            await cluster.send(cluster.grain(Refusing, "ann").add, "apple", durable=True, after=3600.0, id=name)
        async with asyncio.timeout(WAIT_S):
            number = 0
            while not await cluster.dead_sends():  # until one is kept by this member, which gives up at once
                number += 1
                await cluster.send(cluster.grain(Refusing, f"ben{number}").add, "pear", durable=True, id=f"x{number}")
                await asyncio.sleep(0.05)


def run(member: Node, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments, "--seeds", member.authority, *OPTIONS],
        env=environment() | {"COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )


def sends(member: Node, *arguments: str) -> tuple[int, Any]:
    """Exit code, and the JSON document."""
    done = run(member, "sends", *arguments, "--json")
    return done.returncode, msgspec.json.decode(done.stdout)


def test_sends_are_listed_and_cancelled(member: Node):
    code, found = sends(member, "list", "Refusing", "ann")
    assert (code, [(each["id"], each["method"], each["dead"]) for each in found["sends"]]) == (
        0,
        [("late", "add", False), ("later", "add", False)],
    )
    shown = run(member, "sends", "list").stdout.decode()
    assert "later" in shown and "Refusing/ann" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    cancelled = {"kind": "Refusing", "key": "ann", "id": "late", "cancelled": True}
    assert sends(member, "cancel", "Refusing", "ann", "late") == (0, cancelled)
    assert sends(member, "cancel", "Refusing", "ann", "late") == (1, cancelled | {"cancelled": False})
    assert [each["id"] for each in sends(member, "list", "Refusing", "ann")[1]["sends"]] == ["later"]


def test_dead_letters_are_listed_and_called_again(member: Node):
    code, found = sends(member, "dead")
    assert code == 0
    first = found["sends"][0]
    assert (first["kind"], first["dead"], first["attempts"]) == ("Refusing", True, 1)
    assert "no pear" in first["reason"]
    code, again = sends(member, "again", "Refusing", first["key"], first["id"])
    assert (code, again["again"]) == (0, True)
    assert sends(member, "again", "Refusing", "ann", "later")[0] == 1
    assert first["id"] not in [each["id"] for each in sends(member, "dead")[1]["sends"]]


def test_a_key_without_a_kind_is_wrong_use_and_keepers_are_in_no_table(member: Node):
    assert sends(member, "list", "", "ann")[0] != 0
    shown = run(member, "grains").stdout.decode()
    assert "activations" in shown and "inaho." not in shown
    assert "inaho.sends" in run(member, "grains", "inaho.sends").stdout.decode()
