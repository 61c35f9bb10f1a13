"""What the API server keeps: objects, their versions, the history of changes that a watch can begin in."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import uuid
from pathlib import Path
from typing import NamedTuple

from support.kubernetes_double import rules
from support.kubernetes_double.rules import Object

HISTORY_MAX = 10_000
SNAPSHOTS_MAX = 16

Key = tuple[str, str, str]
"""Resource, namespace, name."""


class Change(NamedTuple):
    """One change; `old` or `new` is None where the object did not exist before or does not after it."""

    version: int
    resource: str
    namespace: str
    old: Object | None
    new: Object | None


class Store:
    """Objects, with each change in a file, so what was acknowledged survives a kill.

    Args:
        file: where they are kept; None keeps them in memory.

    Attributes:
        version: of the last change, over all objects, as etcd's revision is.
        oldest: a watch can begin at this version or a later one. The history is not in the file: a server that starts
            knows none.
        changed: wakes the watches.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._objects: dict[Key, Object] = {}
        self._history: list[Change] = []
        self._snapshots: dict[int, list[Object]] = {}
        self.version = 1000
        self.changed = asyncio.Condition()
        for line in file.read_text().splitlines() if file is not None and file.exists() else ():
            self.version, key, found = json.loads(line)
            self._objects.pop(tuple(key), None)
            if found is not None:
                self._objects[tuple(key)] = found
        self.oldest = self.version

    def all(self, resource: str, namespace: str) -> list[Object]:
        """All objects of a namespace, sorted by name."""
        keys = sorted(key for key in self._objects if key[:2] == (resource, namespace))
        return [self._objects[key] for key in keys]

    def get(self, resource: str, namespace: str, name: str) -> Object:
        found = self._objects.get((resource, namespace, name))
        if found is None:
            raise rules.not_found(resource, name)
        return found

    def create(self, resource: str, namespace: str, wanted: Object, *, dry_run: bool = False) -> Object:
        name = wanted.get("metadata", {}).get("name", "")
        rules.check_name(resource, name)
        if (resource, namespace, name) in self._objects:
            raise rules.already_exists(resource, name)
        if wanted["metadata"].get("resourceVersion"):
            raise rules.bad_request("resourceVersion should not be set on objects to be created")
        made = copy.deepcopy(wanted)
        made["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        rules.check_annotations(resource, made)
        return made if dry_run else self._put(resource, namespace, name, made)

    def update(self, resource: str, namespace: str, name: str, wanted: Object, *, dry_run: bool = False) -> Object:
        """Replaces an object. A `resourceVersion` in it is a precondition, and so is a `uid`."""
        old = self.get(resource, namespace, name)
        metadata = wanted.get("metadata", {})
        if metadata.get("name") != name:
            raise rules.bad_request(f"the name of the object does not match the name on the URL ({name})")
        if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise rules.conflict(resource, name)
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            raise rules.invalid(resource, name, "metadata.uid", "field is immutable")
        made = copy.deepcopy(wanted)
        for key in ("namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            made["metadata"].pop(key, None)
            if key in old["metadata"]:
                made["metadata"][key] = old["metadata"][key]
        rules.check_annotations(resource, made)
        made["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if dry_run or made == old:  # an update that changes nothing is not written
            return made
        return self._put(resource, namespace, name, made)

    def patch(self, resource: str, namespace: str, name: str, patch: Object, *, dry_run: bool = False) -> Object:
        """Applies a merge patch; `resourceVersion` and `uid` in it are preconditions."""
        old = self.get(resource, namespace, name)
        return self.update(resource, namespace, name, rules.merged(old, patch), dry_run=dry_run)

    def remove(self, resource: str, namespace: str, name: str) -> None:
        """The object is gone; its last state has the version of the removal."""
        old = self.get(resource, namespace, name)
        del self._objects[(resource, namespace, name)]
        self._note(resource, namespace, old, None)

    def mark_deleted(self, namespace: str, name: str, grace_s: int) -> None:
        """The graceful deletion of a pod begins; it is gone when its kubelet has ended it."""
        made = copy.deepcopy(self.get("pods", namespace, name))
        made["metadata"] |= {"deletionTimestamp": timestamp(grace_s), "deletionGracePeriodSeconds": grace_s}
        self._put("pods", namespace, name, made)

    def clear(self) -> None:
        """Removes all objects."""
        for key in list(self._objects):
            self.remove(*key)
        self.compact()

    def compact(self) -> None:
        """Forgets the history: watches and `continue` tokens of before have expired."""
        self._history.clear()
        self._snapshots.clear()
        self.oldest = self.version

    def rewind(self, by: int) -> None:
        """The version goes back, as when etcd is restored from a backup; the objects stay."""
        self.version -= by
        self.compact()

    def since(self, version: int) -> list[Change]:
        """The changes after that version."""
        return [change for change in self._history if change.version > version]

    def keep_snapshot(self, objects: list[Object]) -> int:
        """Keeps a list for the pages that follow; returns its version."""
        self._snapshots[self.version] = objects
        while len(self._snapshots) > SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        return self.version

    def snapshot(self, version: int) -> list[Object]:
        """A list that was kept. Raises 410."""
        found = self._snapshots.get(version)
        if found is None:
            raise rules.expired_token()
        return found

    async def wake(self) -> None:
        """Wakes all watches."""
        async with self.changed:
            self.changed.notify_all()

    def _put(self, resource: str, namespace: str, name: str, made: Object) -> Object:
        old = self._objects.get((resource, namespace, name))
        self._objects[(resource, namespace, name)] = made
        self._note(resource, namespace, old, made)
        return made

    def _note(self, resource: str, namespace: str, old: Object | None, new: Object | None) -> None:
        self.version += 1
        if new is not None:
            new["metadata"]["resourceVersion"] = str(self.version)
        self._history.append(Change(self.version, resource, namespace, old, new))
        if len(self._history) > HISTORY_MAX:
            self.oldest = self._history.pop(0).version
        if self._file is not None:
            name = (new or old or {})["metadata"]["name"]
            with self._file.open("a") as file:
                file.write(json.dumps([self.version, (resource, namespace, name), new]) + "\n")


def timestamp(later_s: int = 0) -> str:
    """The time in that many seconds, as the API writes it."""
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=later_s)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
