"""Keeps activations away from Python's cyclic garbage collector for as long as they live.

An activation that lives is no garbage: the table of its kind refers to it. Yet the collector looks at each of them, and
at all that it refers to, whenever it looks at old objects, and stops the program meanwhile: a quarter of a second at a
million. So an activation is taken off the collector's list when it begins and put back when it has ended. What it
refers to counts as in use meanwhile, which it is. A circle that user code has made of it is found after its end, as any
other.

Why not `gc.freeze()`: it takes all objects of the process from the collector, those of the program and those that are
garbage already, and for ever; a circle through one of them is never found. Why not a rarer collection of old objects
(`gc.set_threshold`): it is a setting of the whole process, the garbage of the program stays longer, and the pause, when
it comes, is as long. See docs/decisions/0036.

Only what the C interface of CPython documents is used: `PyObject_GC_UnTrack` and `PyObject_GC_Track`. Where there is no
such interface, or `activation.collector_sees_activations` is set, nothing is done.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any, Final

__all__ = ["BIG_TABLE", "hide", "show"]

BIG_TABLE: Final = 200_000
"""From so many activations on their table is kept from the collector, too: to look at it is to look at all of them.
Below that it takes some milliseconds, and is not worth a call per activation."""


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
