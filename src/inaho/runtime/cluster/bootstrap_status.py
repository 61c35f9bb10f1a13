"""Stores the result of the last start of the cluster on this machine, for the next start and operators (BS-1.5).

The store is read before the start and written after it. If that fails, the program does not start. A file is replaced
in one step and flushed to the disk: a reader sees the old status or the new one.
"""

from __future__ import annotations

import asyncio
import enum
import os
from abc import ABC, abstractmethod
from pathlib import Path

import msgspec

from inaho.errors import StatusStore
from inaho.types import Struct

__all__ = ["BootstrapState", "BootstrapStatus", "BootstrapStatusStore", "FileStatusStore", "MemoryStatusStore"]


class BootstrapState(enum.Enum):
    """The result of a start."""

    READY = "ready"
    DISABLED = "disabled"
    ERROR = "error"


class BootstrapStatus(Struct, frozen=True):
    """The status of the cluster extension.

    Attributes:
        state: see `BootstrapState`.
        reason: why it is disabled, or what failed; empty when it is ready.
        authority: of the node; empty for a client, and if there is none.
        at: Unix seconds.
    """

    state: BootstrapState
    reason: str = ""
    authority: str = ""
    at: float = 0.0


class BootstrapStatusStore(ABC):
    """A store for the status. If it raises, the start fails with `StatusStore`."""

    @abstractmethod
    async def read(self) -> BootstrapStatus | None:
        """The last written status; None if there is none."""

    @abstractmethod
    async def write(self, status: BootstrapStatus) -> None:
        """Replaces the status."""


class MemoryStatusStore(BootstrapStatusStore):
    """Keeps the status as long as the process lives; for programs that show it themselves, and for tests."""

    def __init__(self) -> None:
        self.status: BootstrapStatus | None = None

    async def read(self) -> BootstrapStatus | None:
        return self.status

    async def write(self, status: BootstrapStatus) -> None:
        self.status = status


class FileStatusStore(BootstrapStatusStore):
    """Keeps the status as one line of JSON.

    Args:
        path: of the file; its folder must exist. One file for each node.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def read(self) -> BootstrapStatus | None:
        return await asyncio.to_thread(self._read)

    async def write(self, status: BootstrapStatus) -> None:
        await asyncio.to_thread(self._write, msgspec.json.encode(status) + b"\n")

    def _read(self) -> BootstrapStatus | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=BootstrapStatus)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StatusStore(f"{self._path} cannot be read: {error}") from error

    def _write(self, line: bytes) -> None:
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with partial.open("wb") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StatusStore(f"{self._path} cannot be written: {error.strerror or error}") from error
