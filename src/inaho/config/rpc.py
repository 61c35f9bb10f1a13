"""Settings of calls (`rpc.*`)."""

from __future__ import annotations

from typing import Final

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["CALL_TIMEOUT_MAX_S", "RpcConfig"]


CALL_TIMEOUT_MAX_S: Final = 1e6
"""Longest time-out of a call, and the default of a stream: eleven days."""


class RpcConfig(Group, frozen=True, kw_only=True):
    """Calls.

    Attributes:
        timeout_s: time-out of calls that set none; at most 1,000,000. An expired call fails at most 0.1 s late.
        retry_attempts: attempts of an idempotent call that may have run. Refusals before execution do not count: they
            are repeated, with pauses, until the deadline of the call.
        retry_base_s: first pause; doubles, with jitter, up to `retry_max_s`.
        retry_max_s: see `retry_base_s`.
        retry_moving_max_s: longest pause after a refusal of an identity that moves to another node. With a shorter one
            callers wait less, with a longer one they ask less often while a long turn ends.
        call_chain_max: longest chain of grains waiting for each other.
        stream_window_items: items by which a producer may be ahead of its consumer; bounds memory on both sides.
        stream_window_bytes: encoded bytes by which it may be ahead.
        turns_max: calls of one connection that may run or wait on this node.
        streams_max: streams of one connection that this node may serve.
        sends_max: one-way calls (`Cluster.send`) of this node that may be running.
        pending_max: asks between actors that may wait on one connection, on either side.
        retry_warnings_max: retries of one kind that are logged at one level within `retry_warnings_period_s`; of
            further ones only the number is logged.
        retry_warnings_period_s: see `retry_warnings_max`.
    """

    timeout_s: float = 10.0
    retry_attempts: int = 3
    retry_base_s: float = 0.05
    retry_max_s: float = 2.0
    retry_moving_max_s: float = 0.05
    call_chain_max: int = 64
    stream_window_items: int = 1024
    stream_window_bytes: int = 1 << 20
    turns_max: int = 100_000
    streams_max: int = 10_000
    sends_max: int = 100_000
    pending_max: int = 1_000_000
    retry_warnings_max: int = 5
    retry_warnings_period_s: float = 10.0

    def check(self) -> None:
        if self.timeout_s > CALL_TIMEOUT_MAX_S:
            raise InvalidConfig(f"RpcConfig.timeout_s must be at most {CALL_TIMEOUT_MAX_S:.0f}, not {self.timeout_s}")
