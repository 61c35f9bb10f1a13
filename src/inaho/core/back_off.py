"""Computes a pause that doubles with every failure: one formula for calls, streams and gossip."""

from __future__ import annotations

from typing import Final

__all__ = ["back_off_s"]

_DOUBLINGS_MAX: Final = 64
"""Beyond it no first pause of use is below a longest one of use, and no float overflows."""


def back_off_s(first_s: float, longest_s: float, failed: int) -> float:
    """The pause after so many failures in a row: `first_s * 2**(failed - 1)` seconds, at most `longest_s`.

    Args:
        first_s: seconds, above 0.
        longest_s: seconds.
        failed: at least 1.
    """
    return min(longest_s, first_s * 2.0 ** min(failed - 1, _DOUBLINGS_MAX))
