"""Decides what a quickstart will start: settings, authorities and a new folder, before anything runs.

Without any configuration the plan chooses everything: free ports on loopback, seeds that are the nodes themselves, a
random secret. If the user configures authority or seeds (file or environment), nothing is chosen any more, and missing
settings are named (SPEC CL-8.4): a cluster on guessed addresses is not the one that the user described.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from inaho.authority import Authority, parse_authority
from inaho.cli.quickstart.ports import Reservation
from inaho.cli.settings import load_settings, where_to_give
from inaho.config import ClusterConfig, Group
from inaho.errors import InvalidConfig

__all__ = ["Plan", "make_plan", "settings_as_toml"]

AUTHORITY_DEFAULT: Final = "127.0.0.1:0"
MADE_UP: Final = {"profile": "local", "membership": {"found_after_s": 0.1, "join_retry_s": 0.05}}
"""Settings of a run without configuration. All nodes have the same seeds and start together, so the first one need not
search long for an older cluster."""

SAMPLE: Final = "inaho.cli.sample:Counter"


class Plan:
    """A plan of a run; `with` releases its ports at the end. The folder stays, because it contains the report.

    Attributes:
        settings: of all nodes and clients, seeds and secret included.
        authorities: of the nodes, in order.
        directory: the run's own folder, readable only by this user.
        config_file: the settings, as the nodes read them.
        environ: the environment of the nodes: this process's without the settings, which are in the file.
    """

    def __init__(
        self, settings: ClusterConfig, authorities: list[str], directory: Path, reservation: Reservation | None
    ) -> None:
        self.settings = settings
        self.authorities = authorities
        self.directory = directory
        self.config_file = directory / "cluster.toml"
        self.environ = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        self._reservation = reservation
        secret_file = directory / "secret"
        if settings.secret:
            secret_file.write_text(settings.secret + "\n", "utf-8")
            secret_file.chmod(0o600)
        self.config_file.write_text(settings_as_toml(settings, secret_file.name), "utf-8")

    def node_command(self, index: int, target: str = SAMPLE) -> list[str]:
        """The command that starts node `index` by hand."""
        return [
            *(sys.executable, "-m", "inaho.cli", "up", target),
            *("--config", str(self.config_file), "--authority", self.authorities[index]),
        ]

    def client_command(self, *arguments: str) -> list[str]:
        """A command that calls the nodes of this run."""
        return [sys.executable, "-m", "inaho.cli", *arguments, "--config", str(self.config_file)]

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reservation is not None:
            self._reservation.close()


def make_plan(
    *,
    nodes: int,
    authority: str | None = None,
    port: str | None = None,
    seeds: tuple[str, ...] | None = None,
    config: Path | None = None,
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **overrides: Any,
) -> Plan:
    """Makes the plan of a run.

    Args:
        nodes: processes, 1 or more.
        authority: of the first node; with port 0 all nodes get free ports.
        port: of the first node, as text; the others take the following ones.
        seeds: None means the nodes themselves, unless they are configured.
        config: TOML file.
        directory: folder in which the run's own is made; the system's temporary one unless given.
        environ: the process's environment unless given.
        overrides: as for `load_settings`.

    Raises:
        InvalidConfig: settings are missing (each is named) or impossible.
    """
    environ = os.environ if environ is None else environ
    has_file = config is not None or bool(environ.get("INAHO_CONFIG"))
    configured = has_file or "INAHO_AUTHORITY" in environ or "INAHO_SEEDS" in environ
    if not configured:
        overrides |= {name: value for name, value in MADE_UP.items() if not _in_environment(name, environ)}
    settings = load_settings(config=config, environ=environ, authority=authority, seeds=seeds, **overrides)
    first = settings.authority or ("" if configured or authority is not None else AUTHORITY_DEFAULT)
    missing = [] if first else ["authority"]
    first = _with_port(first, port)
    if (first and not _has_port(first)) or port == "":
        missing.append("port")
    make_up_seeds = seeds is None and not configured
    if nodes > 1 and not settings.seeds and not make_up_seeds:
        missing.append("seeds")
    if missing:
        raise InvalidConfig("; ".join(f"{name} missing: {where_to_give(name)}" for name in missing))
    for seed in settings.seeds:
        parse_authority(seed, allow_port_zero=False)
    authorities, reservation = _authorities(parse_authority(first), nodes)
    try:
        folder = _fresh_folder(directory)
        shared = settings.replace(
            authority="",
            seeds=tuple(authorities) if make_up_seeds else settings.seeds,
            secret=settings.secret or ("" if settings.tls else secrets.token_hex(16)),
            data_dir=str(folder / "state"),
        )
        return Plan(shared, authorities, folder, reservation)
    except BaseException:
        if reservation is not None:
            reservation.close()
        raise


def _has_port(authority: str) -> bool:
    return bool(authority.rpartition("]")[2].rpartition(":")[2]) and ":" in authority.rpartition("]")[2]


def _with_port(authority: str, port: str | None) -> str:
    if port is None or not authority:
        return authority
    host = authority.rpartition(":")[0] if ":" in authority.rpartition("]")[2] else authority
    return f"{host}:{port}"


def _authorities(first: Authority, nodes: int) -> tuple[list[str], Reservation | None]:
    if first.port == 0:
        reservation = Reservation(first.host, nodes)
        return reservation.authorities, reservation
    return [str(parse_authority(str(Authority(first.host, first.port + index)))) for index in range(nodes)], None


def _fresh_folder(parent: Path | None) -> Path:
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="inaho-quickstart-", dir=parent)).absolute()
    except OSError as error:
        raise InvalidConfig(f"--directory {parent} cannot be used: {error.strerror or error}") from error


def _in_environment(name: str, environ: Mapping[str, str]) -> bool:
    variable = f"INAHO_{name.upper()}"
    return any(given == variable or given.startswith(f"{variable}__") for given in environ)


def _is_setting(name: str) -> bool:
    return name.startswith("INAHO_") and not name.startswith("INAHO_TEST_")


def settings_as_toml(settings: ClusterConfig, secret_file: str = "") -> str:
    """The settings that differ from the defaults, as a file for `--config`.

    Args:
        settings: of all nodes.
        secret_file: where the secret is, relative to the file; the secret itself is never written.
    """
    lines = ["# Settings of all nodes; what is not here has its default."]
    lines += _toml_lines(settings, ClusterConfig(), secret_file)
    for name in settings.__struct_fields__:
        group, default = getattr(settings, name), getattr(ClusterConfig(), name)
        if isinstance(group, Group) and group != default:
            lines += ["", f"[{name}]", *_toml_lines(group, default, "")]
    return "\n".join(lines) + "\n"


def _toml_lines(group: Group, default: Group | None, secret_file: str) -> list[str]:
    lines: list[str] = []
    for name, value in msgspec.structs.asdict(group).items():
        if name == "secret":
            lines += [f"secret = {{ file = {_toml_value(secret_file)} }}"] if value else []
        elif not isinstance(value, Group) and value is not None and value != getattr(default, name, None):
            lines.append(f"{name} = {_toml_value(value)}")
    return lines


def _toml_value(value: Any) -> str:
    """Texts, numbers, flags and lists look the same in JSON and TOML, except surrogate pairs and DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
