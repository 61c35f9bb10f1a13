"""The control plane of one node, composed of the machines of the core: `ControlNode`.

`control` passes each input and each deadline to the part that handles it. `lifecycle` is the life of this node,
`join_requests` decides about joiners, `exchange` answers peers, `periodic` does the periodic work, `corroboration`
decides which reports are accepted, and all of them work on the `view`.
"""

from __future__ import annotations

from inaho.core.node.control import ControlNode

__all__ = ["ControlNode"]
