"""Finds the names around a class statement, for annotations that are text (`from __future__ import annotations`)."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["names_around"]


def names_around(module: str) -> dict[str, Any]:
    """Local names where a class statement of `module` is being run. Call it in `__init_subclass__`.

    Frames of a metaclass and of the user's own `__init_subclass__` between here and there are skipped.
    """
    frame = sys._getframe(2)
    while frame.f_code.co_name in ("__new__", "__init_subclass__") or frame.f_globals.get("__name__") != module:
        if frame.f_back is None:
            return {}
        frame = frame.f_back
    return dict(frame.f_locals)
