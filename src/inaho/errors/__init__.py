"""The one tree of errors. Users and all other packages import from here.

Every error says what happened (`reason`), to which identity or authority, whether the call may have run
(`maybe_executed`, what a caller must know before it tries again) and what to do about it (`advice`). `code` is
stable and is what crosses the wire, so that a caller in another process catches the same class.

Why one flat tree and not builtin exceptions: a retry policy, an alert and a person all ask the same three
questions, and can only ask them of a type that answers. Each module has the errors of one subject, on the base class
in `base`. `inspection` is not part of this surface: it reads exceptions of any class.
"""

from __future__ import annotations

from inaho.errors import (
    actors,
    base,
    bootstrap,
    calls,
    codes,
    connections,
    membership,
    providers,
    pubsub,
    storage,
    usage,
)
from inaho.errors.actors import *
from inaho.errors.base import *
from inaho.errors.bootstrap import *
from inaho.errors.calls import *
from inaho.errors.codes import *
from inaho.errors.connections import *
from inaho.errors.membership import *
from inaho.errors.providers import *
from inaho.errors.pubsub import *
from inaho.errors.storage import *
from inaho.errors.usage import *

__all__: list[str] = []
__all__ += actors.__all__
__all__ += base.__all__
__all__ += bootstrap.__all__
__all__ += calls.__all__
__all__ += codes.__all__
__all__ += connections.__all__
__all__ += membership.__all__
__all__ += providers.__all__
__all__ += pubsub.__all__
__all__ += storage.__all__
__all__ += usage.__all__
