"""Budgets of test runs, from the environment, so that one suite serves `make test`, `make fuzz` and `make soak`.

- `INAHO_TEST_EXAMPLES`: Hypothesis examples per property, and at least so many where a test sets its own number.
  Unset: what the test says, else 100, the same ones every time.
- `INAHO_TEST_SEEDS`: how many seeds a test that takes `simulation_seed` runs with; 3 unless told.
- `INAHO_TEST_FIRST_SEED`: the first of them; 0 unless told. A failed seed is replayed with
  `INAHO_TEST_FIRST_SEED=<seed> INAHO_TEST_SEEDS=1`.

Tests in `tests/fuzz`, `tests/sim` and `tests/integration` get the marker of their folder; a test that takes
`simulation_seed` is a simulation wherever it stands.

What tests write goes to memory where there is room for it (`_write_to_memory`), unless `PYTEST_DEBUG_TEMPROOT` says
where it is to go.
"""

from __future__ import annotations

import gc
import inspect
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

pytest.register_assert_rewrite("support")  # before it is imported: its assertions say what they saw

from support.waiting import Eventually, until  # noqa: E402

EXAMPLES = int(os.environ.get("INAHO_TEST_EXAMPLES", "0"))
SEEDS = int(os.environ.get("INAHO_TEST_SEEDS", "3"))
FIRST_SEED = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
MARKERS = {"fuzz": pytest.mark.fuzz, "sim": pytest.mark.simulation, "integration": pytest.mark.integration}
HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 1 << 30


def _write_to_memory() -> None:
    """Makes `tmp_path` and `tempfile` use a file system in memory, here and in children.

    No test is about power loss, and with every `fsync` it would wait for whatever else keeps the disk busy. Runs when
    this file is imported: before pytest makes its folder, and before pytest-xdist starts its workers, which inherit it.
    """
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


_write_to_memory()

# Wall time says more about the machine than about the code: deadlines are off, `timeout` bounds the test instead.
settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "explore",
    deadline=None,
    max_examples=EXAMPLES or 100,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("explore" if EXAMPLES else "fixed")
if not EXAMPLES:
    # Hypothesis mixes constants of the modules that are loaded into its examples. Which ones are loaded depends on the
    # tests that ran before in the same process, so the examples would not be the same ones every time.
    assert hasattr(providers, "is_local_module_file")
    providers.is_local_module_file = lambda path: False


@pytest.fixture(autouse=True)
def _leaks_fail_their_own_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collects what an asynchronous test left, when its event loop has ended.

    A socket or a coroutine that was left open warns when it is collected. Without this it would fail whichever test ran
    when the collector came by.
    """
    yield
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        gc.collect()
        gc.freeze()  # what lives on is not looked at again: the next collection costs little


def pytest_collection_finish() -> None:
    """Hides what exists before the tests run from the collector, so that a collection per test costs little."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def eventually() -> Eventually:
    """`await eventually(condition)` waits until the condition holds, and fails when it does not in time."""
    return until


@pytest.fixture
def kept_port() -> Iterator[int]:
    """A port of loopback that is free, and that nobody else is given while the test runs.

    Whoever names it may listen at it: the socket that keeps it is bound and does not listen. Dials of it are refused
    until then.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a test that asks for `simulation_seed` the seeds of this run."""
    if "simulation_seed" in metafunc.fixturenames:
        metafunc.parametrize("simulation_seed", range(FIRST_SEED, FIRST_SEED + SEEDS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their folder, and enlarges properties that set their own number of examples."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in MARKERS:
            item.add_marker(MARKERS[folder])
        elif "simulation_seed" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.simulation)
        if EXAMPLES:
            _enlarge(item)


def _enlarge(item: pytest.Item) -> None:
    """Raises a property's own number of examples to the budget; Hypothesis has no public way to do so from outside."""
    function = getattr(item, "obj", None)
    function = getattr(function, "__func__", function)
    machine = getattr(item, "cls", None)
    for holder, attribute in ((function, "_hypothesis_internal_use_settings"), (machine, "settings")):
        own = getattr(holder, attribute, None)
        if isinstance(own, settings) and own.max_examples < EXAMPLES:
            setattr(holder, attribute, settings(own, max_examples=EXAMPLES))
