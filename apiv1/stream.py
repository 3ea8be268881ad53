"""The pieces of a streamed reply: total, and the one place where a streamed call is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from apiv1.inbound import Presence
from dialects.errors import INTERNAL, GatewayError
from pipeline.call import Call, Reply

Fault = Callable[[str, BaseException], None]


async def pieces(reply: Reply, fault: Fault, presence: Presence | None = None) -> AsyncGenerator[bytes]:
    """The body's pieces. Whatever fails is said in-band; whichever way it ends, the call is closed then."""
    call, body = reply.call, reply.body
    if call is None or isinstance(body, bytes):
        raise TypeError("only a call's reply has a body in pieces")
    try:
        async for piece in body:
            yield piece
    except (asyncio.CancelledError, GeneratorExit):
        _given_up(call, presence)
        raise
    except Exception as error:  # noqa: BLE001 - the door: a stream that has begun must still be ended in-band
        fault(call.id, error)
        internal = GatewayError(INTERNAL, "The gateway failed in the middle of this answer.")
        call.record.outcome, call.record.code = "error", internal.code
        yield call.dialect.error_event(internal, call.id)
    finally:
        try:
            await body.aclose()
        finally:
            call.close()


def _given_up(call: Call, presence: Presence | None) -> None:
    record = call.record
    if presence is not None and presence.lost == "draining":
        record.outcome, record.code = "error", "draining"
    elif record.outcome == "ok":
        record.outcome, record.code, record.status = "client_gone", "client_gone", 499
