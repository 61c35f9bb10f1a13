"""`inaho where`: tells on which member a grain is, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

import inaho
from inaho.cli.client_command import client_command
from inaho.cli.member_output import name_silent
from inaho.cli.options import KeyArgument, KindArgument
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output, time_of_day
from inaho.config import ClusterConfig
from inaho.core.identity.identity import validate_key, validate_kind

if TYPE_CHECKING:
    from inaho.runtime.operators.explain import Explanation

__all__ = ["describe_explanation", "show_where", "where"]

HISTORY_COLUMNS: Final = ("at", "what", "on", "epoch", "reason")


@client_command
async def where(output: Output, settings: ClusterConfig, *, kind: KindArgument, key: KeyArgument) -> int:
    """Show where a grain is, what it does, why it is there, and what happened to it. Fails if no member can own it."""
    return await show_where(output, settings, kind, key)


async def show_where(output: Output, settings: ClusterConfig, kind: str, key: str) -> int:
    """Writes where a grain is and why.

    Returns:
        The exit code: failed if no member answered or none can own the grain. A member without an answer is only named.

    Raises:
        InvalidPid: the kind or the key is not valid; no member is called.
        InahoError: as `connect` and `Cluster.where`.
    """
    validate_kind(kind)
    validate_key(key)
    async with inaho.connect(config=settings) as cluster:
        found = await cluster.where(kind, key)
    if output.as_json:
        output.document(describe_explanation(found))
    output.text(found.reason)
    output.table(str(found.identity), ("", ""), _facts(found))
    rows = [
        (time_of_day(entry.at), entry.what.replace("_", " "), entry.authority, f"{entry.epoch:#x}", entry.reason)
        for entry in found.history
    ]
    output.table(f"{len(rows)} entries of its history", HISTORY_COLUMNS, rows)
    name_silent(output, found.silent)
    return EXIT_OK if found.owner else EXIT_FAILED


def describe_explanation(found: Explanation) -> dict[str, Any]:
    """An explanation as plain data, for JSON documents. Hashes and epochs are too large for JavaScript: as text."""
    described = msgspec.structs.asdict(found)
    described["identity"] = str(found.identity)
    described["topology_hash"] = f"{found.topology_hash:016x}"
    described["epoch"] = f"{found.epoch:#x}"
    described["holder"] = (
        None if found.holder is None else {"authority": found.holder.authority, "node_id": found.holder.node_id}
    )
    described["move"] = None if found.move is None else msgspec.structs.asdict(found.move)
    described["history"] = [{**msgspec.structs.asdict(entry), "epoch": f"{entry.epoch:#x}"} for entry in found.history]
    described["silent"] = [msgspec.structs.asdict(silent) for silent in found.silent]
    return described


def _facts(found: Explanation) -> list[tuple[str, str]]:
    facts = [
        ("active on", "nowhere" if found.holder is None else f"{found.holder.authority} ({found.holder.node_id})"),
        ("owner", f"{found.owner} ({found.owner_node_id})" if found.owner else "nobody"),
        ("partition", f"{found.partition} by topology {found.topology_version} ({found.topology_hash:016x})"),
    ]
    if found.lease != "none":
        facts.append(("lease", f"{found.lease} since {time_of_day(found.since)}, epoch {found.epoch:#x}"))
    if found.holder is not None:
        facts.append(("turns", f"{found.running} running, {found.queue_length} waiting, idle for {found.idle_s:.1f} s"))
        facts.append(("state version", str(found.state_version)))
    if found.awaited_from:
        facts.append(("awaited from", ", ".join(found.awaited_from)))
    if found.also_active:
        facts.append(("also active on", ", ".join(found.also_active)))
    if found.move is not None:
        facts.append(
            ("partition from", f"{found.move.from_authority} at {time_of_day(found.move.at)}: {found.move.because}")
        )
    return facts
