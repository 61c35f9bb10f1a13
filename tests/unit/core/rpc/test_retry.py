"""What is tried again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho import errors
from inaho.config import RpcConfig
from inaho.core.rpc.retry import MOVING, RETRY_RULES, RetryPolicy, RetryRule, Tries, may_retry
from inaho.errors import InahoError, InvalidConfig

CALL_ERRORS = {  # SPEC VA-3, "Errors"
    "timeout", "blocked", "shutting_down", "ownership_changed", "no_such_kind", "unreachable", "quarantined",
    "overloaded", "schema_mismatch", "serialization_failed", "pending",
}  # fmt: skip

REFUSED = [
    errors.Blocked, errors.OwnershipChanged, errors.Pending, errors.PlacementPaused, errors.Quarantined,
    errors.ShuttingDown, errors.TopologyUnavailable, errors.Unreachable,
]  # fmt: skip
IN_DOUBT = [errors.StateConflict, errors.StorageFailed, errors.Timeout]
FINAL = [
    errors.ActivationFailed, errors.CallCycle, errors.FrameTooLarge, errors.InvalidArguments, errors.InvalidPid,
    errors.MailboxFull, errors.NoSuchKind, errors.NoSuchMethod, errors.Overloaded, errors.RemoteError,
    errors.SchemaMismatch, errors.SerializationFailed, errors.StateMissing,
]  # fmt: skip


def test_every_error_of_a_call_has_a_rule_and_every_rule_an_error() -> None:
    assert set(RETRY_RULES) >= CALL_ERRORS
    known = {getattr(errors, name).code for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert set(RETRY_RULES) <= known
    tested = {kind.code for kind in (*REFUSED, *IN_DOUBT, *FINAL)}
    assert tested == set(RETRY_RULES)


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_before_it_ran_is_safe(kind: type[InahoError]) -> None:
    assert may_retry(kind("refused"), idempotent=False)
    assert may_retry(kind("refused"), idempotent=True)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_call_that_may_have_run_is_repeated_only_if_idempotent(kind: type[InahoError]) -> None:
    assert not may_retry(kind("sent, then lost", maybe_executed=True), idempotent=False)
    assert may_retry(kind("sent, then lost", maybe_executed=True), idempotent=True)


@pytest.mark.parametrize("kind", IN_DOUBT)
@pytest.mark.parametrize("maybe_executed", [True, False])
def test_in_doubt_is_repeated_only_if_idempotent(kind: type[InahoError], maybe_executed: bool) -> None:
    assert not may_retry(kind("?", maybe_executed=maybe_executed), idempotent=False)
    assert may_retry(kind("?", maybe_executed=maybe_executed), idempotent=True)


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.parametrize("idempotent", [True, False])
def test_final_is_never_repeated(kind: type[InahoError], idempotent: bool) -> None:
    assert not may_retry(kind("no"), idempotent)


def test_a_code_without_a_rule_is_final() -> None:
    class StrangeError(InahoError):
        code = "from_another_release"

    assert not may_retry(StrangeError("?"), idempotent=True)
    assert not may_retry(InahoError("?"), idempotent=True)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        RETRY_RULES["timeout"] = RetryRule.REFUSED  # type: ignore[index]


def test_the_defaults_are_those_of_the_configuration() -> None:
    policy, config = RetryPolicy(), RpcConfig()
    assert (policy.attempts, policy.base_s, policy.max_s) == (
        config.retry_attempts,
        config.retry_base_s,
        config.retry_max_s,
    )


def test_the_pause_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(attempts=10, base_s=0.05, max_s=2.0)
    whole = [policy.delay_s(attempt, 1.0) for attempt in range(1, 9)]
    assert whole == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert [policy.delay_s(attempt, 0.0) for attempt in range(1, 9)] == pytest.approx([one / 2 for one in whole])


@given(st.integers(1, 10**9), st.floats(0.0, 1.0), st.floats(1e-6, 10.0), st.floats(1.0, 1e6))
def test_the_pause_is_in_the_upper_half_and_never_above_the_cap(
    attempt: int, unit: float, base_s: float, factor: float
) -> None:
    policy = RetryPolicy(attempts=3, base_s=base_s, max_s=base_s * factor)
    whole = policy.delay_s(attempt, 1.0)
    assert whole / 2 <= policy.delay_s(attempt, unit) <= whole <= policy.max_s
    assert policy.delay_s(attempt + 1, unit) >= policy.delay_s(attempt, unit)


@pytest.mark.parametrize(("attempt", "unit"), [(0, 0.5), (-1, 0.5), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_nonsense_is_refused(attempt: int, unit: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy().delay_s(attempt, unit)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"attempts": 0}, "attempts"),
        ({"base_s": 0.0}, "base_s"),
        ({"base_s": float("nan")}, "base_s"),
        ({"base_s": 3.0}, "max_s"),
        ({"max_s": 0.01}, "max_s"),
    ],
)
def test_an_impossible_policy_is_refused(changes: dict[str, float], name: str) -> None:
    with pytest.raises(InvalidConfig, match=name):
        RetryPolicy(**changes)  # type: ignore[arg-type]


@given(attempt=st.integers(1, 100), unit=st.floats(0, 1))
def test_what_moves_is_asked_for_again_soon(attempt: int, unit: float):
    policy = RetryPolicy(base_s=0.05, max_s=2.0, moving_max_s=0.1)
    for code in MOVING:
        assert RETRY_RULES[code] is RetryRule.REFUSED
        assert policy.delay_s(attempt, unit, code) <= 0.1
    assert policy.delay_s(100, 1.0, "unreachable") == policy.delay_s(100, 1.0) == 2.0


@given(st.lists(st.booleans()))
def test_a_refusal_before_execution_is_no_attempt(ran: list[bool]) -> None:
    tries = Tries()
    for maybe_executed in ran:
        tries.count(errors.Unreachable("gone", maybe_executed=maybe_executed))
    assert tries.in_doubt == sum(ran)
    assert tries.failed == len(ran)
