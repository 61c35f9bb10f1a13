"""Makes a `ClusterConfig` of the values of options, merged with file and environment.

Options are the last of the sources of `inaho.config.sources.load_config`. An option that was not given is None and
leaves the setting alone. An option that was given empty (`--seeds ''`) removes the setting, so that a script can do
this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inaho.config import ClusterConfig
from inaho.config.provider_definitions import split_urls
from inaho.config.sources import load_config
from inaho.errors import InvalidConfig

__all__ = [
    "load_settings",
    "require",
    "split_list",
    "split_providers",
    "where_to_give",
]


def split_list(given: list[str] | None) -> tuple[str, ...] | None:
    """The parts of a repeatable option with commas; None when it was not given, empty when it was given empty."""
    if given is None:
        return None
    return tuple(part.strip() for text in given for part in text.split(",") if part.strip())


def split_providers(given: list[str] | None) -> list[str] | None:
    """The URLs of a repeatable option; None when it was not given, empty when it was given empty."""
    return None if given is None else [url for text in given for url in split_urls(text)]


def require(settings: ClusterConfig, *names: str) -> None:
    """Checks that the settings which a command needs are given.

    Raises:
        InvalidConfig: some are empty; the reason names each, and where it can be given.
    """
    missing = [name for name in names if not getattr(settings, name)]
    if missing:
        raise InvalidConfig("; ".join(f"{name} missing: {where_to_give(name)}" for name in missing))


def where_to_give(name: str) -> str:
    """The three places in which a setting can be given, and what it looks like."""
    form = {"authority": "host:port", "seeds": "host:port,…", "port": "PORT"}.get(name, "VALUE")
    place = "authority" if name == "port" else name
    return f"give --{name} {form}, or INAHO_{place.upper()}, or {place} in the file of --config"


def load_settings(
    *,
    config: Path | None = None,
    secret: str | None = None,
    secret_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **overrides: Any,
) -> ClusterConfig:
    """All sources, the options last.

    Args:
        config: TOML file.
        secret, secret_file: one way or the other to give the secret.
        environ: the process's environment unless given.
        overrides: as those of `load_config`; None leaves a setting alone.

    Raises:
        InvalidConfig: as `load_config`, or the secret is given twice.
    """
    if secret is not None and secret_file is not None:
        raise InvalidConfig("--secret and --secret-file are both given; keep one of them")
    if secret_file is not None:
        overrides["secret"] = {"file": str(secret_file)}
    elif secret is not None:
        overrides["secret"] = secret
    return load_config(file=config, environ=os.environ if environ is None else environ, overrides=overrides)
