"""Tells the arguments of `Cluster.send` itself from those of the method that is sent.

Both are keywords of one call. Python has no parameters after those of a `ParamSpec`, so `send` takes all keywords and
looks at the parameters of the method. A keyword belongs to the method if the method has a parameter of that name that
is not given by position. So no method that could be sent before `durable` existed is sent in another way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.runtime.calls.sends import sent_method

if TYPE_CHECKING:
    from inaho.runtime.grains.method import GrainMethod

__all__ = ["SendOptions", "take_options"]

NAMES: Final = ("durable", "after", "id")


class SendOptions(msgspec.Struct, frozen=True):
    """What was given to `send` itself, see `Cluster.send`."""

    durable: Any
    after: float = 0.0
    id: str = ""


def take_options(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> SendOptions | None:
    """Takes the options of a durable send out of `named`; None if it is not one.

    Raises:
        InvalidArguments: as `sent_method`.
    """
    _, method = sent_method(function)
    own = _own_keywords(method, len(arguments))
    if own is None or "durable" in own:
        return None
    if not named["durable"]:
        del named["durable"]
        return None
    return SendOptions(**{name: named.pop(name) for name in NAMES if name in named and name not in own})


def _own_keywords(method: GrainMethod, given: int) -> list[str] | None:
    """Names of the parameters of the method that can be given by keyword; None if it takes any."""
    names: list[str] = []
    for index, parameter in enumerate(method.parameters):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            return None
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY or (
            parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and index >= given
        ):
            names.append(parameter.name)
    return names
