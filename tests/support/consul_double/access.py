"""Access control of the double: tokens, and the rules that each has.

Rules are as in a policy of Consul: `{"key_prefix": {"shop/": "write"}, "session_prefix": {"": "write"}}`. A rule for
the exact name goes before prefixes, and a longer prefix before a shorter one. `write` includes `list` and `read`, and
`list` includes `read`. Without a rule the default policy decides.
"""

from __future__ import annotations

LEVELS = {"deny": 0, "read": 1, "list": 2, "write": 3}

Rules = dict[str, dict[str, str]]


class UnknownToken(Exception):  # noqa: N818  the text that Consul answers with
    """The token does not exist."""


class Denied(Exception):  # noqa: N818  the text that Consul answers with
    """The token lacks a permission."""

    def __init__(self, resource: str, level: str, name: str) -> None:
        super().__init__(f"Permission denied: token lacks permission '{resource}:{level}' on {name!r}")


class Access:
    """What tokens may do; while it is off, everything is allowed.

    Attributes:
        on: whether tokens count.
        tokens: rules by token; the empty token is the anonymous one.
        list_policy: whether a recursive read needs `list` (`acl.enable_key_list_policy`).
    """

    def __init__(self) -> None:
        self.on = False
        self.tokens: dict[str, Rules] = {}
        self.list_policy = False

    def known(self, token: str) -> None:
        """Raises UnknownToken."""
        if self.on and token and token not in self.tokens:
            raise UnknownToken("ACL not found")

    def allows(self, token: str, resource: str, level: str, name: str) -> bool:
        """Whether the token may do that with the resource of that name."""
        if not self.on:
            return True
        rules = self.tokens.get(token, {})
        exact = rules.get(resource, {}).get(name)
        if exact is None:
            prefixes = rules.get(f"{resource}_prefix", {})
            fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
            exact = prefixes[max(fitting, key=len)] if fitting else "deny"
        return LEVELS[exact] >= LEVELS[level]

    def demand(self, token: str, resource: str, level: str, name: str) -> None:
        """Raises Denied, UnknownToken."""
        self.known(token)
        if not self.allows(token, resource, level, name):
            raise Denied(resource, level, name)
