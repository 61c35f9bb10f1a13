"""Decides which activations may have an older state than the stored one: kinds with state in a shared storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["ProvedKinds", "is_proved_kind"]


class ProvedKinds:
    """The kinds of one node whose activations are proved.

    Args:
        local: the node.
        hosts: its kinds, by name.
    """

    def __init__(self, local: LocalNode, hosts: Mapping[str, KindHost]) -> None:
        self._local = local
        self._hosts = hosts

    def __bool__(self) -> bool:
        """Whether this node has activations whose state others may change."""
        return (
            not self._local.client
            and not self._local.storage_is_private
            and any(map(is_proved_kind, self._hosts.values()))
        )

    @property
    def names(self) -> set[str]:
        """The names of the kinds, also if the storage is private."""
        return {host.name for host in self._hosts.values() if is_proved_kind(host)}

    def activations(self) -> Iterator[Activation]:
        """All activations of these kinds. None may begin or end during the iteration."""
        for host in self._hosts.values():
            if is_proved_kind(host):
                yield from host.activations.values()


def is_proved_kind(host: KindHost) -> bool:
    """Whether activations of the kind have state that others may change. Stateless pools are exempt.

    So are kinds of the runtime while they have no activation: every member hosts them, and one that uses none of them
    need not open its storage.
    """
    return host.listed and host.pool is None and host.kind.state_type is not None
