"""Real member processes and a real etcd: all are killed, and come back while etcd still lists the dead."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.providers.entries import decode_record
from inaho.testing.histories.grain_process import free_ports
from support.etcd_server import EtcdServer
from support.member_processes import MemberProcess, Processes, knows, settings

pytestmark = pytest.mark.integration

MEMBERS = 3
LONG_S = 600.0
"""Registrations last so long that no test can wait for their end."""


@pytest_asyncio.fixture
async def processes() -> AsyncIterator[Processes]:
    started = Processes()
    yield started
    started.end()


async def test_all_killed_and_started_again_on_the_same_ports_are_one_cluster(
    etcd_server: EtcdServer, processes: Processes
):
    prefix = f"restarts-{secrets.token_hex(6)}"
    config = settings(
        providers=(ProviderDescriptor(name="etcd", url=f"{etcd_server.url}/{prefix}"),),
        provisioning=ProvisioningConfig(ttl_s=LONG_S),
    )
    ports = free_ports(MEMBERS)

    async def start() -> list[MemberProcess]:
        started = [processes.spawn(config=config, authority=f"127.0.0.1:{port}") for port in ports]
        await asyncio.gather(*(process.ready() for process in started))
        for process in started:
            for other in started:
                if other is not process:
                    await knows(process, other)
        return started

    first = await start()
    for process in first:
        process.kill()
    listed = etcd_server.keys()
    assert len([key for key in listed if key.startswith(f"{prefix}/members/")]) == MEMBERS
    second = await start()
    assert {process.node_id for process in first}.isdisjoint(process.node_id for process in second)
    record = decode_record(base64.b64decode(etcd_server.keys()[f"{prefix}/record"]["value"]), "record")
    assert record.generation == 2, "one generation was founded before, and one after"
