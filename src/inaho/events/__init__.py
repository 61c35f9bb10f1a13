"""What the event stream carries. Users and all other packages import from here.

Every event is a frozen Struct with the kind and key or the authority concerned and the outcome. `at` is the time
of the publishing node in Unix seconds; whoever publishes stamps it, and the pure core leaves it at 0 for the
runtime to fill in. Each module has the events of one subject, on the base classes in `base`.
"""

from __future__ import annotations

from inaho.events import (
    activation,
    actors,
    alerts,
    base,
    calls,
    connections,
    freshness,
    gossip,
    membership,
    messages,
    provisioning,
    pubsub,
    reminders,
    storage,
)
from inaho.events.activation import *
from inaho.events.actors import *
from inaho.events.alerts import *
from inaho.events.base import *
from inaho.events.calls import *
from inaho.events.connections import *
from inaho.events.freshness import *
from inaho.events.gossip import *
from inaho.events.membership import *
from inaho.events.messages import *
from inaho.events.provisioning import *
from inaho.events.pubsub import *
from inaho.events.reminders import *
from inaho.events.storage import *

__all__: list[str] = []
__all__ += activation.__all__
__all__ += actors.__all__
__all__ += alerts.__all__
__all__ += base.__all__
__all__ += calls.__all__
__all__ += connections.__all__
__all__ += freshness.__all__
__all__ += gossip.__all__
__all__ += membership.__all__
__all__ += messages.__all__
__all__ += provisioning.__all__
__all__ += pubsub.__all__
__all__ += reminders.__all__
__all__ += storage.__all__
