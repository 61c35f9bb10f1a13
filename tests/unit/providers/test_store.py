"""The file of the providers that were added while a node ran: damage, failed writes, secrets (SPEC PR-1.5)."""

# ruff: noqa: ASYNC240 - the tests write and read the file themselves, while nothing else runs

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inaho.config import ProviderDescriptor, SecretReference
from inaho.errors import ProviderInvalid, ProviderStoreDamaged, ProviderStoreFailed
from inaho.providers.store import FileProviderStore

FIRST = ProviderDescriptor(
    name="first", url="etcd://10.0.0.9:2379/shop", priority=3, secrets={"password": SecretReference(env="SHOP")}
)
SECOND = ProviderDescriptor(name="second", url="dns://münchen.example?ttl_s=5", priority=-1)
THIRD = ProviderDescriptor(name="third", url="seeds://10.0.0.3:7700")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "providers.jsonl"


@pytest.fixture
async def store(path: Path) -> FileProviderStore:
    store = FileProviderStore(path)
    await store.change(add=[FIRST, SECOND])
    return store


async def test_pr_1_5_accepted_definitions_are_the_same_set_after_a_restart(path: Path):
    store = FileProviderStore(path)
    assert await store.load() == ()
    assert not path.parent.exists()
    await store.change(add=[FIRST])
    await store.change(add=[SECOND, THIRD])
    assert await FileProviderStore(path).load() == (FIRST, SECOND, THIRD)
    await store.change(remove=["second", "unknown"])
    assert await FileProviderStore(path).load() == (FIRST, THIRD)
    await store.change(remove=["first", "third"], add=[SECOND])
    assert await FileProviderStore(path).load() == (SECOND,)
    await store.change(remove=["second"])
    assert await FileProviderStore(path).load() == ()
    assert sorted(each.name for each in path.parent.iterdir()) == ["providers.jsonl", "providers.lock"]


async def test_only_the_user_of_the_node_can_read_the_file(store: FileProviderStore, path: Path):
    assert [stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()] == [0o600, 0o600]


async def test_the_file_is_json_lines_with_a_header_and_a_checksum_per_line(store: FileProviderStore, path: Path):
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith('{"format":1,"count":2,"hash":"')
    assert lines[2].endswith('"provider":{"name":"second","url":"dns://münchen.example?ttl_s=5","priority":-1}}')


async def test_a_definition_of_a_name_that_the_file_has_is_refused_unless_it_is_the_same(
    store: FileProviderStore, path: Path
):
    before = path.read_bytes()
    await store.change(add=[FIRST])
    other = ProviderDescriptor(name="second", url="seeds://10.0.0.3:7700")
    with pytest.raises(ProviderInvalid, match="another provider of the name second"):
        await store.change(add=[THIRD, other])
    assert path.read_bytes() == before
    await store.change(remove=["second"], add=[other])
    assert await store.load() == (FIRST, other)


# Damage.


async def test_pr_1_5_a_file_that_was_cut_at_any_byte_is_refused(store: FileProviderStore, path: Path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ProviderStoreDamaged, match=r"providers\.jsonl, line [1-3]: \S"):
            await store.load()
        with pytest.raises(ProviderStoreDamaged):
            await store.change(add=[THIRD])
        assert path.read_bytes() == whole[:length], "a damaged file was overwritten"


async def test_a_file_with_one_byte_flipped_at_any_position_is_refused(store: FileProviderStore, path: Path):
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bits in (0x01, 0x20, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= bits
            path.write_bytes(damaged)
            with pytest.raises(ProviderStoreDamaged, match=r"providers\.jsonl, line [1-4]: \S"):
                await store.load()


@given(content=st.binary(max_size=200) | st.lists(st.sampled_from([b"\n", b"{", b"}", b"[", b'"', b"1"])).map(b"".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
async def test_no_content_of_another_kind_is_read_as_a_set(content: bytes, tmp_path: Path):
    path = tmp_path / "providers.jsonl"
    path.write_bytes(content)
    with pytest.raises(ProviderStoreDamaged):
        await FileProviderStore(path).load()


Change = Callable[[list[str]], list[str]]

CHANGES: list[tuple[Change, str]] = [
    (lambda lines: [], "line 1: the header is missing"),
    (lambda lines: lines[:2], "line 1: it says that 2 definitions follow, and there are 1"),
    (lambda lines: [lines[0], lines[2], lines[1]], "line 1: its hash is not that of the definitions"),
    (lambda lines: [*lines, lines[1]], "line 4: it has the name first once more"),
    (lambda lines: [lines[0].replace(":1,", ":2,"), *lines[1:]], "line 1: it has the format 2, and this version"),
    (lambda lines: [lines[0], lines[1].replace("shop", "shoq"), lines[2]], "line 2: its checksum is wrong"),
    (lambda lines: [lines[0], lines[1] + " ", lines[2]], "line 2: it is not as inaho writes it"),
    (lambda lines: [lines[0], lines[1], "[" * 100_000], "line 3: "),
    (lambda lines: ["x" * (1 << 20)], "has more than 1048576 bytes"),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
async def test_the_reason_names_the_line_and_what_is_wrong_with_it(
    change: Change, expected: str, store: FileProviderStore, path: Path
):
    lines = change(path.read_text("utf-8").splitlines())
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    with pytest.raises(ProviderStoreDamaged, match=expected):
        await store.load()


# Secrets.


@pytest.mark.parametrize(
    "definition",
    [
        ProviderDescriptor(name="x", url="etcd://root:hunter2@a:1"),
        ProviderDescriptor(name="x", url="etcd://root:hunter2/@a:1"),
        ProviderDescriptor(name="x", url="etcd://a:1?password=hunter2"),
        ProviderDescriptor(name="x", url="consul://a:1?token=hunter2"),
    ],
)
async def test_pr_1_5_no_secret_is_written(definition: ProviderDescriptor, store: FileProviderStore, path: Path):
    before = path.read_bytes()
    with pytest.raises(ProviderInvalid, match=r"provider x: url: the URL contains a") as caught:
        await store.change(add=[definition])
    assert "hunter2" not in str(caught.value)
    assert path.read_bytes() == before
    assert not [each for each in path.parent.iterdir() if b"hunter2" in each.read_bytes()]


async def test_the_value_of_a_secret_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP", "hunter2")
    await FileProviderStore(path).change(add=[FIRST])
    assert b'"env":"SHOP"' in path.read_bytes()
    assert b"hunter2" not in path.read_bytes()


# Failed writes.


OPERATIONS = ("open", "write", "fsync", "replace", "unlink", "mkdir")


class Failing:
    """Makes the operation of that number fail, counted from 0 over all operations of a change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.left = number
        self.failed = ""
        for name in OPERATIONS:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self.failed = name
                raise OSError(errno.EIO, "Input/output error")
            return operation(*arguments, **options)

        return run


@pytest.mark.parametrize("existing", [True, False])
async def test_an_operation_that_fails_leaves_the_old_set(path: Path, existing: bool):
    store = FileProviderStore(path)
    old = (FIRST, SECOND) if existing else ()
    failed: list[str] = []
    for number in range(100):
        shutil.rmtree(path.parent, ignore_errors=True)
        if existing:
            await store.change(add=old)
        with pytest.MonkeyPatch.context() as monkeypatch:
            failing = Failing(monkeypatch, number)
            try:
                await store.change(remove=["first"], add=[THIRD])
            except ProviderStoreFailed as error:
                assert "cannot be written: Input/output error" in error.reason
            else:
                if not failing.failed:
                    break
                assert (failing.failed, existing) == ("mkdir", True)  # the folder is there already
                continue
        failed.append(failing.failed)
        assert await store.load() == old
        await store.change(remove=["first"], add=[THIRD])
        assert await store.load() == (*old[1:], THIRD)
    assert {"open", "write", "fsync", "replace", "unlink"} <= {*failed}
    assert failed.count("fsync") >= 2, "the folder was not flushed"


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    store = FileProviderStore(tmp_path / "file" / "providers.jsonl")
    with pytest.raises(ProviderStoreFailed, match=r"file/providers\.jsonl cannot be written"):
        await store.change(add=[FIRST])
    with pytest.raises(ProviderStoreFailed, match=r"file/providers\.jsonl cannot be read: Not a directory"):
        await store.load()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page and a bit."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system; test_store_processes limits the size of files instead")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_leaves_the_old_set(small_disk: Path):
    store = FileProviderStore(small_disk / "providers.jsonl")
    await store.change(add=[FIRST])
    with pytest.raises(OSError, match="No space left"), (small_disk / "filler").open("wb") as filler:
        filler.write(bytes(1 << 20))
    with pytest.raises(ProviderStoreFailed, match=r"providers\.jsonl cannot be written: No space left on device"):
        await store.change(add=[SECOND])
    assert await store.load() == (FIRST,)
    (small_disk / "filler").unlink()
    await store.change(add=[SECOND])
    assert await store.load() == (FIRST, SECOND)
