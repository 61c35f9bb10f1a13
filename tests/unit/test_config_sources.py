"""Sources of settings: precedence, names, types, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.config import ClusterConfig, DetectionConfig, Group, RpcConfig
from inaho.config.sources import load_config
from inaho.errors import InvalidConfig


def load(toml: str = "", tmp_path: Path | None = None, environ: dict[str, str] | None = None, **overrides: Any):
    file = None
    if toml:
        assert tmp_path is not None
        file = tmp_path / "inaho.toml"
        file.write_text(toml, "utf-8")
    return load_config(file=file, environ=environ or {}, overrides=overrides)


def test_nothing_given_is_the_defaults():
    assert load() == ClusterConfig()


def test_later_sources_win_setting_by_setting(tmp_path: Path):
    toml = """
        authority = "127.0.0.1:1"
        name = "from-file"
        [rpc]
        timeout_s = 1
        retry_attempts = 7
        retry_max_s = 9.0
        """
    environ = {"INAHO_NAME": "from-environment", "INAHO_RPC__TIMEOUT_S": "2.5", "INAHO_RPC__RETRY_MAX_S": "8"}
    config = load(toml, tmp_path, environ, rpc={"retry_max_s": 7.0})
    assert config.authority == "127.0.0.1:1"
    assert config.name == "from-environment"
    assert config.rpc == RpcConfig(timeout_s=2.5, retry_attempts=7, retry_max_s=7.0)
    assert isinstance(config.rpc.timeout_s, float)


def test_the_environment_names_the_file_and_an_argument_wins_over_it(tmp_path: Path):
    named, given_file = tmp_path / "named.toml", tmp_path / "given.toml"
    named.write_text('name = "named"')
    given_file.write_text('name = "given"')
    environ = {"INAHO_CONFIG": str(named)}
    assert load_config(environ=environ, overrides={}).name == "named"
    assert load_config(file=given_file, environ=environ, overrides={}).name == "given"


def test_the_environment_reads_lists_flags_and_numbers():
    environ = {
        "INAHO_AUTHORITY": "127.0.0.1:7700",
        "INAHO_SEEDS": "10.0.0.1:7700, 10.0.0.2:7700,",
        "INAHO_INSECURE": "true",
        "INAHO_ACTIVATION__PARTITIONS": "256",
        "INAHO_WEIGHT": "2",
        "INAHO_ROLES": "",
        "PATH": "not ours",
        "INAHO_TEST_SEEDS": "not read",
    }
    config = load(environ=environ)
    assert config.seeds == ("10.0.0.1:7700", "10.0.0.2:7700")
    assert (config.insecure, config.activation.partitions, config.weight, config.roles) == (True, 256, 2.0, ())


def test_arguments_take_whole_groups_and_none_leaves_what_was_there():
    environ = {"INAHO_NAME": "shop", "INAHO_RPC__TIMEOUT_S": "2"}
    config = load(environ=environ, name=None, seeds=["a:1"], rpc=RpcConfig(timeout_s=3.0), tls=None)
    assert (config.name, config.seeds, config.rpc.timeout_s, config.tls) == ("shop", ("a:1",), 3.0, None)


def test_tls_is_built_from_several_sources(tmp_path: Path):
    toml = '[tls]\ncertificate = "c.pem"\nprivate_key = "k.pem"\n'
    config = load(toml, tmp_path, {"INAHO_TLS__AUTHORITY_CERTIFICATES": "a.pem"})
    assert config.tls is not None
    assert (config.tls.certificate, config.tls.private_key) == ("c.pem", "k.pem")
    assert config.tls.authority_certificates == "a.pem"


def test_half_of_tls_names_what_is_missing(tmp_path: Path):
    with pytest.raises(InvalidConfig, match=r"tls\.private_key, tls\.authority_certificates must be set too.*file"):
        load('[tls]\ncertificate = "c.pem"\n', tmp_path)


@pytest.mark.parametrize(
    ("environ", "overrides", "expected"),
    [
        ({"INAHO_SEED": "a:1"}, {}, r"INAHO_SEED in the environment is not a setting; did you mean INAHO_SEEDS\?"),
        ({"INAHO_RPC__TIMOUT_S": "1"}, {}, r"did you mean INAHO_RPC__TIMEOUT_S\?"),
        ({"INAHO_TIMEOUT_S": "1"}, {}, r"did you mean INAHO_RPC__TIMEOUT_S\?"),
        ({}, {"autority": "a:1"}, r"autority in arguments is not a setting; did you mean authority\?"),
        ({}, {"detection": {"probe_interval": 1.0}}, r"did you mean detection\.probe_interval_s\?"),
        ({}, {"detecton": {"probe_interval_s": 1.0}}, r"did you mean detection\.probe_interval_s\?"),
        ({}, {"gossip": {"timeout_s": 1.0}}, r"did you mean rpc\.timeout_s\?"),
        ({}, {"profil": "wan"}, r"did you mean profile\?"),
        ({}, {"xyzzy": 1}, r"xyzzy in arguments is not a setting$"),
        ({"INAHO_RPC": "1"}, {}, r"INAHO_RPC in the environment is a group.*e\.g\. INAHO_RPC__TIMEOUT_S"),
        ({}, {"rpc": 5}, r"rpc in arguments is a group of settings.*rpc\.timeout_s"),
        ({"INAHO_NAME__X": "1"}, {}, r"INAHO_NAME__X in the environment is not a setting"),
    ],
)
def test_unknown_names_suggest_the_nearest(environ: dict[str, str], overrides: dict[str, Any], expected: str):
    with pytest.raises(InvalidConfig, match=expected):
        load(environ=environ, **overrides)


def test_unknown_names_in_a_file_name_the_file(tmp_path: Path):
    with pytest.raises(InvalidConfig, match=r"gossip\.fan_out in file .*inaho\.toml is not .*mean gossip\.fanout"):
        load("[gossip]\nfan_out = 4\n", tmp_path)


@pytest.mark.parametrize(
    ("environ", "overrides", "expected"),
    [
        ({"INAHO_RPC__TIMEOUT_S": "soon"}, {}, "INAHO_RPC__TIMEOUT_S in the environment must be a number, not 'soon'"),
        ({"INAHO_RPC__TIMEOUT_S": "nan"}, {}, "must be finite, not 'nan'"),
        ({"INAHO_RPC__TIMEOUT_S": "inf"}, {}, "must be finite, not 'inf'"),
        ({"INAHO_GOSSIP__FANOUT": "2.5"}, {}, "must be a whole number, not '2.5'"),
        ({"INAHO_INSECURE": "maybe"}, {}, r"must be a flag \(true or false\), not 'maybe'"),
        ({}, {"rpc": {"timeout_s": "2"}}, "rpc.timeout_s in arguments must be a number, not '2'"),
        ({}, {"seeds": "a:1"}, "seeds in arguments must be a list of texts, not 'a:1'"),
        ({}, {"name": {"a": 1}}, "name in arguments must be a text, not {'a': 1}"),
        ({}, {"profile": "lunar"}, "profile in arguments must be one of local, lan, wan, not 'lunar'"),
    ],
)
def test_wrong_types_name_key_source_and_value(environ: dict[str, str], overrides: dict[str, Any], expected: str):
    with pytest.raises(InvalidConfig) as caught:
        load(environ=environ, **overrides)
    assert expected.replace("\\", "") in str(caught.value)


def test_ranges_and_relations_name_everything_that_led_to_them(tmp_path: Path):
    with pytest.raises(InvalidConfig) as caught:
        load("[detection]\nprobe_timeout_s = 3.0\n", tmp_path, {"INAHO_DETECTION__PROBE_INTERVAL_S": "2"})
    text = str(caught.value)
    assert "probe_timeout_s (3.0) must be below" in text
    assert "detection.probe_timeout_s = 3.0 in file" in text
    assert "INAHO_DETECTION__PROBE_INTERVAL_S = '2' in the environment" in text


def test_a_long_wrong_value_is_shortened():
    with pytest.raises(InvalidConfig) as caught:
        load(rpc={"timeout_s": "x" * 10_000})
    assert len(str(caught.value)) < 300


def test_files_that_cannot_be_read_say_why(tmp_path: Path):
    with pytest.raises(InvalidConfig, match=r"absent\.toml cannot be read: No such file"):
        load_config(file=tmp_path / "absent.toml", environ={}, overrides={})
    with pytest.raises(InvalidConfig, match=r"is not valid TOML.*line 2"):
        load('name = "x"\nseeds = ]\n', tmp_path)


class TestSecrets:
    def test_text(self):
        assert load(environ={"INAHO_SECRET": "s3cret"}).secret == "s3cret"

    def test_a_file_named_by_the_environment(self, tmp_path: Path):
        (tmp_path / "secret").write_text("from-file\n")
        assert load(environ={"INAHO_SECRET_FILE": str(tmp_path / "secret")}).secret == "from-file"

    def test_a_reference_to_a_variable(self, tmp_path: Path):
        assert load('secret = { env = "SHOP" }', tmp_path, {"SHOP": "abc"}).secret == "abc"

    def test_a_reference_to_a_file_starts_at_the_folder_of_the_configuration(self, tmp_path: Path):
        (tmp_path / "secret.txt").write_text("beside\n")
        assert load('secret = { file = "secret.txt" }', tmp_path).secret == "beside"

    @pytest.mark.parametrize(
        ("reference", "expected"),
        [
            ({"env": "ABSENT"}, "refers to the variable ABSENT, which is not set or empty"),
            ({"file": "/nowhere/at-all"}, "which cannot be read"),
            ({"vault": "x"}, "unknown form 'vault'"),
            ({"env": "A", "file": "b"}, "must be text, {"),
            ({"env": 5}, "must be text, {"),
            ({}, "must be text, {"),
            (5, "must be text, {"),
        ],
    )
    def test_references_that_lead_nowhere(self, reference: object, expected: str):
        with pytest.raises(InvalidConfig) as caught:
            load(secret=reference)
        assert expected in str(caught.value)

    def test_an_empty_file_is_not_a_secret(self, tmp_path: Path):
        (tmp_path / "secret").write_text("\n")
        with pytest.raises(InvalidConfig, match="which is empty"):
            load(environ={"INAHO_SECRET_FILE": str(tmp_path / "secret")})

    def test_two_ways_at_once_are_refused(self):
        with pytest.raises(InvalidConfig, match="keep one of them"):
            load(environ={"INAHO_SECRET": "a", "INAHO_SECRET_FILE": "b"})

    def test_no_error_and_no_repr_shows_it(self):
        with pytest.raises(InvalidConfig) as caught:
            load(environ={"INAHO_SECRET": "hunter2", "INAHO_WEIGHT": "-1"})
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in repr(load(environ={"INAHO_SECRET": "hunter2"}))


def numbers() -> list[tuple[str, str, type]]:
    """All numeric settings of all groups: (group, name, type)."""
    return [
        (group.name, field.name, field.type)
        for group in msgspec.structs.fields(ClusterConfig)
        if isinstance(group.type, type) and issubclass(group.type, Group)
        for field in msgspec.structs.fields(group.type)
        if field.type in (int, float)
    ]


@given(data=st.data())
def test_a_number_from_the_environment_arrives_or_is_refused_as_its_group_refuses_it(data: st.DataObject):
    group, name, kind = data.draw(st.sampled_from(numbers()))
    value = data.draw(st.integers(-1, 10**6) if kind is int else st.floats(-1.0, 1e6))
    environ = {f"INAHO_{group}__{name}".upper(): repr(value)}
    try:
        expected = getattr(ClusterConfig(), group).replace(**{name: value})
    except InvalidConfig as refusal:
        with pytest.raises(InvalidConfig, match=re.escape(refusal.reason)):
            load(environ=environ)
        return
    assert load(environ=environ) == ClusterConfig().replace(**{group: expected})


def test_the_relation_of_two_probe_times_holds_across_sources():
    environ = {"INAHO_DETECTION__PROBE_INTERVAL_S": "2", "INAHO_DETECTION__PROBE_TIMEOUT_S": "1.5"}
    assert load(environ=environ).detection == DetectionConfig(probe_interval_s=2.0, probe_timeout_s=1.5)
