"""The pytest plugin: the fixture `inaho_cluster`, and seeds from the command line.

    def test_a_cart_survives_a_partition(inaho_cluster):
        sim = inaho_cluster(nodes=3, grains=[Cart])
        sim.partition({0, 1}, {2})
        …

The fixture is a factory, because the properties of a cluster (how many nodes, which grains, which faults) belong into
the test. It returns a `SimCluster` that has started, and ends it after the test. `--inaho-seed 7`
sets the seed; `--inaho-seeds 100` runs every test that takes the fixture 100 times, under the seeds from that one on.
A test that fails prints its seed and the command that replays it.

Nothing of inaho's runtime is imported until a test asks for the fixture; a project that does not use it gains three
options and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

from inaho.testing.simulation.replay import RUNS, PytestRun, replay_of_test

if TYPE_CHECKING:
    from inaho.config import ClusterConfig
    from inaho.providers.base import TopologyProvider
    from inaho.runtime.grains.grain import Grain
    from inaho.storage import Storage
    from inaho.testing.cluster.sim_cluster import Faults, SimCluster
    from inaho.testing.storage.faults import StorageFaults

__all__ = ["ClusterFactory", "inaho_cluster", "inaho_seed"]

SEED_DEFAULT: Final = 0


class ClusterFactory:
    """The type of the fixture `inaho_cluster`: `SimCluster` with the seed filled in, started, and ended after the test.

    Args:
        seed: for clusters that are not given another one.
        replay: the command line that runs the test again.
        show_system: for clusters that are not given another value.

    Attributes:
        started: the clusters of this test.
    """

    def __init__(self, seed: int, replay: str, *, show_system: bool = False) -> None:
        self.started: list[SimCluster] = []
        self._seed = seed
        self._replay = replay
        self._show_system = show_system
        self._failed = False

    def __call__(
        self,
        nodes: int = 3,
        seed: int | None = None,
        grains: Iterable[type[Grain[Any]]] = (),
        config: ClusterConfig | None = None,
        faults: Faults | None = None,
        *,
        storage: Storage | None = None,
        providers: Callable[[], Sequence[TopologyProvider]] | None = None,
        storage_faults: StorageFaults | None = None,
        within_s: float = 600.0,
        real_limit_s: float | None = None,
        show_system: bool = False,
    ) -> SimCluster:
        """Starts a cluster. Arguments are those of `SimCluster`; `seed` None is the command line's."""
        from inaho.testing.cluster.sim_cluster import SimCluster

        cluster = SimCluster(
            nodes,
            self._seed if seed is None else seed,
            grains,
            config,
            faults,
            storage=storage,
            providers=providers,
            storage_faults=storage_faults,
            within_s=within_s,
            real_limit_s=real_limit_s,
            show_system=show_system or self._show_system,
        )
        cluster.replay = self._replay
        cluster.__enter__()
        self.started.append(cluster)
        return cluster

    def test_failed(self, error: BaseException) -> None:
        """Adds to the error of the test the histories that led to it."""
        self._failed = True
        for cluster in self.started:
            cluster.annotate(error)

    def close(self) -> None:
        """Ends all clusters, the last one first.

        Raises:
            SimulationFailed: a cluster had unnoticed failures, and the test has not failed already; of several clusters
                the first.
        """
        errors: list[BaseException] = []
        for cluster in reversed(self.started):
            try:
                if self._failed:
                    cluster.close()
                else:
                    cluster.__exit__(None, None, None)
            except BaseException as error:
                errors.append(error)  # the others must end as well
        if errors:
            raise errors[0]


FACTORY: Final = pytest.StashKey[ClusterFactory]()
"""The key of a test's factory: a test that uses it only through another fixture does not have it as an argument."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("inaho", "simulated clusters")
    group.addoption(
        "--inaho-seed", type=int, default=SEED_DEFAULT, metavar="SEED", help="seed of simulated clusters (default: 0)"
    )
    group.addoption(
        "--inaho-seeds",
        type=int,
        default=0,
        metavar="N",
        help="run each test with a simulated cluster under N seeds, from --inaho-seed on",
    )
    group.addoption(
        "--inaho-show-system",
        action="store_true",
        help="failures of simulated clusters also tell what grains of system kinds did last",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Checks the options, and notes the directory in which a replay would run."""
    if (count := _option(config, "inaho_seeds", 0)) < 0:
        raise pytest.UsageError(f"--inaho-seeds must not be below 0, but is {count}")
    RUNS.append(_run_of(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Undoes `pytest_configure`."""
    if (run := _run_of(config)) in RUNS:
        RUNS.remove(run)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per seed, where several are asked for."""
    count = _option(metafunc.config, "inaho_seeds", 0)
    if count and "inaho_seed" in metafunc.fixturenames:
        first = _option(metafunc.config, "inaho_seed", SEED_DEFAULT)
        seeds = range(first, first + count)
        metafunc.parametrize("inaho_seed", seeds, ids=[f"seed{seed}" for seed in seeds])


@pytest.fixture
def inaho_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's simulations."""
    return _option(request.config, "inaho_seed", SEED_DEFAULT)


@pytest.fixture
def inaho_cluster(inaho_seed: int, request: pytest.FixtureRequest) -> Generator[ClusterFactory, None, None]:
    """Makes simulated clusters: `sim = inaho_cluster(nodes=3, grains=[Cart])`. They end with the test."""
    replay = replay_of_test(request.node.nodeid, inaho_seed, _run_of(request.config))
    show_system = bool(_option(request.config, "inaho_show_system", 0))
    factory = ClusterFactory(inaho_seed, replay, show_system=show_system)
    request.node.stash[FACTORY] = factory
    yield factory
    factory.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Adds seed and replay command to the error of a failed test before its report is made.

    In every phase, because a fixture that uses `inaho_cluster` may fail.
    """
    factory = item.stash.get(FACTORY, None)
    if factory is not None and call.excinfo is not None:
        factory.test_failed(call.excinfo.value)
    if factory is not None and call.when == "teardown":
        del item.stash[FACTORY]  # items live as long as pytest does; clusters should not


def _run_of(config: pytest.Config) -> PytestRun:
    return PytestRun(config.rootpath, config.invocation_params.dir, bool(_option(config, "inaho_seeds", 0)))


def _option(config: pytest.Config, name: str, default: int) -> int:
    value = config.getoption(name, default)
    return default if value is None else int(value)
