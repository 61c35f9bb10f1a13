"""Fixtures of this folder: members that are real processes, ended whatever happens."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from support.member_processes import MemberProcess, Processes

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: its children would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Members for one test."""
    started = Processes()
    yield started
    started.end()


@pytest.fixture(scope="session")
def victims() -> Iterator[Processes]:
    """Members that live through all attacks of a run: outliving one is not enough."""
    started = Processes()
    yield started
    started.end()


_VICTIMS: dict[int, MemberProcess] = {}


@pytest.fixture
async def victim(victims: Processes) -> MemberProcess:
    """One member that all attacks of a run are aimed at."""
    process = _VICTIMS.get(id(victims))
    if process is None:
        process = _VICTIMS[id(victims)] = await victims.start()
    process.check_unharmed()
    return process
