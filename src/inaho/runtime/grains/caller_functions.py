"""Makes the functions that callers of grain methods call: the signature is the one that the user wrote.

Such a function is compiled from a text of two lines, because `inspect.Signature.bind` in every call would cost more
than the call. The text contains nothing but the class's own signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from inaho.wire.plain import chars_max, expression, leaves

__all__ = ["make_caller"]


def make_caller(
    method: object,
    kind: str,
    function: Callable[..., Any],
    name: str,
    parameters: Sequence[inspect.Parameter],
    types: Sequence[Any],
    invoke: Callable[..., Any],
) -> Callable[..., Any]:
    """Makes the function that callers of a method call.

    Args:
        method: passed on to `invoke`.
        kind: of the grain.
        function: what the class defines.
        name: of the method.
        parameters: its parameters, without `self`.
        types: of the parameters.
        invoke: is given the reference, the method, the arguments, and whether all of them are plain.
    """
    scope: dict[str, Any] = {"_inaho_invoke": invoke, "_inaho_method": method}
    longest = chars_max(sum(map(leaves, types)))
    written: list[str] = ["_inaho_self"]
    checks: list[str] = []
    star_seen = False
    positional_only = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    for index, parameter in enumerate(parameters):
        text = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            text, star_seen = f"*{text}", True
        elif parameter.kind is parameter.VAR_KEYWORD:
            text = f"**{text}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not star_seen:
            written.append("*")
            star_seen = True
        if parameter.default is not parameter.empty:
            scope[f"_inaho_default{index}"] = parameter.default
            text += f"=_inaho_default{index}"
        written.append(text)
        if positional_only and parameter is positional_only[-1]:
            written.append("/")
        checks.append(expression(types[index], parameter.name, scope, longest) or "False")
    names = "".join(f"{parameter.name}, " for parameter in parameters)
    source = (
        f"def {name}({', '.join(written)}):\n"
        f"    return _inaho_invoke(_inaho_self, _inaho_method, ({names}), {' and '.join(checks) or 'True'})\n"
    )
    exec(compile(source, f"<inaho proxy {kind}.{name}>", "exec"), scope)  # noqa: S102
    caller: Callable[..., Any] = scope[name]
    caller.__qualname__ = f"{kind}.{name}"
    caller.__doc__ = function.__doc__
    caller.__module__ = function.__module__
    return caller
