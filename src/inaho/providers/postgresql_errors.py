"""What an error that PostgreSQL answers means for a provider, by its SQLSTATE.

(https://www.postgresql.org/docs/current/errcodes-appendix.html)
"""

from __future__ import annotations

from typing import Final

from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable

__all__ = ["NAMES_USER", "failure_of"]

_REFUSED: Final = {
    "28": "refuses the secrets username and password, or this address (pg_hba.conf)",
    "3D000": "has no database of that name",
    "3F000": "has no schema of that name; create it, or correct the option schema",
    "42501": "refuses a permission",
    "42703": "has a table of that name that is another application's; choose another with the option table",
}
"""SQLSTATEs of what the definition or the rights of its user must change, and what they mean."""

_UNAVAILABLE: Final = {
    "53300": "has no connection left (max_connections); each node needs one",
    "53": "lacks a resource",
    "25006": "accepts no writes now",
    "57014": "gave a statement up that took too long",
    "08": "ended the connection",
    "40": "ended the transaction; try again",
    "55": "has locked the table",
    "57P": "stops or starts",
    "58": "has a failure of its system",
}
"""SQLSTATEs of a server that cannot serve now."""

NAMES_USER: Final = ("28", "53300")
"""SQLSTATEs whose text may name the user, which is a secret here."""


def failure_of(about: str, state: str, text: str) -> ProviderError:
    """The error of a provider.

    Args:
        about: names the provider and its server.
        state: the SQLSTATE.
        text: of the server.
    """
    kinds: tuple[tuple[dict[str, str], type[ProviderError]], ...] = (
        (_REFUSED, ProviderInvalid),
        (_UNAVAILABLE, ProviderUnreachable),
    )
    for meanings, kind in kinds:
        for beginning, meaning in meanings.items():
            if state.startswith(beginning):
                return kind(f"{about} {meaning}{'' if state.startswith(NAMES_USER) else f': {text}'}")
    return ProviderStreamFailed(f"{about} answers with the error {state}: {text}")
