"""The control plane of one node, composed of the machines of the core: `ControlNode`.

`control` gives each input and each deadline to whom it concerns; `lifecycle` is this node's own life, `reception` its
judgement of joiners, `conversation` its talk with peers, and `view` what all of them look at.
"""

from __future__ import annotations

from inaho.core.node.control import ControlNode

__all__ = ["ControlNode"]
