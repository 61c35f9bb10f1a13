"""What three control planes say to each other, as reviewed stories in the text files beside this one.

A difference is not wrong in itself: read it. `INAHO_TEST_REWRITE_GOLDEN=1` writes the files anew.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.testing.control_plane.transcript import Transcript

HERE = Path(__file__).parent
REWRITE = os.environ.get("INAHO_TEST_REWRITE_GOLDEN", "") == "1"
# One delay for all: a story without surprises reads better, and those are the business of the swarm.
NETWORK = Network(delay_least_s=0.001, delay_most_s=0.001)


class Stage:
    """Three nodes, a, b and c, of which a is the seed."""

    def __init__(self, title: str) -> None:
        self.story = Transcript(title)
        self.simulation = ControlSimulation(7, network=NETWORK, observers=[self.story])
        self.a, self.b, self.c = (self.simulation.authority(index) for index in range(3))

    def chapter(self, text: str, act: Callable[[], object], duration_s: float) -> None:
        self.story.chapter(text)
        act()
        self.simulation.run(duration_s)

    def start(self, authority: str) -> Callable[[], object]:
        return lambda: self.simulation.start(authority, [self.a])

    def formed(self) -> Stage:
        for authority in (self.a, self.b, self.c):
            self.simulation.start(authority, [self.a])
            self.simulation.run(0.2)
        self.simulation.run(2.0)
        assert self.simulation.converged()
        return self


def join() -> Stage:
    stage = Stage("Three nodes become a cluster")
    stage.chapter("a starts; its only seed is itself", stage.start(stage.a), 0.5)
    stage.chapter("b starts; its seed is a", stage.start(stage.b), 1.0)
    stage.chapter("c starts; its seed is a", stage.start(stage.c), 2.0)
    assert stage.simulation.converged()
    return stage


def leave() -> Stage:
    stage = Stage("A node leaves, and comes back as another process").formed()
    stage.chapter("c is asked to leave", lambda: stage.simulation.leave(stage.c), 1.0)
    stage.chapter("its process ends", lambda: stage.simulation.crash(stage.c), 1.0)
    assert stage.simulation.converged()
    stage.chapter("c starts again", stage.start(stage.c), 2.0)
    assert stage.simulation.converged()
    return stage


def crash() -> Stage:
    stage = Stage("A node is killed and removed by two sources").formed()
    stage.chapter("c is killed", lambda: stage.simulation.crash(stage.c), 12.0)
    assert stage.simulation.converged()
    return stage


def refutation() -> Stage:
    stage = Stage("A node is cut off for a moment and clears its name").formed()
    others = [stage.a, stage.b]
    stage.chapter("c is cut off", lambda: stage.simulation.partition([stage.c], others), 2.2)
    stage.chapter("the links are mended", stage.simulation.heal, 4.0)
    assert stage.simulation.converged()
    return stage


def partition() -> Stage:
    stage = Stage("A partition outlasts the patience of both sides, and heals").formed()
    others = [stage.a, stage.b]
    stage.chapter("c is cut off from a and b", lambda: stage.simulation.partition([stage.c], others), 14.0)
    assert stage.simulation.nodes[stage.c].topology.members != stage.simulation.nodes[stage.a].topology.members
    stage.chapter("the links are mended", stage.simulation.heal, 20.0)
    assert stage.simulation.converged()
    return stage


@pytest.mark.parametrize("play", [join, leave, crash, refutation, partition], ids=lambda play: play.__name__)
def test_the_story_is_the_reviewed_one(play: Callable[[], Stage]) -> None:
    told = play().story.text()
    path = HERE / f"{play.__name__}.txt"
    if REWRITE:
        path.write_text(told, encoding="utf-8")
    reviewed = path.read_text(encoding="utf-8")
    if told != reviewed:
        difference = difflib.unified_diff(reviewed.splitlines(), told.splitlines(), "reviewed", "now", lineterm="", n=2)
        pytest.fail("\n".join([f"{path.name} tells another story:", *difference]))
