"""`inaho where` and `inaho grains`: what is active, where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig
from inaho.core.identity.identity import validate_key, validate_kind
from inaho.runtime.cluster.join import connect
from inaho.runtime.operators.explain import Explanation, Silent, clock

__all__ = ["describe_explanation", "note_silent", "show_grains", "show_where"]

HISTORY_COLUMNS: Final = ("at", "what", "on", "epoch", "reason")
COUNT_COLUMNS: Final = ("kind", "member", "activations")
GRAIN_COLUMNS: Final = ("kind", "key", "member", "lease", "since", "idle s", "running", "queue", "version")


async def show_where(output: Output, settings: ClusterConfig, kind: str, key: str) -> int:
    """Writes where a grain is and why.

    Returns:
        The exit code: failed, when no member answered or none can own the grain. One that is silent is only named.

    Raises:
        InvalidPid: kind or key cannot be one; nobody is asked.
        InahoError: as `connect` and `Cluster.where`.
    """
    validate_kind(kind)
    validate_key(key)
    async with connect(config=settings) as cluster:
        found = await cluster.where(kind, key)
    if output.as_json:
        output.document(describe_explanation(found))
    output.text(found.reason)
    output.table(str(found.identity), ("", ""), _facts(found))
    rows = [
        (clock(entry.at), entry.what.replace("_", " "), entry.authority, f"{entry.epoch:#x}", entry.reason)
        for entry in found.history
    ]
    output.table(f"{len(rows)} entries of its history", HISTORY_COLUMNS, rows)
    note_silent(output, found.silent)
    return EXIT_OK if found.owner else EXIT_FAILED


def describe_explanation(found: Explanation) -> dict[str, Any]:
    """An explanation as plain data, for JSON documents. Hashes and epochs exceed what JavaScript counts: as text."""
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
        facts.append(("lease", f"{found.lease} since {clock(found.since)}, epoch {found.epoch:#x}"))
    if found.holder is not None:
        facts.append(("turns", f"{found.running} running, {found.queue_length} waiting, idle for {found.idle_s:.1f} s"))
        facts.append(("state version", str(found.state_version)))
    if found.awaited_from:
        facts.append(("awaited from", ", ".join(found.awaited_from)))
    if found.also_active:
        facts.append(("also active on", ", ".join(found.also_active)))
    if found.move is not None:
        facts.append(("partition from", f"{found.move.from_authority} at {clock(found.move.at)}: {found.move.because}"))
    return facts


async def show_grains(output: Output, settings: ClusterConfig, kind: str, limit: int) -> int:
    """Writes what is active.

    Returns:
        The exit code: failed, when a member did not answer, since the numbers are not complete then.

    Raises:
        InahoError: as `connect` and `Cluster.grains`.
    """
    async with connect(config=settings) as cluster:
        found = await cluster.grains(kind, limit=limit)
    if output.as_json:
        reports = [
            {**msgspec.structs.asdict(report), "activations": [_line(each) for each in report.activations]}
            for report in found.kinds
        ]
        silent = [msgspec.structs.asdict(each) for each in found.silent]
        output.document({"cluster": settings.name, "count": found.count, "kinds": reports, "silent": silent})
    counts = [(report.kind, report.authority, str(report.count)) for report in found.kinds]
    output.table(f"{found.count} activations in {settings.name!r}", COUNT_COLUMNS, counts)
    rows = [
        (
            report.kind,
            each.key,
            report.authority,
            each.lease,
            clock(each.since),
            f"{each.idle_s:.1f}",
            str(each.running),
            str(each.queue_length),
            str(each.state_version),
        )
        for report in found.kinds
        for each in report.activations
    ]
    if rows:
        output.table(f"{len(rows)} of them", GRAIN_COLUMNS, rows)
    note_silent(output, found.silent)
    return EXIT_FAILED if found.silent else EXIT_OK


def _line(activation: Any) -> dict[str, Any]:
    return {**msgspec.structs.asdict(activation), "epoch": f"{activation.epoch:#x}"}


def note_silent(output: Output, silent: Sequence[Silent]) -> None:
    """Names the members that did not answer, on standard error."""
    for each in silent:
        output.note(f"{each.authority} did not answer [{each.code}]: {each.reason}")
