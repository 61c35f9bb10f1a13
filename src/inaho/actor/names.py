"""Checks the names of actors and actor systems: what can be part of a path."""

from __future__ import annotations

import re

from inaho.errors import InvalidConfig

__all__ = ["check_name"]

# What the path of an actor may hold without escaping (RFC 3986, unreserved, and a few sub-delimiters). A leading `$`
# is left to names that the system makes up.
_NAME = re.compile(r"[A-Za-z0-9_.~@:+,=-][A-Za-z0-9_.~@:+,=$-]{0,254}")


def check_name(name: str) -> None:
    """Raises `InvalidConfig` when `name` cannot be part of a path."""
    if not _NAME.fullmatch(name):
        raise InvalidConfig(
            f"{name!r} is no name of an actor or system: 1 to 255 of letters, digits and _ . ~ @ : + , = - $, "
            "and no $ at the start"
        )
