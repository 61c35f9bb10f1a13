"""What the pods of a cluster say: registrations in annotations, kept up to date by the events of a watch.

Only the metadata of pods is asked for, and the server leaves out pods that have ended. A pod that is being deleted
counts: its process still serves and hands over its activations, and takes its own registration away when it is done.

Two pods can name one authority for a moment, when a new pod has the IP address of one that is being deleted. Then the
pod that is not being deleted counts, and else the younger one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot
from inaho.providers.base import ProviderRead
from inaho.providers.entries import decode_member

__all__ = ["BLOCKED", "MEMBER", "Metadata", "Pod", "PodEvent", "PodList", "Pods"]

MEMBER: Final = "inaho.dev/member"
"""The annotation that is the registration of a pod."""

BLOCKED: Final = "inaho.dev/blocked"
"""A label or an annotation; `true` blocks the authority of the pod."""


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`metadata` of an object, as far as it is needed; of a list, `continue` names the next page."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    next_page: str = msgspec.field(name="continue", default="")

    @property
    def registration(self) -> str:
        """The text of the registration; empty if there is none."""
        return (self.annotations or {}).get(MEMBER, "")

    @property
    def blocked(self) -> bool:
        """Whether an operator blocks this pod."""
        return "true" in ((self.labels or {}).get(BLOCKED), (self.annotations or {}).get(BLOCKED))

    def is_of(self, node_id: str) -> bool:
        """Whether the process with that node id has written the registration."""
        try:
            return bool(self.registration) and decode_member(self.registration, self.name).node_id == node_id
        except InvalidSnapshot:
            return False


class Pod(msgspec.Struct, frozen=True, gc=False):
    """An object of a list or of an event: its metadata."""

    metadata: Metadata


class PodList(msgspec.Struct, frozen=True):
    """The answer to a list."""

    metadata: Metadata
    items: list[Pod]


class PodEvent(msgspec.Struct, frozen=True):
    """One line of a watch; `object` is a pod, or an error where the type is `ERROR`."""

    type: str
    object: msgspec.Raw


class _Registered(msgspec.Struct, frozen=True, gc=False):
    """A pod with a registration."""

    age: tuple[bool, str, str]  # the larger one counts where two have one authority
    blocked: bool
    member: ProviderMember | None
    problem: str  # with the registration; then there is no member


class Pods:
    """The pods of one cluster; those that have not registered are left out.

    Args:
        who: the provider, for the text of errors.
        position: the version of the list.
        pods: their metadata.
    """

    def __init__(self, who: str, position: str, pods: Iterable[Metadata] = ()) -> None:
        self.position = position
        self._who = who
        self._pods = {pod.name: self._taken(pod) for pod in pods if pod.registration}

    def copy(self) -> Pods:
        """The same pods, to be changed by a watch."""
        made = Pods(self._who, self.position)
        made._pods = dict(self._pods)
        return made

    def put(self, pod: Metadata) -> bool:
        """The pod was added or changed. Returns whether that matters."""
        if not pod.registration:
            return self.remove(pod)
        self.position = pod.resource_version
        made = self._taken(pod)
        if self._pods.get(pod.name) == made:
            return False
        self._pods[pod.name] = made
        return True

    def remove(self, pod: Metadata) -> bool:
        """The pod is gone, has ended, or has lost its labels. Returns whether that matters."""
        self.position = pod.resource_version
        return self._pods.pop(pod.name, None) is not None

    def read(self) -> ProviderRead:
        """The members. Raises `InvalidSnapshot` that names the pod whose annotation is not ours."""
        found: dict[str, tuple[_Registered, ProviderMember]] = {}
        for name in sorted(self._pods):
            pod = self._pods[name]
            if pod.member is None:
                raise InvalidSnapshot(pod.problem)
            other = found.get(pod.member.authority)
            if other is None or other[0].age < pod.age:
                found[pod.member.authority] = pod, pod.member
        members = tuple(member for _, member in found.values())
        blocked = tuple(member.authority for pod, member in found.values() if pod.blocked)
        return ProviderRead(members, blocked, self.position)

    def _taken(self, pod: Metadata) -> _Registered:
        member, problem = None, ""
        try:
            member = decode_member(pod.registration, f"in the annotation {MEMBER} of the pod {pod.name}")
        except InvalidSnapshot as error:
            problem = f"{self._who}: {error.reason}"
        age = pod.deletion_timestamp is None, pod.creation_timestamp or "", pod.uid
        return _Registered(age, pod.blocked, member, problem)
