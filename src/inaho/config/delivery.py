"""Settings of messages to actors on other nodes (`delivery.*`)."""

from __future__ import annotations

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["DeliveryConfig"]


class DeliveryConfig(Group, frozen=True, kw_only=True):
    """Messages to actors on other nodes, and quarantines. All bounds are per peer.

    Attributes:
        queue_messages_max: messages that wait for a peer. More survive a longer interruption; fewer cost less memory,
            and the sender learns of a problem sooner.
        queue_bytes_max: encoded bytes that wait.
        queue_age_s: a message that waits longer is a dead letter.
        queue_policy: what a full queue does: `drop_oldest` makes dead letters, `reject_new` refuses the new message.
        unacknowledged_max: messages sent and not acknowledged; beyond it they wait. More fills a longer round trip,
            fewer are in doubt when a connection breaks.
        unacknowledged_bytes_max: encoded bytes sent and not acknowledged.
        failures_max: consecutive failed dials of a member after which its authority is quarantined. With the default
            pauses this takes most of a minute, so a restart or a short interruption of the network is not enough.
        quarantine_s: a quarantine ends by itself after this time.
        authorities_max: peers whose state is remembered; beyond it the oldest that is not connected is forgotten.
        references_max: remote actors that messages of one connection may name as their sender, and that are remembered.
        watches_max: watches per direction between this node and one peer.
    """

    queue_messages_max: int = 1024
    queue_bytes_max: int = 4 << 20
    queue_age_s: float = 10.0
    queue_policy: str = "drop_oldest"
    unacknowledged_max: int = 8192
    unacknowledged_bytes_max: int = 1 << 20
    failures_max: int = 16
    quarantine_s: float = 30.0
    authorities_max: int = 8192
    references_max: int = 4096
    watches_max: int = 65_536

    def check(self) -> None:
        if self.queue_policy not in ("reject_new", "drop_oldest"):
            raise InvalidConfig(
                f"DeliveryConfig.queue_policy must be 'reject_new' or 'drop_oldest', not {self.queue_policy!r}"
            )
