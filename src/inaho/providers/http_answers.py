"""The answer to a request over HTTP, and which error of a provider it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable

__all__ = ["HttpAnswer", "combined", "judge"]

_TEXT_MAX: Final = 300

Kind = TypeVar("Kind")


class HttpAnswer(msgspec.Struct, frozen=True):
    """An answer that was read to its end.

    Attributes:
        who: provider and server, for the text of errors.
        status: of HTTP.
        headers: names in any case.
        body: the bytes.
    """

    who: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, in one line, for the text of errors."""
        return " ".join(self.body[:_TEXT_MAX].decode(errors="replace").split())

    def json(self) -> Any:
        """The body, decoded. Raises `ProviderStreamFailed` if it is not JSON."""
        return self.decode(object)

    def decode(self, kind: type[Kind], *, strict: bool = True) -> Kind:
        """The body as a value of that type, checked. Raises `ProviderStreamFailed` if it is none.

        Args:
            kind: the type.
            strict: False takes numbers that are written as text.
        """
        try:
            return msgspec.json.decode(self.body, type=kind, strict=strict)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderStreamFailed(f"{self.who}: the answer cannot be read: {error}: {self.text}") from error

    def unexpected(self, action: str) -> ProviderStreamFailed:
        """The error for a status that the caller does not expect."""
        return ProviderStreamFailed(f"{self.who}: {action}: status {self.status}: {self.text}")


def judge(answer: HttpAnswer) -> ProviderError | None:
    """The error that the status of an answer means; None where the caller decides."""
    if answer.status in (401, 403):
        lacks = "the credentials are refused" if answer.status == 401 else "a permission is missing"
        return ProviderInvalid(f"{answer.who}: {lacks} (status {answer.status}): {answer.text}")
    if answer.status == 429 or answer.status >= 500:
        return ProviderUnreachable(f"{answer.who}: status {answer.status}: {answer.text}")
    return None


def combined(failures: Sequence[ProviderError]) -> ProviderError:
    """One error for all servers; a certificate that is wrong comes before a server that is away."""
    if len(failures) == 1:
        return failures[0]
    reasons = "; ".join(failure.reason for failure in failures)
    wrong = any(isinstance(failure, ProviderInvalid) for failure in failures)
    return ProviderInvalid(reasons) if wrong else ProviderUnreachable(reasons)
