"""Writes replies to clients: the only code that writes SSE, and the one place where a call is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

from dialects.errors import INTERNAL, GatewayError
from pipeline.call import Reply

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Fault = Callable[[str, BaseException], None]


async def pieces(reply: Reply, fault: Fault | None = None) -> AsyncGenerator[bytes]:
    """The body's pieces; total, and the end of the call whichever way it ends."""
    call = reply.call
    body = reply.body
    assert call is not None and not isinstance(body, bytes)  # noqa: S101 - only calls have bodies in pieces
    try:
        async for piece in body:
            yield piece
    except (asyncio.CancelledError, GeneratorExit):
        call.record.outcome = "client_gone"
        raise
    except Exception as error:  # noqa: BLE001 - the door: a stream that has begun must still be ended in-band
        if fault is not None:
            fault(call.id, error)
        internal = GatewayError(INTERNAL, "The gateway failed in the middle of this answer.")
        call.record.outcome, call.record.code = "error", internal.code
        yield call.dialect.error_event(internal, call.id)
    finally:
        try:
            await body.aclose()
        finally:
            call.close()
