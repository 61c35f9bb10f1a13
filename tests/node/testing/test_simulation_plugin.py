"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from inaho.testing import ClusterFactory, SimCluster

ROOT = Path(__file__).resolve().parents[3]
REGISTERED = any(entry.value == "inaho.testing.plugin" for entry in entry_points(group="pytest11"))

TESTS = """
from inaho import Grain


class Echo(Grain):
    async def say(self, text: str) -> str:
        return text


def test_passes(inaho_cluster):
    sim = inaho_cluster(nodes=2, grains=[Echo])
    assert sim.run(sim.node(0).grain(Echo, "a").say("hello")) == "hello"


def test_fails_under_odd_seeds(inaho_cluster):
    sim = inaho_cluster(nodes=2)
    sim.crash(1)
    sim.run_for(1.0)
    assert sim.seed % 2 == 0


def test_that_does_not_take_part():
    pass
"""

UNSEEN = """
def test_a_failure_that_nobody_sees(inaho_cluster):
    sim = inaho_cluster(nodes=1)
    sim.network.later(0.1, lambda: 1 // 0)
    sim.run_for(1.0)
"""


FIXTURES = """
import pytest
from inaho.testing import SimCluster


@pytest.fixture
def prepared(inaho_cluster):
    inaho_cluster(nodes=1, seed=21)
    raise LookupError("in the set-up")


@pytest.fixture
def cleaned(inaho_cluster):
    inaho_cluster(nodes=1, seed=22)
    yield
    raise LookupError("in the tear-down")


def test_prepared(prepared):
    pass


def test_cleaned(cleaned):
    pass
"""

QUOTED = """
import pytest
from inaho.testing import SimCluster


@pytest.mark.parametrize("name", ["it's"])
def test_fixture(inaho_cluster, name):
    inaho_cluster(nodes=1)
    raise LookupError


def test_own_cluster():
    with SimCluster(nodes=1, seed=0):
        raise LookupError
"""

TWO = """
from inaho.testing import SimCluster

made = []


def test_two(inaho_cluster):
    made.append(inaho_cluster(nodes=1))
    for seed in (2, 3):
        sim = inaho_cluster(nodes=1, seed=seed)
        sim.network.later(0.1, lambda: 1 // 0)
        sim.run_for(1.0)


def test_the_first_was_closed():
    assert made[0]._loop.is_closed()
"""


def run_pytest(
    folder: Path, *options: str, program: str = TESTS, inside: str = "."
) -> subprocess.CompletedProcess[str]:
    """Runs pytest on a file in `folder / inside`, from there."""
    (folder / inside).mkdir(exist_ok=True)
    (folder / inside / "test_it.py").write_text(program)
    plugin = () if REGISTERED else ("-p", "inaho.testing.plugin")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", *options],
        cwd=folder / inside,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_failing_test_prints_its_seed_and_the_command_that_replays_it(tmp_path: Path):
    done = run_pytest(tmp_path, "--inaho-seed=7")
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"simulation of seed 7, failed at \d+\.\d+ s of virtual time, trace [0-9a-f]{16}", done.stdout)
    assert "replay: pytest test_it.py::test_fails_under_odd_seeds --inaho-seed=7" in done.stdout
    assert re.search(r" s  crash 1", done.stdout), "the last of the history is told"


def test_several_seeds_are_several_tests_and_each_is_replayed_alone(tmp_path: Path):
    done = run_pytest(tmp_path, "--inaho-seeds=4", "--inaho-seed=10")
    assert "2 failed, 7 passed" in done.stdout, done.stdout + done.stderr
    [first, second] = dict.fromkeys(re.findall(r"replay: pytest '(.*)' (.*)", done.stdout))
    assert first == ("test_it.py::test_fails_under_odd_seeds[seed11]", "--inaho-seed=11 --inaho-seeds=1")
    again = run_pytest(tmp_path, second[0], *second[1].split())
    assert "1 failed" in again.stdout, again.stdout + again.stderr
    hashes = [set(re.findall(r"seed 13, .* trace ([0-9a-f]{16})", run.stdout)) for run in (done, again)]
    assert hashes[0] == hashes[1] != set()


def test_a_failure_in_the_background_fails_the_test(tmp_path: Path):
    done = run_pytest(tmp_path, program=UNSEEN)
    assert "1 failures went unseen" in done.stdout, done.stdout
    assert done.returncode == 1


def test_the_replay_runs_in_a_shell_where_pytest_was_started(tmp_path: Path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = run_pytest(tmp_path, program=QUOTED, inside="sub")
    assert "2 failed" in done.stdout, done.stdout + done.stderr
    commands = list(dict.fromkeys(re.findall(r"replay: (.*)", done.stdout)))
    assert commands[1] == "pytest test_it.py::test_own_cluster --inaho-seed=0"
    for command in commands:
        _, test, seed = shlex.split(command)
        again = run_pytest(tmp_path, test, seed, program=QUOTED, inside="sub")
        assert "1 failed" in again.stdout, again.stdout + again.stderr


def test_a_cluster_of_the_tests_own_is_replayed_under_its_seed_of_several(tmp_path: Path):
    program = QUOTED.replace("own_cluster()", "own_cluster(inaho_seed)").replace("seed=0", "seed=inaho_seed")
    done = run_pytest(tmp_path, "-k", "own", "--inaho-seeds=2", program=program)
    assert "replay: pytest 'test_it.py::test_own_cluster[seed1]' --inaho-seed=1 --inaho-seeds=1" in done.stdout


def test_a_failure_of_a_fixture_is_told_the_seed_and_the_replay_too(tmp_path: Path):
    done = run_pytest(tmp_path, program=FIXTURES)
    assert "1 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    told = done.stdout.partition("short test summary info")[0]  # where CI is set it repeats them
    for seed, test in ((21, "test_prepared"), (22, "test_cleaned")):
        assert told.count(f"simulation of seed {seed}, failed") == 1, done.stdout
        assert told.count(f"replay: pytest test_it.py::{test} --inaho-seed=0") == 1


def test_all_clusters_of_a_test_end_when_one_has_failed_unseen(tmp_path: Path):
    done = run_pytest(tmp_path, program=TWO)
    assert "2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "simulation of seed 3, failed" in done.stdout, "the one that was closed first"


def test_a_number_of_seeds_below_zero_is_refused(tmp_path: Path):
    done = run_pytest(tmp_path, "--inaho-seeds=-3")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--inaho-seeds must not be below 0, but is -3" in done.stderr
    assert "3 passed" in run_pytest(tmp_path, "--inaho-seeds=0").stdout, "0 is as if it were not given"


@pytest.mark.skipif(REGISTERED, reason="the entry point imports the plugin in every run")
def test_the_plugin_leaves_the_runtime_of_the_simulator_alone_until_it_is_used(tmp_path: Path):
    program = "import sys\ndef test_it():\n    assert 'inaho.testing.cluster.sim_cluster' not in sys.modules\n"
    done = run_pytest(tmp_path, program=program)
    assert "1 passed" in done.stdout, done.stdout


def test_the_package_gives_its_names_when_asked_for_them():
    program = (
        "import sys, inaho.testing as t; assert 'inaho.testing.cluster.sim_cluster' not in sys.modules; "
        "assert all(getattr(t, name) for name in t.__all__); assert not hasattr(t, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})


def test_the_factory_takes_what_the_cluster_takes():
    cluster, factory = (inspect.signature(each).parameters for each in (SimCluster.__init__, ClusterFactory.__call__))
    assert list(factory) == list(cluster)
    for name, parameter in cluster.items():
        assert factory[name].kind is parameter.kind
        if name == "seed":
            assert factory[name].default is None, "the command line's"
        else:
            assert (factory[name].default, factory[name].annotation) == (parameter.default, parameter.annotation)
