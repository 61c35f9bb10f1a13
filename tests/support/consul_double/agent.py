"""The services of the agent with their TTL checks, and what the catalog shows of them.

Rules:

- A TTL check is critical until it is updated, and becomes critical when it is not updated for its TTL.
- A service whose check is critical for `DeregisterCriticalServiceAfter` is removed. That time is at least a minute, and
  is looked at every 30 s.
- The agent tells the catalog what it has. An agent that starts without its disk has no services, and the catalog loses
  them too.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from support.consul_double.durations import seconds
from support.consul_double.store import Store

REMOVAL_MIN_S = 60.0
REAPER_S = 30.0


class UnknownCheck(Exception):  # noqa: N818  an answer
    """There is no check of that id."""


class Service(msgspec.Struct):
    """A service of the agent, with at most one check."""

    id: str
    name: str
    address: str
    port: int
    tags: list[str]
    meta: dict[str, str]
    check_id: str
    ttl_s: float
    removal_s: float
    status: str
    output: str = ""
    updated_at: float = 0.0
    critical_at: float = 0.0


class Agent:
    """The services of one agent.

    Args:
        store: gives indexes, and is told of changes.
        scale: factor of all durations.
        clock: seconds.
    """

    def __init__(self, store: Store, scale: float, clock: Callable[[], float]) -> None:
        self.services: dict[str, Service] = {}
        self._store = store
        self._scale = scale
        self._clock = clock
        self._indexes: dict[str, int] = {}
        self._reaped_at = clock()

    def register(self, body: dict[str, object]) -> None:
        """Adds or replaces a service. Raises ValueError."""
        definition = msgspec.convert(body, _Definition)
        meta = definition.meta
        if len(meta) > 64 or any(len(key) > 128 or len(value) > 512 for key, value in meta.items()):
            raise ValueError("Node metadata cannot contain more than 64 key/value pairs, or a value is too long")
        identifier, check = definition.id or definition.name, definition.check
        now = self._clock()
        self.services[identifier] = Service(
            id=identifier,
            name=definition.name,
            address=definition.address,
            port=definition.port,
            tags=definition.tags,
            meta=meta,
            check_id=(check.check_id or f"service:{identifier}") if check else "",
            ttl_s=seconds(check.ttl) * self._scale if check else 0.0,
            removal_s=_removal_s(check) * self._scale if check else 0.0,
            status=(check.status or "critical") if check else "passing",
            updated_at=now,
            critical_at=now,
        )
        self._touched(definition.name)

    def deregister(self, identifier: str) -> bool:
        """Removes a service; false if there is none."""
        service = self.services.pop(identifier, None)
        if service is None:
            return False
        self._touched(service.name)
        return True

    def update_check(self, check_id: str, status: str, output: str) -> None:
        """Sets the state of a check and begins its TTL again. Raises UnknownCheck."""
        found = [service for service in self.services.values() if service.check_id == check_id]
        if not found:
            raise UnknownCheck(f'Unknown check ID "{check_id}"')
        found[0].updated_at = self._clock()
        self._set(found[0], status, output)

    def advance(self) -> None:
        """Makes checks critical and removes services as time goes on."""
        now = self._clock()
        for service in list(self.services.values()):
            if service.ttl_s and service.status != "critical" and now > service.updated_at + service.ttl_s:
                self._set(service, "critical", "TTL expired")
        if now >= self._reaped_at + REAPER_S * self._scale:
            self._reaped_at = now
            for service in list(self.services.values()):
                if service.removal_s and service.status == "critical" and now > service.critical_at + service.removal_s:
                    self.deregister(service.id)

    def lose_services(self) -> None:
        """Forgets all services, as an agent does that starts without its disk."""
        for identifier in list(self.services):
            self.deregister(identifier)

    def health(self, name: str, passing: bool) -> tuple[int, list[dict[str, object]]]:
        """The index of a service and its instances."""
        index = self._indexes.get(name) or max(self._indexes.values(), default=1)
        found = [service for _, service in sorted(self.services.items()) if service.name == name]
        return index, [_shown(service) for service in found if not passing or service.status == "passing"]

    def _set(self, service: Service, status: str, output: str) -> None:
        if (service.status, service.output) == (status, output):
            return
        if status == "critical" and service.status != "critical":
            service.critical_at = self._clock()
        service.status, service.output = status, output
        self._touched(service.name)

    def _touched(self, name: str) -> None:
        self._indexes[name] = self._store.next_index()
        self._store.commit()


class _Check(msgspec.Struct, rename="pascal"):
    ttl: str = msgspec.field(name="TTL")
    check_id: str = msgspec.field(name="CheckID", default="")
    status: str = ""
    deregister_critical_service_after: str = ""


class _Definition(msgspec.Struct, rename="pascal"):
    name: str
    id: str = msgspec.field(name="ID", default="")
    address: str = ""
    port: int = 0
    tags: list[str] = []
    meta: dict[str, str] = {}
    check: _Check | None = None


def _removal_s(check: _Check) -> float:
    after = check.deregister_critical_service_after
    return max(seconds(after), REMOVAL_MIN_S) if after else 0.0


def _shown(service: Service) -> dict[str, object]:
    checks = [{"CheckID": "serfHealth", "Status": "passing", "Output": "", "ServiceID": ""}]
    if service.check_id:
        shown = {"CheckID": service.check_id, "Status": service.status, "Output": service.output}
        checks.append({**shown, "ServiceID": service.id})
    described = {"ID": service.id, "Service": service.name, "Address": service.address, "Port": service.port}
    return {
        "Node": {"Node": "double", "Address": "127.0.0.1"},
        "Service": {**described, "Tags": service.tags, "Meta": service.meta},
        "Checks": checks,
    }
