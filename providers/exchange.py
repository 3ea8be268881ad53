"""One request and its answer, between the connection that feeds it and the consumer that waits for it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from providers.wire import Reason, UpstreamError

Headers = list[tuple[bytes, bytes]]
# Seconds until an answer begins, and between two pieces of it.
Limits = tuple[float, float]

# Reading pauses above this. With one read more of at most 64 KiB, a stream whose client is slow holds 80
# here, and as much again is on its way to the client.
BUFFER_LIMIT = 16 * 1024


class Line(Protocol):
    """What an exchange needs of the connection that serves it."""

    @property
    def all_sent(self) -> bool:
        """False while a part of the request still waits to be written."""
        ...

    def abandon(self) -> None:
        """Close at once."""
        ...

    def resume(self) -> None:
        """The consumer has caught up: read on."""
        ...


class Exchange:
    """One request and its answer. Outlives the connection's part in it: pieces that have arrived stay
    here when the connection already serves the next request."""

    __slots__ = (
        "_answering",
        "_closed",
        "_connection",
        "_ended",
        "_error",
        "_first_byte",
        "_idle",
        "_last",
        "_loop",
        "_nudged",
        "_pieces",
        "_size",
        "_taken",
        "_timer",
        "_waiter",
        "headers",
        "paused",
        "stale",
        "started",
        "status",
    )

    def __init__(self, connection: Line, limits: Limits) -> None:
        first_byte, idle = limits
        self._loop = asyncio.get_running_loop()
        self._connection: Line | None = connection
        self._first_byte = first_byte
        self._idle = idle
        self._pieces: list[bytes] = []
        self._size = 0
        self.paused = False
        self._answering = False  # the head is here, and the timer is the body's
        self._taken = False  # a piece has been handed on
        self._ended = False
        self._closed = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._nudged = False
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(first_byte, self._first_byte_over)
        self.started = self._loop.time()
        self.status = 0
        self.headers: Headers = []
        self.stale = False

    # -- for the consumer

    async def head(self) -> None:
        """Wait for status and headers. Raises UpstreamError. Then, and when cancelled, nothing stays open."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def receive(self) -> bytes | None:
        """All of the body that has arrived, as one piece; waits for some. None at its end, b"" after a nudge.
        UpstreamError."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended or self._closed:
                return None
            if self._nudged:
                self._nudged = False
                return b""
            await self._wait()
        self._taken = True
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        if self.paused:
            self.paused = False
            self._last = self._loop.time()
            if self._connection is not None:
                self._connection.resume()
        return data

    def postpone(self) -> None:
        """The request is still on its way: the time for an answer begins anew."""
        if self._timer is not None and not self.status:
            self._timer.cancel()
            self._timer = self._loop.call_later(self._first_byte, self._first_byte_over)

    def at_hand(self) -> bytes | None:
        """The whole body, if it has come to its end and nothing of it was taken; None: ask `receive`."""
        if not self._ended or self._closed or self._error is not None or self._taken:
            return None
        self._taken = True
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return data

    def nudge(self) -> None:
        """End the wait of a consumer, if there is one, without a piece."""
        if self._waiter is not None and not self._waiter.done():
            self._nudged = True
            self._waiter.set_result(None)

    def close(self) -> None:
        """Give it up. A connection that is still busy with the answer is closed at once: that is what makes
        a provider stop working, and billing. Idempotent."""
        self._closed = True
        self._stop_timer()
        self._pieces.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    # -- for the connection

    def got_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)

    def progress(self) -> bool:
        """More has arrived. True: the consumer is behind, read no further."""
        self._last = self._loop.time()
        if self.status:
            if not self._answering:
                self._answering = True
                self._stop_timer()
                self._timer = self._loop.call_later(self._idle, self._idle_over)
            self._wake()
        self.paused = self._size > BUFFER_LIMIT
        return self.paused

    def end(self) -> None:
        """The answer is whole, and the connection is no longer ours."""
        self._connection = None
        self._ended = True
        self._stop_timer()
        self._wake()

    def fail(self, reason: Reason, message: str, *, sent: bool) -> None:
        """The answer broke off; what has arrived before can still be read."""
        self._connection = None
        self._error = UpstreamError(reason, message, sent=sent)
        self._stop_timer()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _first_byte_over(self) -> None:
        self._time_out("first_byte_timeout", "no answer began in time")

    def _idle_over(self) -> None:
        """The one timer of a body: it is not moved by each piece, but looks back when it fires."""
        quiet = 0.0 if self._pieces else self._loop.time() - self._last
        # A timer may fire a clock tick early.
        if quiet + 0.001 >= self._idle:
            self._time_out("idle_timeout", "the answer fell silent")
        else:
            self._timer = self._loop.call_later(self._idle - quiet, self._idle_over)

    def _time_out(self, reason: Reason, message: str) -> None:
        connection = self._connection
        sent = connection is None or connection.all_sent
        self.fail(reason, message, sent=sent)
        if connection is not None:
            connection.abandon()
