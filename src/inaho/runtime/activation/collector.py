"""Keeps activations away from Python's cyclic garbage collector until they end.

An activation that has not ended is no garbage: the table of its kind refers to it. Yet each collection of old objects
visits all activations and everything they refer to, and stops the program for that time: a quarter of a second for a
million activations. So an activation is taken off the collector's list when it starts and put back when it has ended.
Until then, the collector takes everything that it refers to as in use, and this is right. If user code has made a
reference cycle through the activation, the collector finds it after the end of the activation.

Why not `gc.freeze()`: it hides all objects of the process from the collector for ever, also those that are garbage
already. The collector never finds a cycle through one of them. Why not a rarer collection of old objects
(`gc.set_threshold`): it is a setting of the whole process, other garbage stays longer, and each pause is as long as
before. See docs/decisions/0036.

It uses only what the C interface of CPython documents: `PyObject_GC_UnTrack` and `PyObject_GC_Track`. Without that
interface, or with `activation.collector_sees_activations`, it does nothing.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any, Final

__all__ = ["BIG_TABLE", "hide", "show"]

BIG_TABLE: Final = 200_000
"""With so many activations, their table is hidden from the collector too, since visiting it means visiting all of them.
With fewer activations a visit takes some milliseconds, which is not worth a call per activation."""


def _function(name: str) -> Callable[[Any], None]:
    function = getattr(getattr(ctypes, "pythonapi", None), name, None)
    if function is None:  # another implementation of Python
        return lambda _: None
    function.argtypes, function.restype = (ctypes.py_object,), None
    found: Callable[[Any], None] = function
    return found


hide: Final = _function("PyObject_GC_UnTrack")
"""Takes an object off the collector's list; nothing happens if it is not on it."""

_track: Final = _function("PyObject_GC_Track")


def show(hidden: object) -> None:
    """Puts an object back on the collector's list, if it is not on it."""
    if not gc.is_tracked(hidden):
        _track(hidden)
