"""The requests of the API: pods and ConfigMaps of a namespace, and reviews of one's own permissions."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from support.kubernetes_double import rules
from support.kubernetes_double.faults import Access, Faults, suffer
from support.kubernetes_double.rules import ApiError, Object, Selector
from support.kubernetes_double.store import Store
from support.kubernetes_double.watching import Watch

KINDS = {"pods": "Pod", "configmaps": "ConfigMap"}
PATCH_TYPES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
MERGE_PATCH = PATCH_TYPES[0]

Action = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class Api:
    """Answers requests from a store, as far as access and faults let it.

    Attributes:
        counts: requests so far, by verb and resource.
    """

    def __init__(self, store: Store, access: Access, faults: Faults) -> None:
        self._store, self._access, self._faults = store, access, faults
        self.counts: dict[str, int] = {}
        collection = "/api/v1/namespaces/{namespace}/{resource}"
        self.app = web.Application(middlewares=[_errors])
        self.app.router.add_get(collection, self._of("list", self._list))
        self.app.router.add_post(collection, self._of("create", self._create))
        self.app.router.add_get(collection + "/{name}", self._of("get", self._get))
        self.app.router.add_put(collection + "/{name}", self._of("update", self._update))
        self.app.router.add_patch(collection + "/{name}", self._of("patch", self._patch))
        self.app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review)

    def _of(self, verb: str, act: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The action with what is the same for all: authentication, authorization, faults."""

        async def handle(request: web.Request) -> web.StreamResponse:
            resource = request.match_info["resource"]
            name, namespace = request.match_info.get("name", ""), request.match_info["namespace"]
            done = "watch" if verb == "list" and request.query.get("watch") in ("true", "1") else verb
            user = self._access.user(request.headers.get("Authorization", ""))
            if not self._access.allows(done, resource):
                raise rules.forbidden(user, done, resource, "", namespace, name)
            if resource not in KINDS:
                raise ApiError(404, "NotFound", "the server could not find the requested resource")
            self.counts[f"{done} {resource}"] = self.counts.get(f"{done} {resource}", 0) + 1
            fault = self._faults.take(done, resource)
            if fault is not None and not fault.late:
                await suffer(fault)
            answer = await act(request, resource)
            await self._store.wake()
            if fault is not None and fault.late:
                await suffer(fault)
            return answer

        return handle

    async def _list(self, request: web.Request, resource: str) -> web.StreamResponse:
        query, namespace = request.query, request.match_info["namespace"]
        accept = request.headers.get("Accept", "")
        if query.get("watch") in ("true", "1"):
            watch = Watch(self._store, self._faults, resource, namespace, query, accept)
            return await watch.respond(request)
        wanted = query.get("resourceVersion", "")
        if wanted.isdecimal() and int(wanted) > self._store.version:
            raise rules.too_large(int(wanted), self._store.version)
        limit = int(query.get("limit", "0"))
        if query.get("continue"):
            if wanted:
                raise rules.bad_request("specifying resource version is not allowed when using continue")
            version, start = _read_token(query["continue"])
            found = self._store.snapshot(version)
        else:
            selector = Selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
            found = [each for each in self._store.all(resource, namespace) if selector.matches(each)]
            version, start = self._store.version, 0
        metadata: Object = {"resourceVersion": str(version)}
        end = start + limit if limit else len(found)
        if end < len(found):
            if not start:
                self._store.keep_snapshot(found)
            metadata |= {"continue": _token(version, end), "remainingItemCount": len(found) - end}
        answer = {"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": found[start:end]}
        return web.json_response(rules.represented(answer, accept))

    async def _get(self, request: web.Request, resource: str) -> web.StreamResponse:
        found = self._store.get(resource, request.match_info["namespace"], request.match_info["name"])
        return self._answer(request, found)

    async def _create(self, request: web.Request, resource: str) -> web.StreamResponse:
        body, dry_run = await _body(request), request.query.get("dryRun") == "All"
        made = self._store.create(resource, request.match_info["namespace"], body, dry_run=dry_run)
        return self._answer(request, made, 201)

    async def _update(self, request: web.Request, resource: str) -> web.StreamResponse:
        body, dry_run = await _body(request), request.query.get("dryRun") == "All"
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        return self._answer(request, self._store.update(resource, namespace, name, body, dry_run=dry_run))

    async def _patch(self, request: web.Request, resource: str) -> web.StreamResponse:
        if request.content_type not in PATCH_TYPES:
            known = ", ".join(PATCH_TYPES)
            message = f"the body of the request was in an unknown format - accepted media types include: {known}"
            raise ApiError(415, "UnsupportedMediaType", message)
        body, dry_run = await _body(request), request.query.get("dryRun") == "All"
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        return self._answer(request, self._store.patch(resource, namespace, name, body, dry_run=dry_run))

    async def _review(self, request: web.Request) -> web.StreamResponse:
        """`SelfSubjectAccessReview`: whether the sender may do something; every user may ask."""
        self._access.user(request.headers.get("Authorization", ""))
        body = await _body(request)
        wanted = body.get("spec", {}).get("resourceAttributes")
        if not isinstance(wanted, dict):
            raise rules.invalid("selfsubjectaccessreviews", "", "spec.resourceAttributes", "Required value")
        allowed = not wanted.get("group") and self._access.allows(wanted.get("verb", ""), wanted.get("resource", ""))
        return web.json_response({**body, "status": {"allowed": allowed}}, status=201)

    def _answer(self, request: web.Request, found: Object, status: int = 200) -> web.Response:
        return web.json_response(rules.represented(found, request.headers.get("Accept", "")), status=status)


@web.middleware
async def _errors(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    try:
        found: web.StreamResponse = await handler(request)
    except ApiError as error:
        headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
        return web.json_response(error.status(), status=error.code, headers=headers)
    return found


async def _body(request: web.Request) -> Object:
    try:
        found = json.loads(await request.read())
    except ValueError as error:
        raise rules.bad_request(f"the object provided is unrecognized: {error}") from error
    if not isinstance(found, dict):
        raise rules.bad_request("the object provided is no object")
    return found


def _token(version: int, start: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, start]).encode()).decode()


def _read_token(text: str) -> tuple[int, int]:
    try:
        version, start = json.loads(base64.urlsafe_b64decode(text))
    except ValueError as error:
        raise rules.bad_request("continue key is not valid") from error
    return int(version), int(start)
