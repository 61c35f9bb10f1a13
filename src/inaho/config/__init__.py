"""Every setting, with its unit and the trade-off behind its default. Users and all other packages import from here.

Each group of settings is a frozen class in the module of its name; `cluster` has the whole. Beside this surface:
`profiles` has sets of defaults, `shared` the settings that must be equal on all members, and `sources` reads settings
from files, the environment and arguments. Only `cli` and what starts a node import `sources`: it does I/O.
"""

from __future__ import annotations

from inaho.config import (
    activation,
    base,
    cluster,
    delivery,
    detection,
    gossip,
    membership,
    metrics,
    provisioning,
    pubsub,
    rpc,
    storage,
    transport,
)
from inaho.config.activation import *
from inaho.config.base import *
from inaho.config.cluster import *
from inaho.config.delivery import *
from inaho.config.detection import *
from inaho.config.gossip import *
from inaho.config.membership import *
from inaho.config.metrics import *
from inaho.config.provisioning import *
from inaho.config.pubsub import *
from inaho.config.rpc import *
from inaho.config.storage import *
from inaho.config.transport import *

__all__: list[str] = []
__all__ += activation.__all__
__all__ += base.__all__
__all__ += cluster.__all__
__all__ += delivery.__all__
__all__ += detection.__all__
__all__ += gossip.__all__
__all__ += membership.__all__
__all__ += metrics.__all__
__all__ += provisioning.__all__
__all__ += pubsub.__all__
__all__ += rpc.__all__
__all__ += storage.__all__
__all__ += transport.__all__
