"""Runs the double: the API on one port, the orders of the test on another.

Orders are `POST /NAME` with arguments in JSON; the test plays the kubelet, the operator and the administrator.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from support.kubernetes_double.api import Api
from support.kubernetes_double.faults import Access, Fault, Faults, Grant, Token, convert
from support.kubernetes_double.rules import ApiError, Object
from support.kubernetes_double.store import Store


class Orders:
    """What a test orders."""

    def __init__(self, store: Store, access: Access, faults: Faults, api: Api) -> None:
        self._store, self._access, self._faults, self._api = store, access, faults, api

    # The kubelet and the operator.

    def make_pod(self, namespace: str, name: str, labels: Object, ip: str, phase: str, annotations: Object) -> Object:
        """A pod as a controller makes it and the kubelet runs it."""
        pod = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "shop:1"}]},
            "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]},
        }
        return self._store.create("pods", namespace, pod)

    def delete_pod(self, namespace: str, name: str, grace_s: int) -> None:
        """Begins the deletion of a pod; with a grace of 0 it is gone at once."""
        if grace_s:
            self._store.mark_deleted(namespace, name, grace_s)
        else:
            self._store.remove("pods", namespace, name)

    def patch(self, resource: str, namespace: str, name: str, patch: Object) -> Object:
        """Any other change, by somebody else."""
        return self._store.patch(resource, namespace, name, patch)

    def patch_often(self, namespace: str, name: str, annotation: str, texts: list[str]) -> None:
        """Many changes of one pod at once."""
        for text in texts:
            self._store.patch("pods", namespace, name, {"metadata": {"annotations": {annotation: text}}})

    def get(self, resource: str, namespace: str, name: str) -> Object:
        return self._store.get(resource, namespace, name)

    def remove(self, resource: str, namespace: str, name: str) -> None:
        self._store.remove(resource, namespace, name)

    # The administrator.

    def tokens(self, tokens: dict[str, Any]) -> None:
        """These tokens are valid, and no others."""
        self._access.tokens = convert(tokens, dict[str, Token])

    def grants(self, grants: list[Any]) -> None:
        """These are the permissions of all users."""
        self._access.grants = convert(grants, list[Grant])

    def reset(self) -> None:
        """No objects, no faults, the first token and the permissions of the guide; the version stays."""
        self._store.clear()
        self.heal()
        self._api.counts.clear()
        self._access.reset()

    # Faults.

    def fault(self, **fault: Any) -> None:
        self._faults.requests.append(convert(fault, Fault))

    def heal(self) -> None:
        """Ends all faults."""
        self._faults.requests.clear()
        self._faults.silent = self._faults.endless = self._faults.gone_as_event = False

    def compact(self, as_event: bool) -> None:
        self._faults.gone_as_event = as_event
        self._store.compact()

    def rewind(self, by: int) -> None:
        self._store.rewind(by)

    def silence(self, silent: bool, endless: bool = False) -> None:
        self._faults.silent, self._faults.endless = silent, endless

    def end_watches(self, how: str, error: Object) -> None:
        self._faults.ending, self._faults.error = how, error
        self._faults.ended += 1

    def bookmark(self) -> None:
        self._faults.bookmarks += 1

    def counts(self) -> dict[str, int]:
        """Requests so far, by verb and resource."""
        return dict(self._api.counts)

    async def handle(self, request: web.Request) -> web.Response:
        """Carries out one order."""
        order: Callable[..., Any] = getattr(self, request.match_info["order"])
        try:
            done = order(**await request.json())
        except ApiError as error:
            return web.json_response(error.status(), status=error.code)
        await self._store.wake()
        return web.json_response(done)


async def serve(arguments: argparse.Namespace) -> None:
    store, access, faults = Store(arguments.file), Access(), Faults()
    api = Api(store, access, faults)
    control = web.Application()
    control.router.add_post("/{order}", Orders(store, access, faults, api).handle)
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    for app, port, context in ((api.app, arguments.port, tls), (control, arguments.control_port, None)):
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
