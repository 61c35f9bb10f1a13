"""The options that several commands have, as types that typer reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AuthorityArgument",
    "ConfigOption",
    "JsonOption",
    "KeyArgument",
    "KindArgument",
    "NameOption",
    "ProviderOption",
    "SecretFileOption",
    "SecretOption",
    "SeedsOption",
    "TopicArgument",
]

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings (INAHO_CONFIG).", show_default=False)
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the cluster (INAHO_NAME).", show_default=False)]
SeedsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--seeds",
        "--seed",
        help="host:port of a member; several with commas or repeated (INAHO_SEEDS).",
        show_default=False,
    ),
]
ProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        help="URL of a provider of topology, such as etcd://10.0.0.9:2379/shop; may be repeated (INAHO_PROVIDERS).",
        show_default=False,
    ),
]
SecretOption = Annotated[
    str | None,
    typer.Option(
        "--secret",
        help="Secret of the cluster (INAHO_SECRET). Other users of the machine can see it: prefer --secret-file.",
        show_default=False,
    ),
]
SecretFileOption = Annotated[
    Path | None,
    typer.Option("--secret-file", help="File with the secret (INAHO_SECRET_FILE).", show_default=False),
]

KindArgument = Annotated[str, typer.Argument(help="Kind of the grain.")]
KeyArgument = Annotated[str, typer.Argument(help="Key of the grain.")]
AuthorityArgument = Annotated[str, typer.Argument(help="host:port of the member, as `inaho members` has it.")]
TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")]
