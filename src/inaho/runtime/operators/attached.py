"""Attaches the operators' parts to a node: the operator actor, and reports of ends of activations.

The node does not know its operators' parts: a node without them would serve calls as well. `runtime.cluster` attaches
them before the node starts, so that no caller meets a member that cannot answer an operator.
"""

from __future__ import annotations

from inaho.runtime.node.node import Node
from inaho.runtime.operators.operator_actor import OPERATOR_KEY, OperatorActor
from inaho.runtime.operators.terminations import TERMINATIONS_KEY, TerminationActor, Terminations

__all__ = ["attach_operators"]


def attach_operators(node: Node) -> Terminations:
    """Attaches the operator parts to a node that has not started. A client only gets their part for terminations."""
    terminations = Terminations(node)
    node.history.observe("ended", terminations.ended)
    node.lifecycle.attach(tick=terminations.tick)
    if not node.local.client:
        node.add_kind(OperatorActor.inaho_kind, parts=(node,)).install(OPERATOR_KEY)
        node.add_kind(TerminationActor.inaho_kind, parts=(terminations,)).install(TERMINATIONS_KEY)
    return terminations
