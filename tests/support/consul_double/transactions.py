"""Transactions of the key-value store (`/v1/txn`): all operations are done, or none."""

from __future__ import annotations

from typing import Any

import msgspec

from support.consul_double.access import Access, Denied
from support.consul_double.store import Entry, Failure, Store

OPERATIONS_MAX = 64


class RolledBack(Exception):  # noqa: N818  an answer
    """Nothing was done: the errors by number of the operation."""

    def __init__(self, errors: list[tuple[int, str]]) -> None:
        super().__init__(str(errors))
        self.errors = [{"OpIndex": number, "What": what} for number, what in errors]


def transact(store: Store, access: Access, token: str, operations: list[dict[str, Any]]) -> list[Entry]:
    """Carries out operations. Raises RolledBack, UnknownToken.

    A permission that is missing is an error of the operation, as in Consul: the answer is 409, not 403.
    """
    access.known(token)
    errors: list[tuple[int, str]] = []
    for number, operation in enumerate(operations):
        try:
            _demand(store, access, token, operation)
        except (Denied, Failure) as error:
            errors.append((number, str(error)))
    if errors:
        raise RolledBack(errors)
    index = store.next_index()
    results: list[Entry] = []
    with store.undo_if_it_fails():
        for number, operation in enumerate(operations):
            try:
                results += _carry_out(store, index, operation)
            except Failure as error:
                errors.append((number, str(error)))
        if errors:
            raise RolledBack(errors)
    store.commit()
    return [entry for entry in results if access.allows(token, "key", "read", entry.key)]


def _demand(store: Store, access: Access, token: str, operation: dict[str, Any]) -> None:
    verb, key = operation["Verb"], operation["Key"]
    if verb in ("check-index", "check-session"):
        access.demand(token, "key", "read", key)
    elif verb not in ("get", "get-tree"):
        access.demand(token, "key", "write", key)
    if verb == "lock" and store.lock_delayed(key):
        raise Failure(f'failed to lock key "{key}" due to lock delay')


def _carry_out(store: Store, index: int, operation: dict[str, Any]) -> list[Entry]:
    verb, key, value = operation["Verb"], operation["Key"], operation.get("Value")
    flags, seen, session = operation.get("Flags", 0), operation.get("Index", 0), operation.get("Session", "")
    entry = store.get(key)[1]
    done, problem = True, ""
    if verb == "set":
        store.put(index, key, value, flags)
    elif verb == "cas":
        done, problem = store.cas(index, key, value, seen, flags), f'failed to set key "{key}", index is stale'
    elif verb == "lock":
        done, problem = (
            store.lock(index, key, value, session, flags),
            f'failed to lock key "{key}", lock is already held',
        )
    elif verb == "unlock":
        done, problem = store.unlock(index, key, value, session, flags), f'failed to unlock key "{key}"'
    elif verb == "delete":
        store.delete(index, key)
    elif verb == "delete-cas":
        done, problem = store.delete_cas(index, key, seen), f'failed to delete key "{key}", index is stale'
    elif verb == "delete-tree":
        store.delete_tree(index, key)
    elif verb == "get-tree":
        return store.list(key)[1]
    elif verb == "get":
        done, problem = entry is not None, f'key "{key}" doesn\'t exist'
    elif verb == "check-not-exists":
        done, problem = entry is None, f'key "{key}" exists'
    elif verb == "check-session":
        done, problem = entry is not None and entry.session == session, f'failed session check for key "{key}"'
    elif verb == "check-index":
        done, problem = entry is not None and entry.modify_index == seen, f'failed index check for key "{key}"'
    else:
        raise Failure(f'unknown KV verb "{verb}"')
    if not done:
        raise Failure(problem)
    after = store.get(key)[1]
    if after is None or verb.startswith("delete"):
        return []
    return [after if verb == "get" else msgspec.structs.replace(after, value=None)]
