"""A process that races for the record of a cluster: for each line it reads, many writers at once.

Arguments: URL of the provider, how many writers. A line has the number of the next generation, and the token of the
present record if there is one. The answer is a line with the founders whose write was said to have succeeded.
"""

from __future__ import annotations

import asyncio
import os
import sys

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.core.provisioning.founding import ClusterRecord
from inaho.providers.backends import make_provider


async def main(url: str, writers: int) -> None:
    """See the module."""
    descriptor = ProviderDescriptor(name="race", url=url)
    providers = [make_provider(descriptor, "race", ProvisioningConfig()) for _ in range(writers)]
    await asyncio.gather(*(each.check() for each in providers))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        generation, _, token = line.strip().partition(" ")
        wanted = [
            ClusterRecord("00c0ffee00c0ffee", int(generation), f"10.0.0.{number + 1}:7700", f"{os.getpid()}-{number}")
            for number in range(writers)
        ]
        won = await asyncio.gather(
            *(each.write_record(record, token) for each, record in zip(providers, wanted, strict=True))
        )
        print(*(record.node_id for record, wins in zip(wanted, won, strict=True) if wins), flush=True)
    for each in providers:
        await each.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
