"""Options, arguments and targets: what a person types, and what becomes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from typer.testing import CliRunner

import inaho
from inaho.cli.app import app
from inaho.cli.commands.call import parse_argument
from inaho.cli.settings import load_settings, split_list
from inaho.cli.up.checks import prepare, with_authority
from inaho.cli.up.grain_classes import load_grains
from inaho.config import ClusterConfig
from inaho.errors import InvalidConfig, InvalidGrain

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INAHO_SEEDS", "INAHO_AUTHORITY", "INAHO_CONFIG", "INAHO_SECRET", "INAHO_SECRET_FILE", "INAHO_NAME"):
        monkeypatch.delenv(name, raising=False)


# Arguments of a call.


@given(PLAIN)
def test_an_argument_that_is_json_is_data(value: object):
    assert parse_argument(json.encode(value).decode()) == value


@pytest.mark.parametrize("text", ["apple", "", "a b", "{not json", "2024-01-01", "alice@example", "NaN", "'x'", "01"])
def test_an_argument_that_is_not_json_is_text(text: str):
    assert parse_argument(text) == text


def test_lists_are_split_at_commas_and_an_empty_one_is_not_an_absent_one():
    assert split_list(None) is None
    assert split_list([""]) == ()
    assert split_list(["a:1, b:2", "c:3"]) == ("a:1", "b:2", "c:3")


# Settings.


def test_options_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text('name = "file"\nseeds = ["f:1"]\ndata_dir = "file"\n')
    settings = load_settings(
        config=file, environ={"INAHO_NAME": "environment", "INAHO_SEEDS": "e:1"}, name=None, seeds=("o:1", "o:2")
    )
    assert (settings.name, settings.seeds, settings.data_dir) == ("environment", ("o:1", "o:2"), "file")


def test_a_secret_comes_as_text_or_from_a_file_but_not_both(tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    assert load_settings(environ={}, secret="plain").secret == "plain"
    assert load_settings(environ={"INAHO_SECRET": "other"}, secret_file=file).secret == "s3cret"
    with pytest.raises(InvalidConfig, match="--secret and --secret-file"):
        load_settings(environ={}, secret="plain", secret_file=file)


# Targets of `up`.


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of a user's, in the working directory only."""
    name = "inaho_cli_test_shop"
    (tmp_path / f"{name}.py").write_text(
        dedent("""
            from inaho import Grain
            from inaho.cli.sample import Echo

            class Cart(Grain):
                async def add(self, sku: str) -> int:
                    return 1

            class Stock(Grain):
                async def count(self) -> int:
                    return 2

            class _Hidden(Grain, name="Hidden"):
                pass

            both = [Cart, Stock]
            none = ()
            number = 3

            class holder:
                inner = Stock
        """)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield name
    sys.modules.pop(name, None)


def names(*targets: str) -> list[str]:
    return [cls.__name__ for cls in load_grains(targets)]


def test_targets_name_a_class_a_list_or_everything_that_a_module_defines(module: str):
    assert names(f"{module}:Cart") == ["Cart"]
    assert names(f"{module}:both") == ["Cart", "Stock"]
    assert names(module) == ["Cart", "Stock"], "neither what it imports nor what is private"
    assert names(f"{module}:holder.inner", f"{module}:Stock", "inaho.cli.sample:Echo") == ["Stock", "Echo"]


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        (":Crt", "has no 'Crt'; did you mean Cart"),
        (":none", "the list is empty"),
        (":number", "3 is neither a Grain class"),
        (":", "is not of the form"),
    ],
)
def test_a_target_that_names_no_grain_says_what_is_wrong(module: str, attribute: str, reason: str):
    with pytest.raises(InvalidConfig, match=reason):
        load_grains([module + attribute])


@pytest.mark.parametrize("target", ["", ":Cart", "a b:c", "../x", "a..b", "1a"])
def test_a_target_of_another_form_is_refused(target: str):
    with pytest.raises(InvalidConfig, match="is not of the form"):
        load_grains([target])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import inaho_no_such_package", "needs the module 'inaho_no_such_package', which is not installed"),
        ("x = 1\n\n1 / 0", r"broken\.py, line 3: ZeroDivisionError: division by zero"),
        ("def f(:", "failed: SyntaxError: .*line 1"),
        ("x = 1", "defines no Grain class"),
    ],
    ids=["missing dependency", "raises", "syntax", "no grains"],
)
def test_a_module_that_cannot_be_used_is_told_with_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
):
    (tmp_path / "inaho_cli_test_broken.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "inaho_cli_test_broken", raising=False)
    with pytest.raises(InvalidConfig, match=reason):
        load_grains(["inaho_cli_test_broken"])
    sys.modules.pop("inaho_cli_test_broken", None)


def test_a_module_that_is_nowhere_is_told_with_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InvalidConfig, match=f"no module 'inaho_cli_nowhere', neither in {tmp_path}"):
        load_grains(["inaho_cli_nowhere.deep:Cart"])


def test_a_class_that_cannot_be_served_keeps_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "inaho_cli_test_unfit.py").write_text(
        "from inaho import Grain\nclass Unfit(Grain):\n    async def f(self, x: 'Nowhere') -> int:\n        return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InvalidGrain, match="Unfit"):
        load_grains(["inaho_cli_test_unfit"])


# The command line itself.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["members"], "seeds missing: give --seeds host:port,…, or INAHO_SEEDS"),
        (["call", "Kind", "key", "method"], "seeds missing"),
        (["up", "inaho.cli.sample", "--seeds", "10.0.0.9:7700"], "give --authority host:port, or INAHO_AUTHORITY"),
        (["up", "inaho.cli.sample", "--bind", "0.0.0.0:7700"], "authority missing: bind says where to listen"),
        (["up", "no_such_module:Cart"], "there is no module 'no_such_module'"),
        (["up", "inaho.cli.sample", "--storage", "mongo://db"], "storage 'mongo://db' is none of"),
        (["members", "--seeds", ""], "seeds missing"),
        (["members", "--seeds", "nonsense"], "has no port"),
        (["quickstart", "--authority", "", "--seeds", "", "--port", ""], "authority missing"),
        (["up", "inaho.cli.sample", "--authority", "127.0.0.1:0", "--log-level", "loud"], "log level must be one of"),
    ],
)
def test_what_is_missing_or_wrong_is_named_before_anything_starts(arguments: list[str], named: str):
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 2
    error = json.decode(done.stdout)["error"]
    assert error["code"] == "invalid_config"
    assert named in error["reason"]
    assert named in done.stderr


def test_a_member_that_cannot_start_is_told_all_that_is_wrong_and_the_module_first():
    arguments = ["no_such_module:Cart", "inaho.cli.sample:Shp", "--seeds", "10.0.0.9:7700"]
    arguments += ["--storage", "mongo://db", "--log-level", "loud"]
    done = CliRunner().invoke(app, ["up", *arguments, "--json"])
    assert done.exit_code == 2
    error = json.decode(done.stdout)["error"]
    assert error["code"] == "invalid_config"
    assert error["reason"].startswith("5 problems: (1) no_such_module:Cart: there is no module 'no_such_module'")
    for number, text in enumerate(("inaho.cli.sample:Shp", "authority missing", "storage", "log level"), 2):
        assert f"({number}) {text}" in error["reason"]


@pytest.mark.parametrize(
    ("seeds", "authority"),
    [
        ((), "127.0.0.1:7700"),
        (("127.0.0.1:7700",), "127.0.0.1:0"),
        (("localhost:7700", "[::1]:7701"), "127.0.0.1:0"),
    ],
)
def test_a_member_without_an_authority_is_one_of_this_machine(seeds: tuple[str, ...], authority: str):
    assert with_authority(ClusterConfig(seeds=seeds)).authority == authority
    assert with_authority(ClusterConfig(authority="127.0.0.1:9", seeds=seeds)).authority == "127.0.0.1:9"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["call", "Kind"], ["up"], ["quickstart", "--nodes", "1"], ["members", "--nonsense"], ["bench", "x"]],
)
def test_wrong_usage_is_told_on_standard_error_only(arguments: list[str]):
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr


def test_help_and_version_answer():
    listed = CliRunner().invoke(app, ["--help"])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in ("quickstart", "up", "members", "call", "bench"))
    assert CliRunner().invoke(app, ["--version"]).stdout == f"{inaho.__version__}\n"


@pytest.mark.parametrize("command", ["quickstart", "up", "members", "call", "bench"])
def test_every_command_takes_json(command: str):
    assert "--json" in CliRunner().invoke(app, [command, "--help"]).stdout


@pytest.mark.parametrize("page", ["README.md", "README.ja.md"])
def test_the_commands_of_the_readme_start_its_example(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = (Path(__file__).resolve().parents[3] / page).read_text("utf-8")
    example = text.split("```python\n", 1)[1].split("```", 1)[0]
    commands = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("$ inaho up")]
    assert len(commands) == 2
    (tmp_path / "inaho_cli_test_shop.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    for command, authority in zip(commands, ("127.0.0.1:7700", "127.0.0.1:0"), strict=True):
        assert command[3] == "shop:ShoppingCart"
        seeds = tuple(command[5:6])
        settings, grains = prepare(["inaho_cli_test_shop:ShoppingCart"], ClusterConfig(seeds=seeds).replace, None)
        assert settings.authority == authority
        assert [cls.__name__ for cls in grains] == ["ShoppingCart"]


def test_help_is_there_before_anything_of_the_runtime_is_imported():
    program = (
        "import sys, inaho.cli.app;"
        "print([name for name in sys.modules if name.split('.')[:2] in (['inaho', 'runtime'], ['inaho', 'storage'])])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
