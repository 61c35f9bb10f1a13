"""Waits for a Task that continues when the waiting caller is cancelled.

If the end of a system is interrupted, a port stays bound or a connection open, and nobody closes it any more. So the
end runs in a Task of its own, and a waiting caller that is cancelled only stops waiting.

Why not `asyncio.shield` alone: when its caller is gone, it drops the exception of the Task.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

__all__ = ["uninterrupted"]


async def uninterrupted(task: asyncio.Task[Any], logger: logging.Logger) -> Any:
    """Waits for a Task, which continues when its waiting caller is cancelled.

    Args:
        task: that must run to its end.
        logger: logs its failure if the caller is gone by then.

    Returns:
        Its result.

    Raises:
        BaseException: the exception of the Task.
    """

    def report(ended: asyncio.Task[Any]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logger.error("%s failed after its caller was cancelled", ended.get_name(), exc_info=error)

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            task.add_done_callback(report)
        raise
