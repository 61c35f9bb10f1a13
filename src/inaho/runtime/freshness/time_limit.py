"""The time after which the storage counts as one that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from inaho.errors import InahoError, StorageFailed
from inaho.errors.inspection import describe
from inaho.runtime.local.local_node import LocalNode

__all__ = ["time_limit"]


@asynccontextmanager
async def time_limit(local: LocalNode) -> AsyncGenerator[None]:
    """Limits the time of the block; after it the storage counts as one that does not answer.

    Raises:
        StorageFailed: the storage did not answer in time, or raised an error that inaho does not know.
    """
    limit_s = max(local.config.activation.freshness_s, local.config.storage.operation_timeout_s)
    try:
        async with asyncio.timeout(limit_s):
            yield
    except InahoError:
        raise
    except Exception as error:  # a storage of the user may raise anything
        reason = f"it did not answer within {limit_s} s" if isinstance(error, TimeoutError) else describe(error)
        raise StorageFailed(f"the storage: {reason}", authority=local.authority, maybe_executed=False) from error
