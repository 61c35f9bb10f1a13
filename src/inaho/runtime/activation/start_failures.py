"""The errors for callers of an activation that did not start, and the reports of its failure.

Whatever the failure, the waiting calls have not run. But `on_activate` may have made a call, and the error of that call
may say "maybe executed". If it went to the waiting callers unchanged, they would not retry, and a keeper of reminders
would count an attempt. So each caller gets a copy that says "not executed". Each caller gets its own copy, since an
error is changed where it leaves a turn (`as_raised`).
"""

from __future__ import annotations

import asyncio
import copy
from contextvars import Context
from typing import TYPE_CHECKING, Any

from inaho.core.rpc.retry import MOVING
from inaho.errors import ActivationFailed, InahoError, ShuttingDown
from inaho.errors.inspection import describe, fields_of, is_a
from inaho.events import ActivationFailed as ActivationFailedEvent
from inaho.runtime.turns.steps import SIGNALS
from inaho.wire.exception_parts import set_cause

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation

__all__ = ["initialise", "not_run", "start_failure"]


def start_failure(host: ActivationHost, grain: Activation, error: BaseException) -> InahoError:
    """Reports that an activation failed to start, and returns the error for its callers.

    It raises nothing but `KeyboardInterrupt`.
    """
    try:
        return _reported(host, grain, error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # the user's exception raises when it is read, but callers must get an answer
        reason = f"{type(error).__name__}, which cannot be described: {describe(broken)}"
        return ActivationFailed(reason, identity=str(grain.identity), authority=host.authority)


def _reported(host: ActivationHost, grain: Activation, error: BaseException) -> InahoError:
    if is_a(error, asyncio.CancelledError) and host.around.runner.leaving:
        reason = "this node left while the activation started"
        error = ShuttingDown(reason, identity=str(grain.identity), authority=host.authority)
    if is_a(error, InahoError) and error.code in MOVING:  # no failure: the call must go to another node, or try later
        return not_run(error, error)
    reason = describe(error)
    identity = grain.identity
    host.around.services.start_failed(identity, error)
    host.around.leases.note(grain._inaho_lease, "failed", reason)
    host.local.publish(ActivationFailedEvent(identity=identity, reason=reason))
    if is_a(error, InahoError):
        return not_run(error, error)
    failure = ActivationFailed(reason, identity=str(identity), authority=host.authority)
    failure.__cause__ = error
    return failure


def not_run(error: InahoError, cause: BaseException | None) -> InahoError:
    """A copy of `error` for a call that has not run."""
    try:
        refusal = copy.copy(error)
    except Exception:  # a class of the user whose constructor takes other arguments
        refusal = InahoError(describe(error))
    fields_of(refusal)["maybe_executed"] = False
    set_cause(refusal, cause)
    return refusal


def initialise(host: ActivationHost, grain: Activation, parts: tuple[Any, ...]) -> None:
    """Runs the constructor of the class; for a class of the runtime, with `parts` of the node.

    Raises `ActivationFailed`, and releases the lease, when the constructor raises.
    """
    try:
        Context().run(type(grain).__init__, grain, *parts)  # the constructor must not see the first caller's context
    except BaseException as error:
        host.around.leases.ended(grain._inaho_lease)
        if is_a(error, SIGNALS):
            raise
        raise start_failure(host, grain, error) from error
