"""What a node does ten times a second, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.runtime.local.ticker import Ticker

if TYPE_CHECKING:
    from inaho.runtime.node.parts import NodeParts

__all__ = ["make_ticker"]


def make_ticker(node: NodeParts) -> Ticker:
    """The ticker of a node. The parts are looked up at each tick, so the ticker may be made before them."""
    ticker = Ticker(node.local)
    node.local.pauses.observe(node.reports.woke)
    ticker.each(node.reports.tick)
    ticker.each(lambda now, _: node.associations.tick(now))
    ticker.each(lambda now, _: node.remoting.tick(now))
    ticker.each(lambda now, _: node.topics.tick(now))
    ticker.each(lambda now, _: node.peers.expire(now))
    ticker.each(lambda now, _: node.acceptor.expire(now))
    ticker.each(lambda _now, _lag_s: node.caching_callers.tick())
    ticker.each(lambda _now, _lag_s: node.all_activations.expire())
    ticker.each(lambda now, _: _unload_idle(node, now))
    ticker.each(lambda now, _: _log_held_back(node, now))
    ticker.each(lambda _now, _lag_s: None if node.gateway is None else node.gateway.keep())
    return ticker


def _unload_idle(node: NodeParts, now: float) -> None:
    for host in node.hosts.values():
        if host.passivation is not None:
            host.passivation.step(now)


def _log_held_back(node: NodeParts, now: float) -> None:
    """Logs how many lines the limits on warnings have held back."""
    for warnings in (node.retry_warnings, node.activation_warnings, node.waiting_warnings, node.membership_log):
        if warnings is not None:
            warnings.tick(now)
