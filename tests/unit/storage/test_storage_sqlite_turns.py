"""Turns at the write lock of an SQLite file: a writer waits for another one, gets the lock after it, or gives up."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from inaho.storage.sqlite.turns import WriteTurns

ROUNDS = 200


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def test_two_writers_take_turns_and_each_commits_all_it_has(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    reader = connect(path)
    reader.execute("CREATE TABLE counts (name TEXT PRIMARY KEY, count INTEGER)")
    reader.execute("INSERT INTO counts VALUES ('one', 0), ('two', 0)")
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            connection = connect(path)
            turns = WriteTurns(connection, 30.0)
            for _ in range(ROUNDS):
                turns.begin()
                (count,) = connection.execute("SELECT count FROM counts WHERE name = ?", (name,)).fetchone()
                connection.execute("UPDATE counts SET count = ? WHERE name = ?", (count + 1, name))
                connection.execute("COMMIT")
            connection.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert reader.execute("SELECT name, count FROM counts ORDER BY name").fetchall() == [
        ("one", ROUNDS),
        ("two", ROUNDS),
    ]
    reader.close()


def test_a_lock_that_is_held_for_too_long_is_an_error_and_nothing_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    holder, waiting = connect(path), connect(path)
    turns = WriteTurns(waiting, 0.05)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        turns.begin()
    assert not waiting.in_transaction
    holder.execute("COMMIT")
    turns.begin()
    assert waiting.in_transaction
    waiting.execute("COMMIT")
    holder.close()
    waiting.close()
