"""Asks all members of a cluster the same thing; those that do not answer are named, and make the command fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output, describe_error
from inaho.errors import InahoError, ProviderError
from inaho.types import Member

__all__ = ["Failures", "ask_all", "describe_failures", "name_failures"]

AnswerT = TypeVar("AnswerT")

ASKED_AT_ONCE_MAX: Final = 32
"""Bound of the members that are dialled at the same time."""

Failures = list[tuple[Member, InahoError]]
"""Members without an answer, with the reason."""


async def ask_all(
    members: Sequence[Member], ask: Callable[[Member], Coroutine[Any, Any, AnswerT]]
) -> tuple[list[tuple[Member, AnswerT]], Failures]:
    """The answers, and the members without one with the reason; both in the order of the members."""
    places = asyncio.Semaphore(ASKED_AT_ONCE_MAX)

    async def one(member: Member) -> AnswerT | InahoError:
        async with places:
            try:
                return await ask(member)
            except InahoError as error:
                return error

    results = await asyncio.gather(*(one(member) for member in members))
    answers: list[tuple[Member, AnswerT]] = []
    failures: Failures = []
    for member, result in zip(members, results, strict=True):
        if isinstance(result, InahoError):
            failures.append((member, result))
        else:
            answers.append((member, result))
    return answers, failures


def describe_failures(failures: Iterable[tuple[Member, InahoError]]) -> list[dict[str, Any]]:
    """Members without an answer as plain data, for JSON documents."""
    return [{"member": member.authority, "error": describe_error(error)} for member, error in failures]


def name_failures(output: Output, failures: Failures, what: str = "did not answer") -> int:
    """Names them on standard error; returns the exit code."""
    for member, error in failures:
        output.note(f"{member.authority} {what} [{error.code}]: {_text(error)}")
    return EXIT_FAILED if failures else EXIT_OK


def _text(error: InahoError) -> str:
    # The member has decided and says so: which system grain it was asked through, and that it ran, says nothing more.
    return f"{error.reason}; {error.advice}" if isinstance(error, ProviderError) else str(error)
