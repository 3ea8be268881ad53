"""One call at the providers for all who ask the same at the same time: it leads, the others follow.

A whole answer goes to everybody when it is there. A stream goes to each as it comes, at the pace of each: who
is ahead reads on, and what was read is kept for the others.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from dialects.errors import BAD_REQUEST, UPSTREAM_TIMEOUT, Detail, GatewayError
from dialects.types import TellsFailure
from pipeline.answer import JSON_HEADERS, SSE_HEADERS
from pipeline.call import Body, Call, Handler, Reply
from pipeline.failures import truncated
from pipeline.prices import cost_of

# What is kept of a stream for those who follow, or to be cached: as much as is ever held back of one.
HELD_LIMIT = 16 * 1024 * 1024


class Shared:
    """A stream that several read. `ended`: its last piece was read, and it was not given up before."""

    def __init__(self, body: Body, call: Call) -> None:
        self.body = body
        self.ended = False
        self.closed = False
        # False when pieces were let go that a newcomer would need.
        self.whole = True
        # Which piece says that the stream has failed.
        self.failure: int | None = None
        self._call = call
        self._pieces: list[bytes] = []
        self._first = 0
        self._size = 0
        self._read: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    async def piece(self, number: int, *, leads: bool = False) -> bytes | None:
        """The piece with this number, None after the last. Raises GatewayError where it will not come. When
        much is kept already, only who `leads` reads on, and the others wait for it."""
        while number >= self._first + len(self._pieces):
            if self.ended:
                return None
            if self.closed:
                raise truncated()
            if self._read is None and self._size > HELD_LIMIT and not leads:
                await self._grown.wait()
                continue
            if self._read is None:
                self._read = asyncio.create_task(self._next())
            await self._wait(self._read)
        if number < self._first:
            raise truncated()
        return self._pieces[number - self._first]

    def joined(self) -> bytes:
        """All of it, where it is whole."""
        return b"".join(self._pieces)

    def trim(self, *, alone: bool) -> None:
        """Let go what is too much to keep: at once where nobody follows, else when it is far too much."""
        if self._size > HELD_LIMIT and (alone or self._size > 2 * HELD_LIMIT):
            self.whole = False
            self._first += len(self._pieces) - 1
            del self._pieces[:-1]
            self._size = len(self._pieces[0])

    def abandon(self) -> None:
        """Read no further: whoever waits for the next piece is told so."""
        self.closed = True
        self._grown.set()
        if self._read is not None:
            self._read.cancel()

    async def aclose(self) -> None:
        """Give the stream up. Idempotent."""
        read = self._read
        self.abandon()
        if read is not None:
            await asyncio.gather(read, return_exceptions=True)
        await self.body.aclose()

    async def _wait(self, read: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(read)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # Either whoever waits is cancelled, or what it waits for.
            if not self.closed or (task is not None and task.cancelling()):
                raise

    async def _next(self) -> None:
        record = self._call.record
        before = record.outcome
        try:
            piece = await anext(self.body)
            if record.outcome == "error" and before != "error":
                self.failure = self._first + len(self._pieces)
            self._pieces.append(piece)
            self._size += len(piece)
        except StopAsyncIteration:
            self.ended = True
        finally:
            self._read = None
            self._grown.set()
            self._grown = asyncio.Event()


class Flight:
    """The leading call, and how many follow it. `landing` tells them what has come of it: a reply, the error
    that is everybody's, or nothing."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.followers = 0
        self.shared: Shared | None = None
        self.landing: asyncio.Future[Reply | GatewayError | None] = asyncio.get_running_loop().create_future()
        self._alone = asyncio.Event()
        self._left = False

    @property
    def open(self) -> bool:
        """True while one more can follow."""
        return self.shared is None or (self.shared.whole and not self.shared.closed)

    @property
    def complete(self) -> bool:
        """True when the answer is here to its end, all of it."""
        shared = self.shared
        return shared is None or (shared.ended and shared.whole and shared.failure is None)

    @property
    def deserted(self) -> bool:
        """True when nobody has any use for the answer."""
        gone = self._left or self.call.record.outcome == "client_gone"
        return gone and not (self.followers or self.call.drains)

    def land(self, result: Reply | GatewayError | None) -> None:
        if not self.landing.done():
            self.landing.set_result(result)

    def join(self) -> None:
        self.followers += 1
        self.call.awaited = True
        self._alone.clear()

    def leave(self) -> None:
        self.followers -= 1
        if not self.followers:
            self.call.awaited = False
            self._alone.set()
            if self.shared is not None and self.deserted:
                self.shared.abandon()

    async def lead(self, inner: Handler) -> Reply:
        """The reply of `inner`, which goes on without this call's client for as long as somebody follows."""
        job = asyncio.ensure_future(inner(self.call))
        try:
            return self._begun(await self._stay(job))
        except GatewayError as error:
            self._crashed(error)
            raise
        except BaseException:
            await _end(job)
            if self.shared is not None:
                await self.shared.aclose()
            raise
        finally:
            self.land(None)

    async def follow(self, call: Call, seconds: float | None) -> Reply | None:
        """The same answer for `call`; None where it has to ask for itself. Raises GatewayError: an error that
        it would be told as well, or its time is over."""
        self.join()
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                landed = await asyncio.shield(self.landing)
        except TimeoutError:
            self.leave()
            raise GatewayError(
                UPSTREAM_TIMEOUT,
                "The request's time was over before the same request of another was answered.",
                Detail(code="deadline_exceeded"),
            ) from None
        except BaseException:
            self.leave()
            raise
        finally:
            call.record.upstream_seconds += time.monotonic() - began
        return self._given(landed, call)

    def worth(self) -> int | None:
        """What the answer costs its leader, or would have, once that is known, in nano-dollars."""
        record = self.call.record
        if record.cache == "hit":
            return record.saved
        return None if record.usage is None else cost_of(self.call, record.usage)

    def _given(self, landed: Reply | GatewayError | None, call: Call) -> Reply | None:
        if isinstance(landed, GatewayError):
            self.leave()
            # Not the same object: it would gather everybody's tracebacks.
            raise GatewayError(landed.fault, landed.message, landed.detail)
        if landed is None or (self.shared is not None and not self.open):
            self.leave()
            return None
        call.on_close(self.leave)
        call.record.dropped = list(self.call.record.dropped)
        if self.shared is not None:
            return Reply(landed.status, list(SSE_HEADERS), FollowerBody(self, self.shared, call))
        # A stream that is here to its end is one piece.
        return Reply(landed.status, list(SSE_HEADERS if call.facts.stream else JSON_HEADERS), landed.body)

    def _begun(self, reply: Reply) -> Reply:
        if isinstance(reply.body, bytes):
            self.land(reply)
            return reply
        self.shared = Shared(reply.body, self.call)
        self.land(reply)
        return Reply(reply.status, reply.headers, LeaderBody(self, self.shared))

    async def _stay(self, job: asyncio.Future[Reply]) -> Reply:
        """Wait for the job; when the client leaves meanwhile, for as long as others wait for it too."""
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            if job.cancelled() or not self.followers:
                raise
        self._left = True
        await self._for_others(job)
        raise asyncio.CancelledError

    async def _for_others(self, job: asyncio.Future[Reply]) -> None:
        alone = asyncio.ensure_future(self._alone.wait())
        try:
            await asyncio.wait((job, alone), return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                return
            reply = self._begun(job.result())
            if isinstance(reply.body, bytes):
                return
            async for _ in reply.body:
                pass
        except GatewayError as error:
            self._crashed(error)
        finally:
            alone.cancel()

    def _crashed(self, error: GatewayError) -> None:
        """An error that comes of the request itself is everybody's; after any other each asks for itself."""
        self.land(error if error.fault is BAD_REQUEST else None)


class LeaderBody:
    """The stream as the leading call's client gets it."""

    def __init__(self, flight: Flight, shared: Shared) -> None:
        self._flight = flight
        self._shared = shared
        self._number = 0

    @property
    def complete(self) -> bool:
        """True when the answer is there to its end."""
        return bool(getattr(self._shared.body, "complete", False))

    def fail(self, error: GatewayError, request_id: str) -> bytes | None:
        """The error as the last bytes, after all that was taken."""
        body = self._shared.body
        return body.fail(error, request_id) if isinstance(body, TellsFailure) else None

    def __aiter__(self) -> LeaderBody:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._piece()
        if piece is None:
            raise StopAsyncIteration
        self._number += 1
        self._shared.trim(alone=not self._flight.followers)
        return piece

    async def _piece(self) -> bytes | None:
        """The next piece; None after the last, or where nobody wants it any more."""
        try:
            return None if self._flight.deserted else await self._shared.piece(self._number, leads=True)
        except GatewayError:
            if self._flight.deserted:
                return None
            raise

    async def aclose(self) -> None:
        """Give it up, for those who follow too."""
        await self._shared.aclose()


class FollowerBody:
    """The stream as one who follows gets it, from its beginning."""

    def __init__(self, flight: Flight, shared: Shared, call: Call) -> None:
        self._flight = flight
        self._shared = shared
        self._call = call
        self._number = 0
        self._over = False

    def __aiter__(self) -> FollowerBody:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            piece = await self._shared.piece(self._number)
        except GatewayError as error:
            return self._failed(error.code, self._call.dialect.error_event(error, self._call.id))
        if piece is None:
            raise StopAsyncIteration
        if self._number == self._shared.failure:
            leader = self._flight.call
            # The stream's own words about its end name the leader's request.
            return self._failed(leader.record.code, piece.replace(leader.id.encode(), self._call.id.encode()))
        self._number += 1
        return piece

    async def aclose(self) -> None:
        """Others read on."""
        self._over = True

    def _failed(self, code: str, words: bytes) -> bytes:
        self._over = True
        self._call.record.outcome, self._call.record.code = "error", code
        return words


async def _end(job: asyncio.Future[Reply]) -> None:
    """Cancel the job and wait for what it does about it; an answer that comes all the same is closed."""
    if job.done():
        return
    job.cancel()
    with suppress(asyncio.CancelledError, GatewayError):
        reply = await job
        if not isinstance(reply.body, bytes):
            await reply.body.aclose()
