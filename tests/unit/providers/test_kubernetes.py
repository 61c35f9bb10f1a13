"""What the URL of a provider for Kubernetes may say, and what the metadata of pods mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.descriptor import parse_url
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderInvalid
from inaho.providers.entries import encode
from inaho.providers.kubernetes import KubernetesProvider
from inaho.providers.kubernetes_pods import MEMBER, Metadata, PodList, Pods
from inaho.providers.setup import ProviderSetup, Secrets


@pytest.fixture(autouse=True)
def outside_of_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "POD_NAME"):
        monkeypatch.delenv(name, raising=False)


def made(url: str, cluster: str = "shop", folder: Path = Path("/nowhere"), **secrets: SecretReference) -> None:
    """Makes the provider."""
    KubernetesProvider(ProviderSetup("kube", parse_url(url), cluster, Secrets(secrets), 5.0), folder)


@pytest.mark.parametrize(
    ("url", "cluster", "problem"),
    [
        ("kubernetes://h:1/shop?selctor=a", "shop", "unknown option selctor; known are selector, pod, record, tls, ca"),
        ("kubernetes://h:1/shop?tls=no", "shop", "the option tls is true or false, not 'no'"),
        ("kubernetes://h:1/a/b", "shop", "'a/b' is no name of a namespace"),
        ("kubernetes://h:1/shop?record=A", "shop", "'A' is no name of a ConfigMap"),
        ("kubernetes://h:1/shop", "Shop", "'inaho-Shop' is no name of a ConfigMap.*: give it in the option record"),
        ("kubernetes://h:1/shop", "my shop", "'my shop', is no value of a label: give the option selector"),
        ("kubernetes:///", "shop", "this process is in no pod .KUBERNETES_SERVICE_HOST is not set."),
    ],
)
def test_a_wrong_url_is_refused_with_the_reason(url: str, cluster: str, problem: str):
    with pytest.raises(ProviderInvalid, match=f"provider kube: .*{problem}"):
        made(url, cluster)


def test_names_that_kubernetes_does_not_take_have_options():
    made("kubernetes://h:1?selector=app%3Dshop&record=shop-record", "My Shop")


def test_an_unknown_secret_is_refused():
    with pytest.raises(ProviderInvalid, match="unknown secret password; known are token"):
        made("kubernetes://h:1/shop", password=SecretReference(env="X"))


def test_in_a_pod_the_namespace_comes_from_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    with pytest.raises(
        ProviderInvalid, match="the namespace of this pod cannot be read, write kubernetes:///NAMESPACE"
    ):
        made("kubernetes:///", folder=tmp_path)
    made("kubernetes:///shop", folder=tmp_path)
    (tmp_path / "namespace").write_text("shop\n")
    made("kubernetes:///", folder=tmp_path)


# Pods.


def pod(name: str, node_id: str = "", authority: str = "10.0.0.1:7700", **more: object) -> Metadata:
    """The metadata of a pod."""
    annotations = {MEMBER: encode(ProviderMember(authority, node_id))} if node_id else None
    fields: dict[str, Any] = {"creation_timestamp": "2026-01-01T00:00:00Z", "uid": name} | more
    return Metadata(name, resource_version="7", annotations=annotations, **fields)


def ids(pods: Pods) -> list[str]:
    """The node ids of the members."""
    return [member.node_id for member in pods.read().members]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pod("z", "old"), pod("a", "new", creation_timestamp="2026-01-01T00:00:01Z")),
        (pod("z", "old", deletion_timestamp="2026-01-02T00:00:00Z"), pod("a", "new", creation_timestamp="2025")),
        (pod("a", "old"), pod("z", "new")),
    ],
)
def test_of_two_pods_with_one_authority_one_counts_whatever_their_order(one: Metadata, other: Metadata):
    assert ids(Pods("kube", "1", [one, other])) == ids(Pods("kube", "1", [other, one])) == ["new"]


def test_the_block_of_a_pod_does_not_concern_its_successor():
    old = pod("a", "old", deletion_timestamp="2026-01-02T00:00:00Z", labels={"inaho.dev/blocked": "true"})
    assert Pods("kube", "1", [old]).read().blocked_nodes == ("10.0.0.1:7700",)
    assert Pods("kube", "1", [old, pod("b", "new")]).read().blocked_nodes == ()


def test_a_pod_that_has_not_registered_is_no_member():
    pods = Pods("kube", "1", [pod("a"), pod("b", "b")])
    assert ids(pods) == ["b"]
    assert not pods.put(pod("c"))  # nobody needs to know
    assert pods.put(pod("c", "c", "10.0.0.2:7700"))
    assert not pods.put(pod("c", "c", "10.0.0.2:7700"))
    assert not pods.remove(pod("a"))
    assert pods.remove(pod("b"))
    assert ids(pods) == ["c"]
    assert pods.read().position == "7"


def test_a_copy_is_independent():
    pods = Pods("kube", "1", [pod("a", "a")])
    copied = pods.copy()
    copied.remove(pod("a"))
    assert (ids(pods), ids(copied)) == (["a"], [])
    assert (pods.read().position, copied.read().position) == ("1", "7")


def test_a_damaged_registration_is_refused_with_the_pod_until_it_is_gone():
    pods = Pods("kube", "1", [pod("a", "a")])
    pods.put(Metadata("broken", annotations={MEMBER: "{"}))
    with pytest.raises(InvalidSnapshot, match=f"kube: .*{MEMBER} of the pod broken"):
        pods.read()
    pods.remove(Metadata("broken"))
    assert ids(pods) == ["a"]


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_a_label_or_an_annotation_blocks(where: str):
    for value, blocked in (("true", ("10.0.0.1:7700",)), ("false", ()), ("", ())):
        wanted = pod("a", "a")
        texts = {**(getattr(wanted, where) or {}), "inaho.dev/blocked": value}
        assert Pods("kube", "1", [msgspec.structs.replace(wanted, **{where: texts})]).read().blocked_nodes == blocked


def test_a_list_is_read_as_the_server_writes_it():
    """Go leaves out empty fields, and may write null."""
    text = b"""{"kind": "PodList", "metadata": {"resourceVersion": "12", "continue": "abc", "remainingItemCount": 3},
        "items": [{"metadata": {"name": "a", "uid": "u", "resourceVersion": "9", "labels": null,
        "creationTimestamp": null, "managedFields": [{"manager": "kubelet"}]}, "spec": {"nodeName": "n"}}]}"""
    found = msgspec.json.decode(text, type=PodList)
    assert (found.metadata.resource_version, found.metadata.next_page) == ("12", "abc")
    assert found.items[0].metadata == Metadata("a", "u", "9")
    assert not found.items[0].metadata.registration
    assert not found.items[0].metadata.blocked
