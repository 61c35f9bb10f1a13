"""What a provider that lists 100 members costs a member that has nothing to do.

Two members are compared at the same time, each alone in its cluster: one has the provider, the other has none. The
difference in processor time is the cost. The other 99 entries are written by hand and do not expire. Their ports
refuse, so the cost includes the attempts to reach them. Only one process uses the server, so its requests are those of
one member.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Final

from measuring import Figures
from providers_back_ends import Place, serving
from providers_fleet import Fleet, until

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.providers.entries import encode

LISTED: Final = 100
SETTLE_S: Final = 10.0
TARGET_PERCENT: Final = 1.0


async def idle(name: str, seconds: float, log: Path) -> Figures:
    """The figures of that many seconds."""
    with serving(name) as server:
        place = Place(name, server)
        mine, other, *absent = place.authorities(LISTED + 1)
        async with Fleet.running(log) as fleet:
            processes = await fleet.start([place.config(mine), place.config(other).replace(providers=())])
            await fleet.ready(processes)
            with_provider, without = sorted(processes, key=lambda one: one.authority != mine)
            await place.back_end.write_members({each: _entry(each) for each in absent})
            await until(lambda: with_provider.told("snapshot")[-1]["members"] == LISTED, "the snapshot has all of them")
            await asyncio.sleep(SETTLE_S)
            before = (with_provider.processor_s(), without.processor_s(), place.requests(), time.monotonic())
            await asyncio.sleep(seconds)
            after = (with_provider.processor_s(), without.processor_s(), place.requests(), time.monotonic())
    took_s = after[3] - before[3]
    percent = [(after[number] - before[number]) / took_s * 100.0 for number in (0, 1)]
    return {
        "measured_s": took_s,
        "percent_of_core_with": percent[0],
        "percent_of_core_without": percent[1],
        "percent_of_core": percent[0] - percent[1],
        "target_percent_of_core": TARGET_PERCENT,
        "requests_per_minute": (after[2] - before[2]) / took_s * 60.0,
    }


def _entry(authority: str) -> str:
    return encode(ProviderMember(authority, secrets.token_hex(8), 1, ("Echo",), cluster="bench"))
