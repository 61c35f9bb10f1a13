"""Who may do what at the API server, and the faults that a test has turned on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from support.kubernetes_double import rules
from support.kubernetes_double.rules import ApiError, Object


class Grant(msgspec.Struct):
    """A rule of a role: these verbs on these resources."""

    resources: list[str]
    verbs: list[str]


class Fault(msgspec.Struct):
    """Requests that are refused, or answered late.

    Attributes:
        verb, resource: of the requests; `*` for all.
        status: of the answer; 0 only delays.
        after: so many requests are spared first.
        times: for so many requests.
        delay_s: before the answer.
        retry_after_s: of the header `Retry-After`; 0 for none.
        late: whether the request is carried out first, so only its answer is lost.
    """

    verb: str = "*"
    resource: str = "*"
    status: int = 0
    after: int = 0
    times: int = 1
    delay_s: float = 0.0
    retry_after_s: int = 0
    late: bool = False


class Token(msgspec.Struct):
    """A bearer token of a user; it expires at a time of the clock, or never."""

    user: str
    expires_at: float = float("inf")


class Access:
    """Authentication by bearer token, then authorization by the grants of all users alike."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}
        self.grants: list[Grant] = []
        self.reset()

    def reset(self) -> None:
        """One token, and the permissions that the guide of the provider names."""
        self.tokens = {"first": Token("system:serviceaccount:shop:inaho")}
        self.grants = [Grant(["pods"], ["list", "watch", "patch"])]
        self.grants.append(Grant(["configmaps"], ["get", "create", "update"]))

    def user(self, header: str) -> str:
        """Who sent a request. Raises 401."""
        scheme, _, text = header.partition(" ")
        token = self.tokens.get(text) if scheme == "Bearer" else None
        if token is None or token.expires_at <= time.time():
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return token.user

    def allows(self, verb: str, resource: str) -> bool:
        return any(resource in grant.resources and verb in grant.verbs for grant in self.grants)


class Faults:
    """The faults of requests and of watches.

    Attributes:
        gone_as_event: a watch whose history is lost gets status 200 and an `ERROR` event, not the status 410.
        silent: open and new watches stay open and send nothing.
        endless: new watches do not end after `timeoutSeconds`, as with a proxy that has lost the server.
        ended: changes when all open watches are to end.
        ending: how they end: `close` (as after `timeoutSeconds`), `cut` (no end of the response), `error` (an event).
        bookmarks: changes when all watches that allow it are to send a bookmark.
    """

    def __init__(self) -> None:
        self.requests: list[Fault] = []
        self.gone_as_event = False
        self.silent = False
        self.endless = False
        self.ended = 0
        self.ending = "close"
        self.error: Object = {}
        self.bookmarks = 0

    def take(self, verb: str, resource: str) -> Fault | None:
        """The fault of a request; it is used up."""
        for fault in self.requests:
            if fault.verb in ("*", verb) and fault.resource in ("*", resource):
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                if fault.times == 0:
                    self.requests.remove(fault)
                return fault
        return None


async def suffer(fault: Fault) -> None:
    """Waits as the fault says, then raises its error if it has one."""
    await asyncio.sleep(fault.delay_s)
    if fault.status:
        reasons: dict[int, tuple[str, str]] = {
            409: ("Conflict", "the object has been modified; please apply your changes to the latest version"),
            410: ("Expired", "too old resource version: 1 (2)"),
            429: ("TooManyRequests", "Too many requests, please try again later."),
            500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
        }
        reason, message = reasons.get(fault.status, ("Unknown", "a fault of the test"))
        raise ApiError(fault.status, reason, message, retry_after_s=fault.retry_after_s)


def convert(body: Any, kind: Any) -> Any:
    """An order of the test, checked."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise rules.bad_request(str(error)) from error
