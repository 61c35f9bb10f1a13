"""A member whose grains get durable sends, for `test_durable_send_processes`: `python durable_send_node.py SETTINGS`.

As `network_node`, with one kind more, which says each call that it runs.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import uvloop

from inaho import Grain
from support.programs.network_node import Settings, run, say


class Cart(Grain):
    """Says what is added."""

    async def add(self, item: int) -> None:
        say("added", key=self.key, item=item, at=time.time())


if __name__ == "__main__":
    uvloop.install()
    sys.exit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Settings), Cart)))
