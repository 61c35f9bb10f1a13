"""Errors of saved state (SPEC CL-5, DESIGN "Leases and fencing")."""

from __future__ import annotations

from inaho.errors.base import InahoError

__all__ = ["StateConflict", "StateMissing", "StateTooLarge", "StorageFailed", "StorageLost"]


class StorageFailed(InahoError):
    """The storage did not answer or refused. Whether a save was committed is unknown."""

    code = "storage_failed"
    advice = "check the storage; load again before saving"
    maybe_executed_default = True


class StateConflict(InahoError):
    """A save was refused: another activation has saved since, or has a newer epoch; or a call beside has failed, and
    `on_failure` of the class discards what it left of the state.

    Attributes:
        stored_version: the version that the storage has for the identity, 0 for nothing; None when it is unknown, as in
            an error from another node.
        stored_epoch: the epoch of the last writer, 0 if nothing is stored; None when it is unknown.
    """

    code = "state_conflict"
    advice = "call again; the next call finds what was saved last"
    stored_version: int | None = None
    stored_epoch: int | None = None

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
        stored_version: int | None = None,
        stored_epoch: int | None = None,
    ) -> None:
        super().__init__(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
        self.stored_version = stored_version
        self.stored_epoch = stored_epoch


class StateMissing(InahoError):
    """The previous owner had saved state that this node does not find: the nodes share no storage (SPEC CL-5)."""

    code = "state_missing"
    advice = "give all members the same storage; the activation is refused rather than begun with an empty state"


class StorageLost(StateMissing):
    """The storage has lost acknowledged data: it is empty, or has the state of an old backup.

    Every operation on it is refused until an operator accepts its present content: `Cluster.accept_storage`.
    """

    code = "storage_lost"
    advice = "restore the newest data, or accept the present data with `inaho storage accept`"


class StateTooLarge(StorageFailed):
    """An encoded state exceeds `storage.data_bytes_max`. Nothing was sent to the storage."""

    code = "state_too_large"
    advice = "keep less in one grain, or raise storage.data_bytes_max"
    maybe_executed_default = False
