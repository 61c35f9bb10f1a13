"""How long the event loop of one node stands still: as the topology changes, and as activations come up.

    python benchmarks/event_loop_stalls.py [--only topology|control|activations] [--count N] [--members N] [--json]

A stall is the time between two turns of the loop: a message that arrives just then waits so long. Each row has the
longest one, by the clock and by the processor time of the loop's thread. The second is judged, since other work on the
machine lengthens it less; the time of Python's collector has a column of its own, since a collection may fall anywhere.
Each part runs in a process of its own:

- `topology`: a node with ten kinds, 10,000 activations and a full PidCache is given topologies of 1,000 members, as
  its control plane gives them. The other members are real connections to a second process, which answers for all of
  them (`stalls_peers.py`). Judged without the collector.
- `control`: 1,000 control planes in virtual time, some minutes. A row is the longest step of any of them, with the
  decoding and encoding of its messages. The collector is off: it would walk over a thousand nodes, not one.
- `activations`: a million activations come up. Judged with the collector.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time

from measuring import Figures
from stalls_measuring import Stall
from stalls_topology import ACTIVATIONS, CHANGES, MANY, topology

import inaho
from inaho import ClusterConfig, Grain
from inaho.core.effects import Effect, Send
from inaho.core.inputs import Input, Received
from inaho.core.messages import ControlMessage
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.wire.codec import decoder, encode

MEMBERS = 1_000
COUNT = 1_000_000
IN_FLIGHT = 64
TOPOLOGY_LIMIT_MS = 10.0
ACTIVATIONS_LIMIT_MS = 30.0
PARTS = ("topology", "control", "activations")

_decode = decoder(ControlMessage)


class Plain(Grain):
    async def touch(self) -> int:
        return 1


# The control plane.


class TimedSimulation(ControlSimulation):
    """Notes the longest step, the codec included, of all nodes."""

    longest_ms = 0.0

    def give(self, authority: str, happening: Input) -> list[Effect]:
        node = self.nodes[authority]
        body = encode(happening.message) if type(happening) is Received else None
        step = node.step

        def timed(now: float, given: Input) -> list[Effect]:
            began = time.thread_time()
            if body is not None:
                _decode(body)
            effects = step(now, given)
            for effect in effects:
                if type(effect) is Send:
                    encode(effect.message)
            self.longest_ms = max(self.longest_ms, (time.thread_time() - began) * 1e3)
            return effects

        node.step = timed  # type: ignore[method-assign]
        try:
            return super().give(authority, happening)
        finally:
            del node.step  # type: ignore[method-assign]


def control(members: int) -> Figures:
    gc.disable()
    simulation = TimedSimulation(1, network=Network(loss=0.01), check_every=0, keep_history=False)
    figures: Figures = {}

    def note(name: str, seconds: float) -> None:
        simulation.run(seconds)
        figures[f"control_{name}_ms"] = simulation.longest_ms
        simulation.longest_ms = 0.0

    simulation.start_many(members, seed_count=3)
    if not simulation.run_until(simulation.converged, 60.0, every_s=0.05):
        raise RuntimeError("the cluster was not formed within a minute")
    note("form", 5.0)
    simulation.start(simulation.authority(members), [simulation.authority(1)])
    note("join_one", 4.0)
    simulation.crash(simulation.authority(members // 2))
    note("die_one", 10.0)
    for number in range(MANY):
        simulation.start(simulation.authority(members + 1 + number), [simulation.authority(1)])
    note("join_many", 6.0)
    return figures


# Activations that come up.


async def activations(count: int) -> Figures:
    config = ClusterConfig(authority="127.0.0.1:0")
    async with inaho.join(config=config, grains=[Plain], storage="memory") as cluster:
        numbers = iter(range(count))

        async def caller() -> None:
            for number in numbers:
                await cluster.grain(Plain, f"customer-{number}").touch()
                await asyncio.sleep(0)

        began = time.perf_counter()
        async with Stall() as stall:
            await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        figures = stall.figures("activations", stall.all_ms)
        figures["activations_per_second"] = count / (time.perf_counter() - began)
        os._exit(_shown(figures))  # to end a million activations takes longer


def _shown(figures: Figures) -> int:
    print(json.dumps(figures), flush=True)
    return 0


LABELS = CHANGES | {
    "control_form": "control plane: a cluster forms",
    "control_join_one": "control plane: one joins",
    "control_die_one": "control plane: one dies",
    "control_join_many": f"control plane: {MANY} join",
    "activations": "activations come up",
}


def table(figures: Figures) -> str:
    """For people: each row with its limit."""
    lines = [f"{'':32} {'stall':>9} {'limit':>7}  {'':7} {'by the clock':>13} {'collector':>10}", "-" * 84]
    for name, label in LABELS.items():
        stall = figures.get(f"{name}_ms")
        if stall is None:
            continue
        limit = ACTIVATIONS_LIMIT_MS if name == "activations" else TOPOLOGY_LIMIT_MS
        rest = "".join(
            f" {figures[key]:{width}.1f} ms" if (key := f"{name}_{what}_ms") in figures else ""
            for what, width in (("wall", 10), ("collector", 7))
        )
        lines.append(f"{label:32} {stall:6.1f} ms {limit:4.0f} ms  {'reached' if stall <= limit else 'MISSED':7}{rest}")
    return "\n".join(lines)


def measured(part: str, options: argparse.Namespace) -> Figures:
    """One part, in a process of its own."""
    command = [
        sys.executable, __file__, "--row", part, "--members", str(options.members),
        "--activations", str(options.activations), "--count", str(options.count),
    ]  # fmt: skip
    found: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The longest stalls of the event loop of one node.")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given again")
    parser.add_argument("--members", type=int, default=MEMBERS, help="of the cluster, 200 or more")
    parser.add_argument("--activations", type=int, default=ACTIVATIONS, help="on the node whose topology changes")
    parser.add_argument("--count", type=int, default=COUNT, help="activations that come up")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--row", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row == "control":
        _shown(control(options.members))
    elif options.row is not None:
        run = (
            topology(options.members, options.activations) if options.row == "topology" else activations(options.count)
        )
        _shown(asyncio.run(run))
    else:
        figures: Figures = {}
        for part in options.only or PARTS:
            figures |= measured(part, options)
        print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
