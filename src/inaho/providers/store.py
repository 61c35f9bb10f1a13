"""Keeps the definitions of providers that were added while a node ran, in `providers.jsonl` (SPEC PR-1.5).

The file is JSON Lines. The header has the version of the format, the number of definitions and a hash of all lines
after it; each further line has one definition and a checksum of it. So a file that was cut, changed or joined with
another one is recognised, with the line, and never read as a smaller set. Secrets are references, so none is in it.

A change writes the whole set to a new file, flushes it, renames it over the old one and flushes the folder. A process
that is killed at any moment leaves the old set or the new set.

Processes that share a folder share the file. A change is read, change, write under a lock of the operating system,
which ends with its process. So no process undoes the change of another one; each has what others added when it starts
again.

Why not append a line for each change: a cut last line would be a change that was accepted and is lost, or one that was
not accepted, and nobody could tell.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import xxhash

from inaho.config import ProviderDescriptor
from inaho.core.provisioning.descriptor import problems
from inaho.errors import InahoError, ProviderInvalid, ProviderStoreDamaged, ProviderStoreFailed

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileProviderStore", "locked"]

T = TypeVar("T")

FORMAT: Final = 1
BYTES_MAX: Final = 1 << 20
LOCK_S: Final = 5.0
"""How long a change waits for that of another process."""
LOCK_POLL_S: Final = 0.01

_encode: Final = msgspec.json.Encoder().encode


class _Format(msgspec.Struct):
    format: int


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """First line. `hash` is over the bytes of all lines after it."""

    format: int
    count: int
    hash: str


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One definition; `checksum` is over its bytes."""

    checksum: str
    provider: msgspec.Raw


class FileProviderStore:
    """The definitions in a file. File operations run in a thread.

    Args:
        path: of the file, `providers.jsonl` in `data_dir`. It and its folder are made by the first change.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def load(self) -> tuple[ProviderDescriptor, ...]:
        """The definitions in the order in which they were added; none if there is no file.

        Raises:
            ProviderStoreDamaged: the file is not as it was written; the reason names the line.
            ProviderStoreFailed: it cannot be read.
        """
        if self._is_missing():  # the usual case; a thread would cost more than the question
            return ()
        return await asyncio.to_thread(self._load)

    async def change(self, *, remove: Iterable[str] = (), add: Iterable[ProviderDescriptor] = ()) -> None:
        """Removes and adds definitions in one step: after an error, or if the process is killed, all or none are.

        If the caller is cancelled, the change is still completed.

        Args:
            remove: names; one that is not in the file is no error.
            add: definitions. Another process may have added the same one.

        Raises:
            ProviderInvalid: a definition has mistakes, or the file has another one of its name.
            ProviderStoreDamaged: as `load`; the file is not overwritten.
            ProviderStoreFailed: the file cannot be written; it is as it was.
        """
        await asyncio.to_thread(self._change, frozenset(remove), tuple(add))

    def _is_missing(self) -> bool:
        try:
            self._path.stat()
        except FileNotFoundError:
            return True
        except OSError:  # `_load` finds it too, and names it
            return False
        return False

    def _load(self) -> tuple[ProviderDescriptor, ...]:
        try:
            return self._decoded(self._content())
        except OSError as error:
            raise ProviderStoreFailed(f"{self._path} cannot be read: {error.strerror or error}") from error

    def _change(self, remove: frozenset[str], add: Sequence[ProviderDescriptor]) -> None:
        for definition in add:
            found = problems(definition)
            if found:
                raise ProviderInvalid(f"provider {definition.name}: {'; '.join(found)}")
        try:
            _make_folder(self._path.parent)
            with locked(self._path.with_suffix(".lock")):
                before = self._content()
                after = self._encoded(self._changed(self._decoded(before), remove, add))
                if after != before:
                    self._replace(after, before)
        except OSError as error:
            raise ProviderStoreFailed(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _changed(
        self, before: Sequence[ProviderDescriptor], remove: frozenset[str], add: Sequence[ProviderDescriptor]
    ) -> list[ProviderDescriptor]:
        kept = {definition.name: definition for definition in before if definition.name not in remove}
        for definition in add:
            if kept.setdefault(definition.name, definition) != definition:
                raise ProviderInvalid(
                    f"{self._path} has another provider of the name {definition.name}, which a node that shares the "
                    "file has added"
                )
        return list(kept.values())

    # The file.

    def _content(self) -> bytes | None:
        """What the file contains; None if there is none."""
        try:
            with self._path.open("rb") as file:
                content = file.read(BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        if len(content) > BYTES_MAX:
            raise ProviderStoreDamaged(f"{self._path} has more than {BYTES_MAX} bytes")
        return content

    def _replace(self, content: bytes, before: bytes | None) -> None:
        """Puts `content` in the place of the file. After an error the file has `before`."""
        self._rename_new(content)
        try:
            _flush_folder(self._path.parent)
        except OSError:  # the new set is there, but a power cut could take it back: it is not accepted
            if before is None:
                self._path.unlink()
            else:
                self._rename_new(before)
            raise

    def _rename_new(self, content: bytes) -> None:
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)  # of a process that was killed
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(new, self._path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    # The text.

    def _encoded(self, definitions: Sequence[ProviderDescriptor]) -> bytes:
        lines = b"".join(_encode(_Line(_hash(raw), msgspec.Raw(raw))) + b"\n" for raw in map(_encode, definitions))
        content = _encode(_Header(FORMAT, len(definitions), _hash(lines))) + b"\n" + lines
        if len(content) > BYTES_MAX:
            raise ProviderInvalid(f"the definitions would have {len(content)} bytes, more than {BYTES_MAX}")
        return content

    def _decoded(self, content: bytes | None) -> tuple[ProviderDescriptor, ...]:
        if content is None:
            return ()
        lines = content.split(b"\n")
        if lines.pop():
            raise self._damaged(len(lines) + 1, "it has no end")
        if not lines:
            raise self._damaged(1, "the header is missing")
        written_in = self._line(1, lines[0], _Format).format
        if written_in != FORMAT:
            raise self._damaged(1, f"it has the format {written_in}, and this version of inaho reads {FORMAT}")
        header = self._line(1, lines[0], _Header)
        found: dict[str, ProviderDescriptor] = {}
        for number, line in enumerate(lines[1:], 2):
            entry = self._line(number, line, _Line)
            if entry.checksum != _hash(bytes(entry.provider)):
                raise self._damaged(number, "its checksum is wrong")
            definition = self._line(number, bytes(entry.provider), ProviderDescriptor)
            if definition.name in found:
                raise self._damaged(number, f"it has the name {definition.name} once more")
            found[definition.name] = definition
        if header.count != len(found):
            raise self._damaged(1, f"it says that {header.count} definitions follow, and there are {len(found)}")
        if header.hash != _hash(content.partition(b"\n")[2]):
            raise self._damaged(1, "its hash is not that of the definitions")
        return tuple(found.values())

    def _line(self, number: int, line: bytes, form: type[T]) -> T:
        try:
            value = msgspec.json.decode(line, type=form)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(number, f"{error}") from error
        if form is not _Format and _encode(value) != line:
            raise self._damaged(number, "it is not as inaho writes it")
        return value

    def _damaged(self, line: int, reason: str) -> InahoError:
        return ProviderStoreDamaged(f"{self._path}, line {line}: {reason}")


def _hash(content: bytes) -> str:
    return f"{xxhash.xxh3_64_intdigest(content):016x}"


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds the lock of that file. The operating system ends it with the process, so none is left behind."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + LOCK_S
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise ProviderStoreFailed(f"another process has held the lock {path} for {LOCK_S:g} s")
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Makes the folder and its parents, each flushed, so that a power cut cannot remove the file with its folder."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _flush_folder(made.parent)


def _flush_folder(folder: Path) -> None:
    if sys.platform == "win32":  # a folder cannot be opened there, and needs no flush
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
