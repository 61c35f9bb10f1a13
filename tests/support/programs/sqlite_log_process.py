"""A process that uses the logs of a SqliteStorage; `test_logs_sqlite_processes` starts and kills it.

Usage: sqlite_log_process.py MODE PATH NUMBER
  append: appends to NUMBER logs at once, for ever, printing "LOG END" after each acknowledged append.
  share: takes one log over from other processes, again and again, until it has appended NUMBER records; prints
    "OFFSET RECORD" after each acknowledged append.
"""

from __future__ import annotations

import asyncio
import os
import sys

from inaho.config import StorageConfig
from inaho.errors import LogConflict
from inaho.storage import SqliteStorage
from inaho.storage.log import LogStorage


async def append(logs: LogStorage, number: int) -> None:
    async def keeper(log: str) -> None:
        end = (await logs.open_log(log, epoch=1)).end
        while True:
            batch = [f"{log}:{offset}".encode() * 20 for offset in range(end, end + 1 + end % 7)]
            await logs.append(log, batch, offset=end, epoch=1)
            end += len(batch)
            print(log, end, flush=True)

    await asyncio.gather(*(keeper(str(log)) for log in range(number)))


async def share(logs: LogStorage, number: int) -> None:
    written = 0
    while written < number:
        try:
            epoch = (await logs.bounds("shared")).epoch + 1
            end = (await logs.open_log("shared", epoch=epoch)).end
            for _ in range(3):
                record = f"{epoch:06}/{os.getpid()}/{written}"
                await logs.append("shared", [record.encode()], offset=end, epoch=epoch)
                print(end, record, flush=True)
                end += 1
                written += 1
        except LogConflict:
            await asyncio.sleep(0.001)


async def main() -> None:
    mode, path, number = sys.argv[1:]
    patient = StorageConfig(busy_timeout_s=25.0)  # others hold the lock for as long as a busy disk takes
    async with SqliteStorage(path, config=patient) as storage:
        print("open", flush=True)
        await {"append": append, "share": share}[mode](storage.log, int(number))


asyncio.run(main())
