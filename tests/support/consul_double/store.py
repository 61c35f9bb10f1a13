"""The state of Consul's servers: keys, sessions, indexes. Time is an argument of nothing: the store has a clock.

Rules:

- Each write has a new index. The index of a list is the highest of its keys and of the tombstones below the prefix; if
  there are none, that of the whole table.
- A session with a TTL is destroyed when it was not renewed for twice its TTL: the TTL is a lower bound. A new leader
  gives every session its whole time again; so does the double at its start.
- When a session is destroyed its keys are released or deleted, as its behaviour says, and cannot be locked for its lock
  delay, which only the leader remembers.
- A write that changes nothing of a key keeps its index.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from support.consul_double.durations import seconds

FIRST_INDEX = 10
TTL_MIN_S, TTL_MAX_S = 10.0, 86400.0
TTL_FACTOR = 2.0
LOCK_DELAY_S, LOCK_DELAY_MAX_S = 15.0, 60.0


class Entry(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A key as Consul shows it."""

    lock_index: int
    key: str
    flags: int
    value: str | None
    session: str = ""
    create_index: int = 0
    modify_index: int = 0


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session."""

    id: str
    name: str
    node: str
    behavior: str
    ttl: str
    lock_delay_s: float
    checks: list[str]
    create_index: int


class State(msgspec.Struct):
    """What servers keep on disk."""

    index: int = FIRST_INDEX
    entries: dict[str, Entry] = {}
    tombstones: dict[str, int] = {}
    sessions: dict[str, Session] = {}


class Failure(Exception):  # noqa: N818  the text that Consul answers with
    """An error of the server: HTTP 500, or an error of a transaction."""


class Store:
    """The state of the servers.

    Args:
        file: keeps the state over a restart; None keeps it in memory.
        scale: factor of TTLs and lock delays.
        clock: seconds.
        changed: is called after each change.
    """

    def __init__(
        self, file: Path | None, scale: float, clock: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        self.state = State()
        self._file = file
        self._scale = scale
        self._clock = clock
        self._changed = changed
        self._ends: dict[str, float] = {}
        self._delays: dict[str, float] = {}
        if file is not None and file.exists():
            self.state = msgspec.json.decode(file.read_bytes(), type=State)
        for identifier in self.state.sessions:
            self._begin_time(identifier)

    def next_index(self) -> int:
        """The index of a write; the caller makes it."""
        self.state.index += 1
        return self.state.index

    def commit(self) -> None:
        """Writes the state to its file and wakes who waits for a change."""
        if self._file is not None:
            new = self._file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self.state))
            os.replace(new, self._file)
        self._changed()

    # Keys.

    def get(self, key: str) -> tuple[int, Entry | None]:
        """Its index and the entry."""
        entry = self.state.entries.get(key)
        return (entry.modify_index if entry else self.table_index()), entry

    def list(self, prefix: str) -> tuple[int, list[Entry]]:
        """The index of the prefix and the entries below it, sorted."""
        found = [entry for key, entry in sorted(self.state.entries.items()) if key.startswith(prefix)]
        stones = [index for key, index in self.state.tombstones.items() if key.startswith(prefix)]
        index = max([entry.modify_index for entry in found] + stones, default=0)
        return index or self.table_index(), found

    def table_index(self) -> int:
        """The highest index of all keys and tombstones."""
        keys = (entry.modify_index for entry in self.state.entries.values())
        return max(itertools.chain(keys, self.state.tombstones.values()), default=1)

    def put(self, index: int, key: str, value: str | None, flags: int = 0) -> bool:
        """Sets a key; a session that holds it keeps it."""
        old = self.state.entries.get(key)
        self._set(index, Entry(old.lock_index if old else 0, key, flags, value, old.session if old else ""))
        return True

    def cas(self, index: int, key: str, value: str | None, seen: int, flags: int = 0) -> bool:
        """Sets a key if its index is that one; 0 if there must be none."""
        old = self.state.entries.get(key)
        if seen != (old.modify_index if old else 0):
            return False
        return self.put(index, key, value, flags)

    def lock(self, index: int, key: str, value: str | None, session: str, flags: int = 0) -> bool:
        """Sets a key and makes the session its holder. Raises Failure if the session does not exist."""
        if not session:
            raise Failure("missing session")
        if session not in self.state.sessions:
            raise Failure(f'invalid session "{session}"')
        old = self.state.entries.get(key)
        if old is not None and old.session not in ("", session):
            return False
        locks = 1 if old is None else old.lock_index + (old.session != session)
        self._set(index, Entry(locks, key, flags, value, session))
        return True

    def unlock(self, index: int, key: str, value: str | None, session: str, flags: int = 0) -> bool:
        """Sets a key and ends the hold of the session."""
        old = self.state.entries.get(key)
        if old is None or old.session != session:
            return False
        self._set(index, Entry(old.lock_index, key, flags, value, ""))
        return True

    def lock_delayed(self, key: str) -> bool:
        """Whether the key cannot be locked yet."""
        return self._delays.get(key, 0.0) > self._clock()

    def delete(self, index: int, key: str) -> bool:
        """Deletes a key; a tombstone keeps the index."""
        if self.state.entries.pop(key, None) is not None:
            self.state.tombstones[key] = index
        return True

    def delete_cas(self, index: int, key: str, seen: int) -> bool:
        """Deletes a key if its index is that one; true also if there is none."""
        old = self.state.entries.get(key)
        if old is not None and old.modify_index != seen:
            return False
        return self.delete(index, key)

    def delete_tree(self, index: int, prefix: str) -> bool:
        """Deletes all keys below a prefix."""
        for key in [key for key in self.state.entries if key.startswith(prefix)]:
            self.delete(index, key)
        return True

    def _set(self, index: int, entry: Entry) -> None:
        old = self.state.entries.get(entry.key)
        created = old.create_index if old else index
        kept = msgspec.structs.replace(entry, create_index=created, modify_index=old.modify_index if old else 0)
        if kept == old:
            return
        self.state.entries[entry.key] = msgspec.structs.replace(kept, modify_index=index)

    @contextlib.contextmanager
    def undo_if_it_fails(self) -> Iterator[None]:
        """Puts keys and tombstones back if the body raises."""
        before = dict(self.state.entries), dict(self.state.tombstones)
        try:
            yield
        except BaseException:
            self.state.entries, self.state.tombstones = before
            raise

    # Sessions.

    def create_session(self, fields: dict[str, object], node: str) -> str:
        """Makes a session of the fields of a request. Raises Failure."""
        behavior, ttl = str(fields.get("Behavior") or "release"), str(fields.get("TTL") or "")
        if behavior not in ("release", "delete"):
            raise Failure(f"Invalid Behavior setting '{behavior}'")
        if ttl and not TTL_MIN_S <= seconds(ttl) <= TTL_MAX_S:
            raise Failure(f"Invalid Session TTL '{seconds(ttl) * 1e9:.0f}', must be between [10s=24h0m0s]")
        delay = fields.get("LockDelay", LOCK_DELAY_S)
        delay_s = seconds(delay) if isinstance(delay, str) else float(str(delay))
        checks = fields.get("NodeChecks", fields.get("Checks", ["serfHealth"]))
        session = Session(
            id=str(uuid.uuid4()),
            name=str(fields.get("Name", "")),
            node=str(fields.get("Node") or node),
            behavior=behavior,
            ttl=ttl,
            lock_delay_s=min(delay_s, LOCK_DELAY_MAX_S),
            checks=[str(each) for each in checks] if isinstance(checks, list) else [],
            create_index=self.next_index(),
        )
        self.state.sessions[session.id] = session
        self._begin_time(session.id)
        self.commit()
        return session.id

    def renew_session(self, identifier: str) -> Session | None:
        """Gives a session its whole time again; None if there is none. Nothing is written."""
        if identifier in self.state.sessions:
            self._begin_time(identifier)
        return self.state.sessions.get(identifier)

    def destroy_session(self, identifier: str) -> None:
        """Ends a session, and the hold of its keys."""
        session = self.state.sessions.pop(identifier, None)
        if session is None:
            return
        self._ends.pop(identifier, None)
        index = self.next_index()
        for key in [key for key, entry in self.state.entries.items() if entry.session == identifier]:
            entry = self.state.entries[key]
            if session.behavior == "delete":
                self.delete(index, key)
            else:
                self._set(index, msgspec.structs.replace(entry, session=""))
            if session.lock_delay_s > 0.0:
                self._delays[key] = self._clock() + session.lock_delay_s * self._scale
        self.commit()

    def end_due_sessions(self) -> None:
        """Ends the sessions that nobody has renewed."""
        now = self._clock()
        for identifier in [each for each, end in self._ends.items() if end <= now]:
            self.destroy_session(identifier)

    def _begin_time(self, identifier: str) -> None:
        ttl = self.state.sessions[identifier].ttl
        if ttl and seconds(ttl) > 0.0:
            self._ends[identifier] = self._clock() + seconds(ttl) * TTL_FACTOR * self._scale

    # Faults.

    def rewind(self) -> None:
        """Gives all keys lower indexes, as a restored snapshot has them."""
        self.state.tombstones.clear()
        order = sorted(self.state.entries.values(), key=lambda entry: entry.modify_index)
        for number, entry in enumerate(order, 2):
            self.state.entries[entry.key] = msgspec.structs.replace(entry, create_index=number, modify_index=number)
        self.state.index = len(order) + 1
        self.commit()

    def reap_tombstones(self) -> None:
        """Removes tombstones, as Consul does after some time: the index of a list may become lower."""
        self.state.tombstones.clear()
        self.commit()
