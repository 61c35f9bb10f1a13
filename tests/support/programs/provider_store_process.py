"""A process that changes a `FileProviderStore`; `test_store_processes` kills, limits and races it.

Usage: provider_store_process.py MODE FOLDER [NAME COUNT]
  kill: for each operation of a change a folder of its own (0, 1, ...) and a process that is killed before that
    operation, or halfway through a write; prints "NUMBER killed" or, for the last one, "NUMBER done".
  limit: the same with files that cannot grow beyond 0, 7, 14, ... bytes; prints "NUMBER failed" or "NUMBER done".
  add: adds COUNT definitions NAME-0, NAME-1, ..., and prints each name when it was accepted.
  hold: holds the lock until it is killed.

In the first two, each folder begins with the file of FOLDER.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inaho.config import ProviderDescriptor
from inaho.errors import ProviderStoreFailed
from inaho.providers import store

ADDED = ProviderDescriptor(name="added", url="seeds://10.0.0.3:7700")


def change(folder: Path) -> int:
    """The change that is disturbed: one definition is removed and one added. Returns the exit code."""
    try:
        asyncio.run(store.FileProviderStore(folder / "providers.jsonl").change(remove=["first"], add=[ADDED]))
    except ProviderStoreFailed:
        return 3
    return 0


def kill_at(number: int) -> None:
    """Makes this process kill itself before its operation of that number; a write is done by half."""
    left = itertools.count(number, -1)

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if next(left) == 0:
                if operation is write:
                    write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return run

    write = os.write
    for name in ("open", "write", "fsync", "close", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


def limit_to(number: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7 * number, 7 * number))


def disturbed(base: Path, disturb: Callable[[int], None]) -> None:
    for number in itertools.count():
        folder = base / str(number)
        folder.mkdir()
        shutil.copy(base / "providers.jsonl", folder)
        child = os.fork()
        if child == 0:
            disturb(number)
            os._exit(change(folder))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(number, {0: "done", 3: "failed", -signal.SIGKILL: "killed"}.get(code, f"code {code}"), flush=True)
        if code == 0:
            return


async def add(folder: Path, name: str, count: int) -> None:
    kept = store.FileProviderStore(folder / "providers.jsonl")
    print("ready", flush=True)
    for number in range(count):
        await kept.change(add=[ProviderDescriptor(name=f"{name}-{number}", url="seeds://10.0.0.3:7700")])
        print(f"{name}-{number}", flush=True)


def hold(folder: Path) -> None:
    with store.locked(folder / "providers.lock"):
        print("held", flush=True)
        signal.pause()


def main() -> None:
    mode, folder = sys.argv[1], Path(sys.argv[2])
    if mode == "kill":
        disturbed(folder, kill_at)
    elif mode == "limit":
        disturbed(folder, limit_to)
    elif mode == "hold":
        hold(folder)
    else:
        asyncio.run(add(folder, sys.argv[3], int(sys.argv[4])))


main()
