"""The plan of a quickstart: what it makes up, what it demands, and that two never collide."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.cli.quickstart.plan import Plan, make_plan, settings_as_toml
from inaho.cli.quickstart.ports import Reservation
from inaho.config import ClusterConfig, RpcConfig, TlsConfig
from inaho.config.profiles import PROFILES
from inaho.config.sources import load_config
from inaho.errors import InvalidConfig

Make = Callable[..., Plan]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            make_plan(**{"nodes": 2, "directory": tmp_path, "environ": {}, **options})
        )


def test_without_configuration_everything_is_made_up(make: Make):
    plan = make()
    assert len(set(plan.authorities)) == 2
    assert plan.settings.seeds == tuple(plan.authorities)
    assert len(plan.settings.secret) >= 32
    assert plan.settings.detection == PROFILES["local"]().detection
    assert stat.S_IMODE(plan.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((plan.directory / "secret").stat().st_mode) == 0o600


def test_two_plans_share_nothing(make: Make):
    plans = [make(nodes=4) for _ in range(8)]
    authorities = [authority for plan in plans for authority in plan.authorities]
    assert len(set(authorities)) == len(authorities)
    assert len({plan.directory for plan in plans}) == len({plan.settings.secret for plan in plans}) == len(plans)


def test_the_nodes_read_from_the_file_what_the_plan_has_decided(make: Make):
    plan = make(name="shop")
    assert load_config(file=plan.config_file, environ={}, overrides={}) == plan.settings
    assert plan.settings.secret not in plan.config_file.read_text()
    assert plan.authorities[1] in plan.node_command(1)


def test_settings_of_the_environment_are_in_the_file_and_not_in_the_nodes_environment(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("INAHO_RPC__TIMEOUT_S", "3")
    monkeypatch.setenv("INAHO_TEST_SEEDS", "5")
    plan = make(environ=None)
    assert plan.settings.rpc.timeout_s == 3.0
    assert "timeout_s = 3.0" in plan.config_file.read_text()
    assert "INAHO_RPC__TIMEOUT_S" not in plan.environ
    assert plan.environ["INAHO_TEST_SEEDS"] == "5"


def test_a_given_port_is_counted_up(make: Make):
    assert make(port="17000", nodes=3).authorities == ["127.0.0.1:17000", "127.0.0.1:17001", "127.0.0.1:17002"]
    assert make(authority="localhost:17000").authorities == ["localhost:17000", "localhost:17001"]
    assert make(authority="[::1]:17000", port="18000").authorities == ["[::1]:18000", "[::1]:18001"]
    assert make(authority="127.0.0.1", port="17000").authorities == ["127.0.0.1:17000", "127.0.0.1:17001"]


def missing(error: InvalidConfig) -> list[str]:
    return [part.split()[0] for part in error.reason.split("; ")]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"authority": ""}, ["authority"]),
        ({"authority": "127.0.0.1"}, ["port"]),
        ({"authority": "[::1]"}, ["port"]),
        ({"authority": "127.0.0.1:"}, ["port"]),
        ({"port": ""}, ["port"]),
        ({"seeds": ()}, ["seeds"]),
        ({"authority": "", "port": "", "seeds": ()}, ["authority", "port", "seeds"]),
        ({"environ": {"INAHO_AUTHORITY": "127.0.0.1:7700"}}, ["seeds"]),
        ({"environ": {"INAHO_SEEDS": "127.0.0.1:7700"}}, ["authority"]),
        ({"environ": {"INAHO_AUTHORITY": "127.0.0.1"}}, ["port", "seeds"]),
    ],
)
def test_a_missing_setting_is_named_and_nothing_is_made(tmp_path: Path, options: dict[str, Any], wanted: list[str]):
    with pytest.raises(InvalidConfig) as refused:
        make_plan(**{"nodes": 2, "directory": tmp_path, "environ": {}, **options})
    assert missing(refused.value) == wanted
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_must_be_complete(make: Make, tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text('name = "shop"\n')
    for way in ({"config": file}, {"environ": {"INAHO_CONFIG": str(file)}}):
        with pytest.raises(InvalidConfig) as refused:
            make(**way)
        assert missing(refused.value) == ["authority", "seeds"]
    file.write_text(
        'name = "shop"\nauthority = "127.0.0.1:17000"\nseeds = ["127.0.0.1:17000"]\n[rpc]\ntimeout_s = 4.0\n'
    )
    plan = make(config=file)
    assert (plan.settings.name, plan.settings.rpc.timeout_s) == ("shop", 4.0)
    assert plan.settings.detection == ClusterConfig().detection, "no profile but the file's"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"port": "http"}, "is not a number"),
        ({"port": "65535"}, "is not a number from 0 to 65535"),
        ({"seeds": ("127.0.0.1:0",)}, "port 0 can be bound but not reached"),
        ({"authority": "192.0.2.1:0"}, "cannot bind a port of 192.0.2.1"),
    ],
)
def test_impossible_settings_are_refused(make: Make, options: dict[str, Any], reason: str):
    with pytest.raises(InvalidConfig, match=reason):
        make(**options)


def test_a_folder_that_cannot_be_made_is_refused(make: Make, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match=r"--directory .*file cannot be used"):
        make(directory=tmp_path / "file")


def test_a_reserved_port_can_be_bound_by_a_node_and_is_given_to_nobody_else():
    held = Reservation("127.0.0.1", 3)
    try:
        ports = [int(authority.rpartition(":")[2]) for authority in held.authorities]
        with socket.socket() as node:
            node.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            node.bind(("127.0.0.1", ports[0]))
            node.listen()
            with socket.create_connection(("127.0.0.1", ports[0]), 5):
                pass
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.1", ports[1]))
    finally:
        held.close()


RPC = st.builds(RpcConfig, timeout_s=st.floats(0.001, 1e6), retry_attempts=st.integers(1, 100))
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(name=NAMES, roles=st.lists(NAMES, max_size=3), rpc=RPC, weight=st.floats(0.01, 100), insecure=st.booleans())
def test_settings_survive_being_written_as_toml(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    roles: list[str],
    rpc: RpcConfig,
    weight: float,
    insecure: bool,
):
    file = tmp_path_factory.getbasetemp() / "settings.toml"
    tls = TlsConfig(certificate=name, private_key='"quoted" \\ path', authority_certificates="ca.pem")
    settings = ClusterConfig(
        name=name, roles=tuple(roles), rpc=rpc, weight=weight, insecure=insecure, tls=tls, seeds=("a:1", "b:2")
    )
    file.write_text(settings_as_toml(settings), "utf-8")
    assert load_config(file=file, environ={}, overrides={}) == settings
