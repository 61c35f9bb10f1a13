"""The double of the Kubernetes API server follows the documented rules, as a plain HTTP client sees them."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.kubernetes_server import CLUSTER, NAMESPACE, TOKEN, KubernetesServer

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
MERGE = "application/merge-patch+json"
OURS = f"labelSelector=app.kubernetes.io/name={CLUSTER}"


class Client:
    """Requests as the documentation writes them."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self._port, self._token = port, token

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", accept: str = "application/json"
    ) -> tuple[int, Any]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10.0)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind, "Accept": accept}
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    @contextlib.contextmanager
    def watch(self, query: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """The events of a watch of pods."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10.0)
        with contextlib.closing(connection):
            connection.request("GET", f"{PODS}?watch=true&{query}", None, {"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield ((event["type"], event["object"]) for event in map(json.loads, answer))


@pytest.fixture
def client(kubernetes_server: KubernetesServer) -> Client:
    return Client(kubernetes_server.port)


def version(client: Client) -> str:
    """Of a list of pods."""
    found: str = client.ask("GET", PODS)[1]["metadata"]["resourceVersion"]
    return found


def test_a_list_has_the_pods_of_the_labels_and_fields(kubernetes_server: KubernetesServer, client: Client):
    kubernetes_server.make_pod("shop-0", "10.0.0.1")
    kubernetes_server.make_pod("shop-1", "10.0.0.2", phase="Failed")
    kubernetes_server.make_pod("other", "10.0.0.3", labels={"app.kubernetes.io/name": "other"})
    status, found = client.ask("GET", f"{PODS}?{OURS}&fieldSelector=status.phase!=Failed")
    assert (status, found["kind"]) == (200, "PodList")
    assert [pod["metadata"]["name"] for pod in found["items"]] == ["shop-0"]
    assert found["items"][0]["status"]["podIP"] == "10.0.0.1"
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    metadata = client.ask("GET", f"{PODS}?{OURS}", accept=accept)[1]
    assert metadata["kind"] == "PartialObjectMetadataList"
    assert [sorted(item) for item in metadata["items"]] == [["apiVersion", "kind", "metadata"]] * 2
    assert client.ask("GET", f"{PODS}?labelSelector=a/b/c")[0] == 400


def test_the_pages_of_a_list_are_of_one_version_and_expire(kubernetes_server: KubernetesServer, client: Client):
    for number in range(5):
        kubernetes_server.make_pod(f"shop-{number}")
    first = client.ask("GET", f"{PODS}?limit=2")[1]
    assert len(first["items"]) == 2
    kubernetes_server.delete_pod("shop-3")
    second = client.ask("GET", f"{PODS}?limit=2&continue={first['metadata']['continue']}")[1]
    assert [pod["metadata"]["name"] for pod in second["items"]] == ["shop-2", "shop-3"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    last = client.ask("GET", f"{PODS}?limit=2&continue={second['metadata']['continue']}")[1]
    assert ([pod["metadata"]["name"] for pod in last["items"]], "continue" in last["metadata"]) == (["shop-4"], False)
    kubernetes_server.lose_history()
    status, error = client.ask("GET", f"{PODS}?limit=2&continue={first['metadata']['continue']}")
    assert (status, error["kind"], error["reason"]) == (410, "Status", "Expired")


def test_a_watch_sends_the_changes_since_a_version(kubernetes_server: KubernetesServer, client: Client):
    kubernetes_server.make_pod("shop-0")
    with client.watch(f"{OURS}&resourceVersion={version(client)}&allowWatchBookmarks=true") as events:
        kubernetes_server.make_pod("shop-1")
        kubernetes_server.make_pod("other", labels={"app.kubernetes.io/name": "other"})
        kubernetes_server.annotate("shop-1", blocked="true")
        kubernetes_server.patch_pod("shop-0", {"metadata": {"labels": {"app.kubernetes.io/name": "other"}}})
        kubernetes_server.delete_pod("shop-1", grace_s=30)
        kubernetes_server.delete_pod("shop-1")
        seen = [next(events) for _ in range(5)]
        kubernetes_server.order("bookmark")
        bookmark, marked = next(events)
    names = [(kind, pod["metadata"]["name"]) for kind, pod in seen]
    assert names == [
        ("ADDED", "shop-1"),
        ("MODIFIED", "shop-1"),
        ("DELETED", "shop-0"),
        ("MODIFIED", "shop-1"),
        ("DELETED", "shop-1"),
    ]
    assert seen[3][1]["metadata"]["deletionTimestamp"]
    assert (bookmark, marked["metadata"]["resourceVersion"]) == ("BOOKMARK", version(client))
    versions = [pod["metadata"]["resourceVersion"] for _, pod in seen]
    assert sorted(set(versions), key=int) == versions


def test_a_watch_without_a_version_begins_with_all_pods_and_ends_in_time(
    kubernetes_server: KubernetesServer, client: Client
):
    kubernetes_server.make_pod("shop-0")
    with client.watch("timeoutSeconds=1") as events:
        assert [(kind, pod["metadata"]["name"]) for kind, pod in events] == [("ADDED", "shop-0")]


def test_a_lost_history_is_gone_as_status_and_as_event(kubernetes_server: KubernetesServer, client: Client):
    old = version(client)
    kubernetes_server.make_pod("shop-0")
    kubernetes_server.lose_history()
    status, error = client.ask("GET", f"{PODS}?watch=true&resourceVersion={old}")
    assert (status, error["code"], error["reason"]) == (410, 410, "Expired")
    kubernetes_server.lose_history(as_event=True)
    with client.watch(f"resourceVersion={old}") as events:
        kind, error = next(events)
        assert (kind, error["code"], error["kind"]) == ("ERROR", 410, "Status")
        assert not list(events)


def test_a_version_of_the_future_is_too_large(kubernetes_server: KubernetesServer, client: Client):
    late = int(version(client)) + 1000
    for query in ("", "watch=true&"):
        status, error = client.ask("GET", f"{PODS}?{query}resourceVersion={late}")
        assert (status, error["details"]["retryAfterSeconds"]) == (504, 1)


def test_a_patch_merges_and_has_preconditions(kubernetes_server: KubernetesServer, client: Client):
    made = kubernetes_server.make_pod("shop-0")
    patch = {"metadata": {"annotations": {"a": "1", "b": "2"}}}
    status, pod = client.ask("PATCH", f"{PODS}/shop-0", patch, MERGE)
    assert (status, pod["metadata"]["annotations"]) == (200, {"a": "1", "b": "2"})
    old = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"], "annotations": {"a": None}}}
    assert client.ask("PATCH", f"{PODS}/shop-0", old, MERGE)[0] == 409
    other = {"metadata": {"uid": "another", "annotations": {"a": None}}}
    assert client.ask("PATCH", f"{PODS}/shop-0", other, MERGE)[0] == 422
    assert client.ask("PATCH", f"{PODS}/shop-0", patch)[0] == 415
    assert client.ask("PATCH", f"{PODS}/shop-9", patch, MERGE)[0] == 404
    removal = {"metadata": {"uid": pod["metadata"]["uid"], "annotations": {"a": None}}}
    status, after = client.ask("PATCH", f"{PODS}/shop-0", removal, MERGE)
    assert after["metadata"]["annotations"] == {"b": "2"}
    again = client.ask("PATCH", f"{PODS}/shop-0", removal, MERGE)[1]
    assert again["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"], "nothing has changed"


def test_a_config_map_is_created_once_and_updated_with_its_version(kubernetes_server: KubernetesServer, client: Client):
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "record"}, "data": {"record": "1"}}
    assert client.ask("PUT", f"{MAPS}/record", wanted)[0] == 404
    status, made = client.ask("POST", MAPS, wanted)
    assert status == 201
    status, error = client.ask("POST", MAPS, wanted)
    assert (status, error["reason"]) == (409, "AlreadyExists")
    update = {**made, "data": {"record": "2"}}
    assert client.ask("PUT", f"{MAPS}/record", update)[0] == 200
    status, error = client.ask("PUT", f"{MAPS}/record", update)
    assert (status, error["reason"]) == (409, "Conflict")
    assert client.ask("GET", f"{MAPS}/record")[1]["data"] == {"record": "2"}
    assert client.ask("POST", MAPS, {**wanted, "metadata": {"name": "Not_a_name"}})[0] == 422


def test_a_token_expires_and_is_replaced(kubernetes_server: KubernetesServer, client: Client):
    user = "system:serviceaccount:shop:inaho"
    kubernetes_server.order("tokens", tokens={TOKEN: {"user": user, "expires_at": time.time() - 1.0}})
    status, error = client.ask("GET", PODS)
    assert (status, error["kind"], error["reason"]) == (401, "Status", "Unauthorized")
    kubernetes_server.set_tokens("second")
    assert Client(kubernetes_server.port, "second").ask("GET", PODS)[0] == 200


def test_a_refusal_names_the_verb_and_the_resource(kubernetes_server: KubernetesServer, client: Client):
    kubernetes_server.make_pod("shop-0")
    kubernetes_server.grant(pods="list watch")
    status, error = client.ask("PATCH", f"{PODS}/shop-0", {"metadata": {}}, MERGE)
    assert (status, error["reason"]) == (403, "Forbidden")
    assert 'cannot patch resource "pods" in API group "" in the namespace "shop"' in error["message"]
    review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for verb, allowed in (("list", True), ("patch", False)):
        wanted = {"spec": {"resourceAttributes": {"namespace": NAMESPACE, "verb": verb, "resource": "pods"}}}
        status, found = client.ask("POST", review, wanted)
        assert (status, found["status"]["allowed"]) == (201, allowed)


def test_a_server_that_is_overloaded_says_when_to_come_again(kubernetes_server: KubernetesServer, client: Client):
    kubernetes_server.fault(429, "list", retry_after_s=3)
    status, error = client.ask("GET", PODS)
    assert (status, error["reason"], error["details"]["retryAfterSeconds"]) == (429, "TooManyRequests", 3)
    assert client.ask("GET", PODS)[0] == 200


def test_a_killed_server_keeps_its_objects_and_loses_its_history(kubernetes_server: KubernetesServer, client: Client):
    old = version(client)
    made = kubernetes_server.make_pod("shop-0")
    kubernetes_server.kill()
    kubernetes_server.start()
    found = client.ask("GET", PODS)[1]
    assert [pod["metadata"] for pod in found["items"]] == [made["metadata"]]
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert client.ask("GET", f"{PODS}?watch=true&resourceVersion={old}")[0] == 410
