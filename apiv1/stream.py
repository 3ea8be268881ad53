"""The pieces of a streamed reply: total, and the one place where a streamed call is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from apiv1.errors import GIVEN_UP
from apiv1.inbound import Presence
from apiv1.lingering import Lingering
from dialects.errors import INTERNAL, GatewayError
from pipeline.call import Body, Call, Reply

Fault = Callable[[str, BaseException], None]


class Pieces:
    """A streamed reply's body. Whatever fails is said in-band, as the last piece; where there is no place for
    that, `broken` says that the pieces are over and not complete.

    Whoever writes it calls `aclose` in the end, whatever happens and whether or not a piece was taken: an
    iterator and no generator, because a generator that was never started has no end that would run.
    """

    def __init__(
        self,
        reply: Reply,
        fault: Fault,
        presence: Presence | None = None,
        lingering: Lingering | None = None,
    ) -> None:
        if reply.call is None or isinstance(reply.body, bytes):
            raise TypeError("only a call's reply has a body in pieces")
        self._call: Call = reply.call
        self._body = reply.body
        self._fault = fault
        self._presence = presence
        self._lingering = lingering
        self._opaque = reply.opaque
        self.broken = False
        self._over = False
        self._left = False
        self._reading: asyncio.Future[bytes] | None = None

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._next()
        except StopAsyncIteration:
            self._over = True
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the door: a stream that has begun must still be ended in-band
            self._over = True
            if self._opaque:
                self.broken = True
                if not isinstance(error, GatewayError):
                    self._failed(error)
                raise StopAsyncIteration from None
            return self._failed(error)

    def settle(self) -> None:
        """Close the call of a body that has come to its end, before that end is told. Idempotent."""
        self._call.close()

    async def aclose(self) -> None:
        """Give back what the call holds. Idempotent. Before the last piece it means: nobody reads on;
        where the route wants to know what the answer costs, it is read to its end all the same, beside
        everything else."""
        if not self._over:
            self._over = True
            self._given_up()
            if self._wants_the_rest():
                assert self._lingering is not None  # noqa: S101 - what was just asked, for the type
                self._left = True
                self._lingering.adopt(self._read_on(), bounded=not self._call.awaited)
        if not self._left:
            await self._close()

    async def _next(self) -> bytes:
        if not (self._call.drains or self._call.awaited):
            return await anext(self._body)
        # A client that leaves must not break off the read: what it is about to bring belongs to the rest.
        if self._reading is None:
            self._reading = asyncio.ensure_future(_one(self._body))
        piece = await asyncio.shield(self._reading)
        self._reading = None
        return piece

    def _wants_the_rest(self) -> bool:
        lingering, call = self._lingering, self._call
        if lingering is None or call.record.outcome != "client_gone":
            return False
        # Where others have the same answer it is read for them, whatever the route says.
        return call.awaited or (call.drains and not lingering.full)

    async def _read_on(self) -> None:
        try:
            if self._reading is not None:
                with suppress(StopAsyncIteration):
                    await self._reading
            async for _ in self._body:
                pass
        finally:
            if self._reading is not None:
                self._reading.cancel()
            await self._close()

    async def _close(self) -> None:
        # The call first: the end of the body may take a moment that is not part of it.
        try:
            self._call.close()
        finally:
            await self._body.aclose()

    def _failed(self, error: Exception) -> bytes:
        call = self._call
        self._fault(call.id, error)
        internal = GatewayError(INTERNAL, "The gateway failed in the middle of this answer.")
        call.record.outcome, call.record.code = "error", internal.code
        return call.dialect.error_event(internal, call.id)

    def _given_up(self) -> None:
        record = self._call.record
        lost = "" if self._presence is None else self._presence.lost
        ours = GIVEN_UP.get(lost)
        if ours is not None:
            record.outcome, record.code = "error", ours().code
        elif record.outcome == "ok":
            code = "client_stall" if lost == "client_stall" else "client_gone"
            record.outcome, record.code, record.status = "client_gone", code, 499


async def _one(body: Body) -> bytes:
    return await anext(body)


class BrokenAnswerError(Exception):
    """The end of a body that is not complete, for a server that then breaks the connection."""


async def closing(pieces: Pieces) -> AsyncGenerator[bytes]:
    """The pieces for a writer that closes what it iterates over only if that is a generator."""
    try:
        async for piece in pieces:
            yield piece
        if pieces.broken:
            raise BrokenAnswerError
    finally:
        await pieces.aclose()
