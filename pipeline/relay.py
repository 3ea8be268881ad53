"""Carries a provider's stream to the client, event by event, and is total: its failures are told in-band."""

from __future__ import annotations

import asyncio
import contextlib
import time

from msgspec import Struct
from msgspec.structs import replace

from dialects import estimate
from dialects.chat import CHAT, ChatTap
from dialects.errors import UPSTREAM_BAD, Detail, GatewayError
from dialects.media import PassedTap
from dialects.messages import PING
from dialects.sse import COMMENT
from dialects.types import Dialect, Event, TellsFailure, Translator, Usage
from pipeline.call import Attempt, Call, Deadline
from pipeline.failures import as_gateway_error, out_of_time, took_too_long, truncated
from providers.wire import UpstreamError, UpstreamResponse

# The end of a body often travels apart from the last event, a moment later. Far less than a new connection
# with TLS to a provider costs, and nobody waits for it: the client has its answer.
END_SECONDS = 0.25
# A client that hears nothing for this long gets a sign of life. Proxies in between give up a connection that
# is silent for 30 seconds or more, and some clients sooner.
KEEPALIVE_SECONDS = 10.0

# Some servers end with the reason to finish, which says it all, and leave this out.
_DONE = Event("", b"[DONE]", b"data: [DONE]\n\n")
# A stream that is held back to its end is held in memory: a hundred times the longest answers.
HELD_LIMIT = 16 * 1024 * 1024
_TOO_MUCH = frozenset({"upstream_event_too_large", "upstream_answer_too_large"})


class Try(Struct, frozen=True):
    """The attempt whose answer is carried, and the point by which it must be over."""

    attempt: Attempt
    deadline: Deadline


class Relay:
    """The body of a streamed reply. Pieces are whole events; several that arrived together leave together.

    `begin` first: it holds back what carries no content yet, so that a stream that dies before its first
    content can still become a status code, or another attempt that the client never sees. That ends when the
    provider has shown life and still said nothing for KEEPALIVE_SECONDS: then the client gets what there is,
    and from then on a ping whenever it has heard nothing for so long. How long a silent provider is waited
    for at all is the transport's to know.

    So it is with `hold-first`. A `fast` call gets what there is at once, and an `atomic` one nothing until
    the stream is complete.
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
        self._upstream = upstream
        self._translator = translator
        self._response = response
        self._attempt = attempt.attempt
        self._said = None if self._attempt.hop is None else self._attempt.hop.said
        self._deadline = attempt.deadline
        self._framer = upstream.framer()
        self._tap = upstream.tap(strip_usage=not call.facts.include_usage)
        self._chunks = response.chunks()
        self._held = b""
        self._failure: GatewayError | None = None
        self._begun = False
        # Legal before the first event too, which Anthropic's own is not.
        self._ping = COMMENT
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._patience = KEEPALIVE_SECONDS
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._until_next(self._patience), self._silence)

    @property
    def complete(self) -> bool:
        """True when the answer is there to its end."""
        return self._tap.finished

    async def begin(self) -> None:
        """Read up to the first content, the end, or the limit of holding back. Raises GatewayError or
        UpstreamError."""
        held = bytearray()
        alive = False
        try:
            while not self._is_the_clients(held, alive=alive):
                piece = await self._piece()
                alive = alive or bool(piece)
                held += self._last() if piece is None else self._carry(piece)
                if len(held) > HELD_LIMIT:
                    raise _too_long()
                if self._failure is not None and self._call.integrity == "atomic":
                    raise self._failure
        except BaseException as error:
            self._timer.cancel()
            # So much comes of no quick failure: the model was at work.
            self._attempt.worked = isinstance(error, GatewayError) and error.code in _TOO_MUCH
            raise
        # From here on the reply belongs to the client, and the numbers to this attempt.
        self._begun = True
        self._call.on_close(self._settle)
        out = bytes(held)
        self._note_start(out)
        self._held = out or COMMENT

    def _is_the_clients(self, held: bytearray, *, alive: bool) -> bool:
        """True when what is held has to be let go."""
        integrity, tap = self._call.integrity, self._tap
        if tap.finished or integrity == "atomic":
            return tap.finished
        if integrity == "fast" and held:
            return True
        return tap.content or (alive and self._is_late())

    def __aiter__(self) -> Relay:
        return self

    async def __anext__(self) -> bytes:
        out, self._held = self._held, b""
        while not (out or self._over):
            try:
                out = await self._next()
            except UpstreamError as error:
                out = self._fail(as_gateway_error(error))
            except GatewayError as error:
                out = self._fail(error)
        if not out:
            raise StopAsyncIteration
        self._heard = self._loop.time()
        return out

    async def _next(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if self._tap.finished:
            self._over = True
            # Known from here on, also to those who do not wait until the call is closed.
            self._settle()
            return self._translator.finish() if self._translator else b""
        piece = await self._piece()
        if piece is None:
            return self._last()
        if not piece:
            return self._ping if self._is_late() else b""
        out = self._carry(piece)
        if not self._call.record.first_content:
            self._note_start(out)
        return out

    async def _piece(self) -> bytes | None:
        """What has arrived; b"" where the wait for it was broken off, None at the end of the body."""
        piece = await anext(self._chunks, None)
        if piece is not None and self._deadline.remaining() <= 0:
            raise took_too_long() if self._begun else out_of_time()
        return piece

    def _last(self) -> bytes:
        """What a body that is over still gives: its last line, which no line end need follow, or the
        terminator that a provider left out, if every choice has said why it ends: then nothing is missing but
        a word. Raises GatewayError where the stream was cut."""
        is_open = self._framer.pending()
        if is_open and self._upstream.framing == "ndjson":
            out = self._carry(b"\n")
            if not self._tap.finished:
                # Half a line, or one that is not the last.
                if not (self._begun or self._tap.content):
                    raise truncated()
                self._failure = truncated()
            return out
        if isinstance(self._tap, PassedTap) and not is_open and self._tap.end():
            return b""
        ended = self._tap.ended if isinstance(self._tap, ChatTap) else ()
        if is_open or len(ended) < self._call.facts.n or self._upstream.name != CHAT.name:
            raise truncated()
        self._tap.see(_DONE)
        return _DONE.raw if self._translator is None else self._translator.event(_DONE)

    # --- Silence

    def _silence(self) -> None:
        """The one timer of a stream: it is not moved by each piece, but looks back when it fires."""
        quiet = self._loop.time() - self._heard
        wait = self._patience - quiet
        if self._is_late() or self._deadline.remaining() <= 0:
            self._response.nudge()
            wait = self._patience
        self._timer = self._loop.call_later(self._until_next(wait), self._silence)

    def _until_next(self, wait: float) -> float:
        """Seconds: not beyond the moment when the call's time is over."""
        left = self._deadline.remaining()
        return min(wait, left + 0.001) if left > 0 else wait

    def _is_late(self) -> bool:
        # A timer may fire a clock tick early.
        return self._loop.time() - self._heard + 0.001 >= self._patience

    def _note_start(self, out: bytes) -> None:
        """Take note of what goes out until there is content."""
        if out and self._call.dialect.family == "anthropic":
            self._ping = PING
        if self._tap.content:
            self._call.record.first_content = time.monotonic()

    def _carry(self, piece: bytes) -> bytes:
        """The client's bytes for one piece of the provider's stream. What follows the end is ignored.

        A failure that arrives together with what is the client's waits until that is delivered: how the
        network cuts a stream must not decide what the client gets.
        """
        tap = self._tap
        said = self._said
        translator = self._translator
        out: list[bytes] = []
        carried = self._begun or tap.content
        try:
            for event in self._framer.feed(piece):
                if tap.finished:
                    break
                tap.see(event)
                if said is not None:
                    said.see(event)
                if translator is not None:
                    out.append(translator.event(event))
                elif tap.keep(event):
                    out.append(event.raw)
                carried = self._begun or tap.content
        except GatewayError as error:
            if not carried:
                raise
            self._failure = error
        self._call.record.output_chars = tap.output_chars
        return b"".join(out)

    def _fail(self, error: GatewayError) -> bytes:
        self._over = True
        record = self._call.record
        record.outcome = "error"
        record.code = error.code
        self._attempt.outcome = error.code
        self._attempt.fault = error.fault.name
        return self.fail(error, self._call.id)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """The error as the last bytes, after all that was taken."""
        voice = self._translator or self._tap
        said = voice.fail(error, request_id) if isinstance(voice, TellsFailure) else None
        return self._call.dialect.error_event(error, request_id) if said is None else said

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
        self._timer.cancel()
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


def _too_long() -> GatewayError:
    return GatewayError(
        UPSTREAM_BAD,
        "The provider's stream is longer than can be held back to its end.",
        Detail(code="upstream_answer_too_large"),
    )
