"""Writes the audit log: which authorities were quarantined and released, and why (SPEC CL-4.5).

One logger, `inaho.audit`, with one line per decision. The text is for people; the fields (`extra=`) are for log
collectors: `audit_event`, `audit_authority`, `audit_node_id`, `audit_reason`, `audit_observer`, and with a quarantine
`audit_for_s`. It is separate from the node's own log, because it is kept longer and has other readers.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from inaho.events import AuthorityConnected, AuthorityEvent, AuthorityQuarantined, AuthorityReleased

__all__ = ["AUDIT_LOGGER", "audit", "audit_order"]

AUDIT_LOGGER: Final = "inaho.audit"

_log: Final = logging.getLogger(AUDIT_LOGGER)


def audit(event: AuthorityEvent, observer: str) -> None:
    """Writes a line for an event that belongs into the audit log; does nothing for other events.

    Args:
        event: what happened to the association with an authority.
        observer: authority or node id of the node that decided.
    """
    fields: dict[str, Any] = {
        "audit_authority": event.authority,
        "audit_node_id": event.node_id,
        "audit_reason": event.reason,
        "audit_observer": observer,
    }
    if isinstance(event, AuthorityQuarantined):
        fields |= {"audit_event": "quarantine", "audit_for_s": event.for_s}
        _log.warning(
            "%s quarantined %s (node %s) for %g s: %s",
            observer, event.authority, event.node_id or "unknown", event.for_s, event.reason, extra=fields,
        )  # fmt: skip
    elif isinstance(event, AuthorityReleased):
        fields["audit_event"] = "release"
        _log.info("%s released %s (node %s): %s", observer, event.authority, event.node_id, event.reason, extra=fields)
    elif isinstance(event, AuthorityConnected) and event.reconnected:
        fields |= {"audit_event": "reconnection", "audit_reason": f"after {event.failures} failed dials"}
        _log.info(
            "%s reconnected to %s (node %s) after %d failed dials",
            observer, event.authority, event.node_id, event.failures, extra=fields,
        )  # fmt: skip


def audit_order(order: str, authority: str, observer: str) -> None:
    """Writes a line for an operator's order.

    Args:
        order: `block`, `unblock` or `drain`.
        authority: the member that it concerns.
        observer: authority or node id of the node that took the order.
    """
    fields = {"audit_event": order, "audit_authority": authority, "audit_observer": observer}
    _log.info("%s was told to %s %s", observer, order, authority, extra=fields)
