"""Writes the report of a quickstart: one file with which a person can repeat each step (SPEC CL-8.5).

Every command in it is complete, with interpreter and settings file, and is the one that the run itself used. The secret
is in a file beside it and never in the report, which people attach to messages.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

from inaho.authority import parse_authority
from inaho.cli.quickstart.plan import Plan
from inaho.cli.quickstart.record import Record

__all__ = ["repeated_command", "write_report"]


def write_report(plan: Plan, record: Record) -> None:
    """Writes `quickstart-report.md` into the folder of the run."""
    sections = [
        _summary(record),
        _repeat(plan, record),
        _clean_up(plan),
        _configuration(plan, record),
        _environment(plan),
        _results(record),
    ]
    Path(record.report).write_text("\n".join(line for section in sections for line in (*section, "")), "utf-8")


def _summary(record: Record) -> list[str]:
    outcome = "Every step succeeded." if record.ok else "The run did not succeed."
    lines = ["# inaho quickstart", "", outcome]
    if record.error is not None:
        lines += ["", f"It ended early with `{record.error['code']}`: {record.error['reason']}"]
    if record.members_up_s is not None:
        lines.append(f"All nodes saw each other {record.members_up_s} s after the start of the command.")
    return lines


def _repeat(plan: Plan, record: Record) -> list[str]:
    first_key = _key_of(record, 0)
    last_key = _key_of(record, -1)
    lines = [
        "## Repeat it by hand",
        "",
        f"Run everything in `{os.getcwd()}`.",
        "",
        "1. The nodes, each in a terminal:",
        "",
    ]
    lines += [f"       {_line(plan.node_command(index))}" for index in range(len(plan.authorities))]
    lines += ["", "2. The members:", "", f"       {_line(plan.client_command('members'))}"]
    lines += ["", "3. A grain, and which node it lives on:", ""]
    lines += [
        f"       {_line(plan.client_command('call', 'Counter', last_key, method))}" for method in ("add", "place")
    ]
    lines += ["", "4. From a grain of one node to a grain of another, and the reverse:", ""]
    lines += [
        f"       {_line(plan.client_command('call', 'Counter', asking, 'ask', asked))}"
        for asking, asked in ((first_key, last_key), (last_key, first_key))
    ]
    lines += ["", "5. `kill -9` the node on which the grain lives, then ask another one:", ""]
    lines += [
        f"       {_line(plan.client_command('call', 'Counter', last_key, method))}" for method in ("value", "place")
    ]
    lines += ["", "The whole run again, in a fresh folder and, unless ports were given, on fresh ports:", ""]
    return [*lines, f"       {_line(repeated_command(sys.argv))}"]


def repeated_command(argv: list[str]) -> list[str]:
    """The command that this process is running, without the secret.

    Args:
        argv: of the process, the program first.
    """
    command = [sys.executable, "-m", "inaho.cli"]
    secret_follows = False
    for argument in argv[1:]:
        name, equals, _ = argument.partition("=")
        hidden = "***" if secret_follows else f"{name}=***" if name == "--secret" and equals else argument
        command.append(hidden)
        secret_follows = argument == "--secret"
    return command


def _clean_up(plan: Plan) -> list[str]:
    return [
        "## Clean up",
        "",
        "The run has ended every process that it started. Nodes that were started by hand leave at Ctrl-C. Then:",
        "",
        f"       {_line(['rm', '-r', str(plan.directory)])}",
    ]


def _configuration(plan: Plan, record: Record) -> list[str]:
    ports = ", ".join(str(parse_authority(authority).port) for authority in plan.authorities)
    return [
        "## Configuration",
        "",
        f"- cluster: `{record.cluster}`",
        f"- authorities: {', '.join(f'`{authority}`' for authority in plan.authorities)}",
        f"- ports: {ports}",
        f"- seeds: {', '.join(f'`{seed}`' for seed in record.seeds)}",
        f"- state of all nodes: `{plan.settings.data_dir}/state.sqlite`",
        f"- `{plan.config_file}`:",
        "",
        *(f"       {line}" for line in plan.config_file.read_text("utf-8").splitlines()),
    ]


def _environment(plan: Plan) -> list[str]:
    from inaho import __version__

    settings = sorted(name for name in os.environ if name.startswith("INAHO_") and name not in plan.environ)
    lines = [
        "## Environment",
        "",
        f"- inaho {__version__}, {platform.python_implementation()} {platform.python_version()} (`{sys.executable}`)",
        f"- {platform.platform()}, {os.cpu_count()} processors",
        f"- working directory: `{os.getcwd()}`",
        f"- PYTHONPATH: `{os.environ.get('PYTHONPATH', '')}`",
    ]
    if settings:
        lines.append(f"- read from the environment into the settings above: {', '.join(settings)}")
    return lines


def _results(record: Record) -> list[str]:
    lines = ["## What happened", "", "Processes:", ""]
    lines += [f"- {node.name}: process {node.pid} at `{node.authority}`; log: `{node.log}`" for node in record.nodes]
    lines += ["", "Members:", ""]
    lines += [f"- `{member['authority']}` (node {member['node_id']}): {member['status']}" for member in record.members]
    lines += ["", "Sample Pids:", "", *(f"- `{pid}`" for pid in record.pids), "", "Asks:", ""]
    for call in record.calls:
        outcome = f"replied {call.reply} in {call.took_ms} ms"
        if call.error is not None:
            outcome = f"failed with `{call.error['code']}`: {call.error['reason']}"
        lines.append(f"- {call.source} -> `{call.identity}` on {call.target}: {outcome}")
    survival = record.survival
    if survival is not None:
        lines += [
            "",
            f"Process {survival.killed_pid} at {survival.lived_on} was killed with SIGKILL. `Counter/{survival.key}` "
            f"lived there and was {survival.value_before}. {survival.took_s} s later it answered from "
            f"{survival.answers_from} and was {survival.value_after}; one more made {survival.value_then}.",
        ]
    return lines


def _key_of(record: Record, index: int) -> str:
    return record.pids[index].partition("#")[0].rpartition("/")[2] if record.pids else f"counter-{index % 2 + 1}"


def _line(command: list[str]) -> str:
    return shlex.join(command)
