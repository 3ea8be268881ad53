"""Carries a provider's stream to the client, event by event, and is total: its failures are told in-band."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace

from dialects import estimate
from dialects.errors import GatewayError
from dialects.types import Dialect, Translator, Usage
from pipeline.call import Attempt, Call, Deadline
from pipeline.failures import as_gateway_error, took_too_long, truncated
from providers.wire import UpstreamError, UpstreamResponse

# The end of a body often travels apart from the last event, a moment later. Far less than a new connection
# with TLS to a provider costs, and nobody waits for it: the client has its answer.
END_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Try:
    """The attempt whose answer is carried, and the point by which it must be over."""

    attempt: Attempt
    deadline: Deadline


class Relay:
    """The body of a streamed reply. Pieces are whole events; several that arrived together leave together.

    `begin` first: it holds back what carries no content yet, so that a stream that dies before its first
    content can still become a status code, or another attempt that the client never sees.
    """

    def __init__(
        self,
        call: Call,
        upstream: Dialect,
        translator: Translator | None,
        response: UpstreamResponse,
        attempt: Try,
    ) -> None:
        self._call = call
        self._translator = translator
        self._response = response
        self._attempt = attempt.attempt
        self._deadline = attempt.deadline
        self._framer = upstream.framer()
        self._tap = upstream.tap(strip_usage=not call.facts.include_usage)
        self._chunks = response.chunks()
        self._held = b""
        self._failure: GatewayError | None = None
        self._over = False

    async def begin(self) -> None:
        """Read up to the first content or the end. Raises GatewayError or UpstreamError."""
        held: list[bytes] = []
        while not (self._tap.content or self._tap.finished):
            held.append(self._carry(await self._piece()))
        # From here on the reply belongs to the client, and the numbers to this attempt.
        self._call.on_close(self._settle)
        if self._tap.content:
            self._call.record.first_content = time.monotonic()
        self._held = b"".join(held)

    def __aiter__(self) -> Relay:
        return self

    async def __anext__(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        while not self._over:
            try:
                out = await self._next()
            except UpstreamError as error:
                out = self._fail(as_gateway_error(error))
            except GatewayError as error:
                out = self._fail(error)
            if out:
                return out
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if self._tap.finished:
            self._over = True
            return self._translator.finish() if self._translator else b""
        return self._carry(await self._piece())

    async def _piece(self) -> bytes:
        piece = await anext(self._chunks, None)
        if piece is None:
            raise truncated()
        if self._deadline.remaining() <= 0:
            raise took_too_long("stream_max_duration")
        return piece

    def _carry(self, piece: bytes) -> bytes:
        """The client's bytes for one piece of the provider's stream. What follows the end is ignored.

        A failure that arrives together with content waits until that is delivered: how the network cuts a
        stream must not decide what the client gets.
        """
        tap = self._tap
        translator = self._translator
        out: list[bytes] = []
        carried = tap.content
        try:
            for event in self._framer.feed(piece):
                if tap.finished:
                    break
                tap.see(event)
                if translator is not None:
                    out.append(translator.event(event))
                elif tap.keep(event):
                    out.append(event.raw)
                carried = tap.content
        except GatewayError as error:
            if not carried:
                raise
            self._failure = error
        return b"".join(out)

    def _fail(self, error: GatewayError) -> bytes:
        self._over = True
        record = self._call.record
        record.outcome = "error"
        record.code = error.code
        self._attempt.outcome = error.code
        self._attempt.fault = error.fault.name
        return self._call.dialect.error_event(error, self._call.id)

    def _settle(self) -> None:
        """Write down the usage: what the provider counted; where it did not, or not to the end, an estimate
        of what was delivered."""
        tap = self._tap
        usage = tap.usage
        if usage is None or not tap.finished:
            known = usage or Usage(input_tokens=estimate.tokens(self._call.facts.prompt_chars))
            output = max(known.output_tokens, estimate.tokens(tap.output_chars))
            usage = replace(known, output_tokens=output, source="estimated")
        self._call.record.usage = usage

    async def aclose(self) -> None:
        """Stop reading: a stream that is not at its end is closed at the provider, which stops its bill.
        Idempotent."""
        self._over = True
        try:
            if self._tap.finished and self._failure is None:
                await self._end()
        finally:
            await self._response.aclose()

    async def _end(self) -> None:
        """The answer is over; wait for the end of its HTTP body, so that the connection can serve again. What
        comes instead is ignored, and the connection not kept."""
        with contextlib.suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(END_SECONDS):
                await anext(self._chunks, None)
