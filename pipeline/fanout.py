"""Several prompts in one request of legacy completions, for a target that takes one at a time: a call for
each prompt, and one answer or stream of all."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import orjson
from msgspec.structs import replace

from dialects.completions import COMPLETIONS
from dialects.completions_several import Strands, joined, several
from dialects.errors import GatewayError
from dialects.sse import COMMENT
from dialects.types import JsonObject, Usage
from pipeline.answer import ANSWER_LIMIT, JSON_HEADERS, SSE_HEADERS
from pipeline.call import Body, Call, Handler, Reply
from pipeline.failures import invalid_response, truncated
from pipeline.relay import HELD_LIMIT, KEEPALIVE_SECONDS

# Calls of one request that are at the provider at the same time: sooner done than one after the other, and
# not much more of a provider's limits than other requests take.
PARALLEL = 4


class Fanout:
    """Handler that calls `inner` once for each prompt where the target does not speak the client's dialect,
    and passes everything else on. One that fails fails the whole, and the others are given up."""

    def __init__(self, inner: Handler) -> None:
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        bodies = _bodies(call)
        if not bodies:
            return await self._inner(call)
        parts = _Parts(call, bodies)
        started = time.monotonic()
        try:
            return await (self._stream(parts) if call.facts.stream else self._whole(parts))
        finally:
            # They run side by side, so what was waited for is no sum.
            call.record.upstream_seconds += time.monotonic() - started

    async def _whole(self, parts: _Parts) -> Reply:
        replies: dict[int, bytes] = {}

        async def ask(which: int) -> None:
            replies[which] = _bytes(await self._inner(parts.calls[which]))
            if sum(map(len, replies.values())) > ANSWER_LIMIT:
                raise _too_large()

        every = range(len(parts.calls))
        try:
            await _side_by_side(every, ask)
        except GatewayError:
            parts.give_up()
            raise
        finally:
            parts.settle()
        answers = [orjson.loads(replies[which]) for which in every]
        return Reply(200, list(JSON_HEADERS), orjson.dumps(joined(answers, parts.call.facts.n)))

    async def _stream(self, parts: _Parts) -> Reply:
        streams = _Streams(parts, self._inner)
        try:
            await streams.begin()
        except BaseException as error:
            if isinstance(error, GatewayError):
                parts.give_up()
            parts.settle()
            await streams.aclose()
            raise
        parts.tell_losses()
        parts.call.on_close(parts.close)
        return Reply(200, list(SSE_HEADERS), streams)


class _Parts:
    """The calls for the prompts of one request, and what their records say of it."""

    def __init__(self, call: Call, bodies: Sequence[JsonObject]) -> None:
        self.call = call
        self._before = len(call.record.attempts)
        self.calls = [self._part(body) for body in bodies]

    def _part(self, body: JsonObject) -> Call:
        call = self.call
        # The attempts are the request's own at once; the rest is added up when it is known. What arrived goes
        # to nobody as it is.
        record = replace(call.record, dropped=[], usage=None, upstream_seconds=0.0, output_chars=0)
        return replace(
            call,
            # One key for several requests would make one of them.
            headers={name: value for name, value in call.headers.items() if name != "idempotency-key"},
            body=body,
            facts=call.dialect.facts(body),
            record=record,
            _closers=[],
            _closed=False,
        )

    def close(self) -> None:
        """What the client's stream comes to when it is over."""
        self.settle()
        begun = [part.record.first_content for part in self.calls if part.record.first_content]
        self.call.record.first_content = min(begun, default=0.0)

    def settle(self) -> None:
        """Close the calls and write down what they lost and used, all together."""
        record = self.call.record
        for part in self.calls:
            part.close()
        self.tell_losses()
        used = [part.record.usage for part in self.calls]
        record.usage = _sum([usage for usage in used if usage is not None])

    def count(self) -> None:
        """Write down how much the streams have said so far."""
        self.call.record.output_chars = sum(part.record.output_chars for part in self.calls)

    def tell_losses(self) -> None:
        """Write down which fields could not travel: known when the calls have been sent."""
        record = self.call.record
        record.dropped = list(dict.fromkeys(name for part in self.calls for name in part.record.dropped))

    def give_up(self) -> None:
        """Tell the attempts that were under way when another failed from those whose client has left."""
        for attempt in self.call.record.attempts[self._before :]:
            if attempt.outcome == "client_gone":
                attempt.outcome = "given_up"


class _Streams:
    """The body of all the streams, chunk by chunk as they come. A failure in one is told in-band and ends
    them all.

    `begin` first: what fails before it returns can still be a status, or go to another target.
    """

    def __init__(self, parts: _Parts, inner: Handler) -> None:
        self._parts = parts
        self._inner = inner
        self._strands = Strands(len(parts.calls), parts.call.facts.n)
        self._waiting = iter(range(len(parts.calls)))
        self._bodies: dict[int, Body] = {}
        self._reads: dict[asyncio.Task[bytes | None], int] = {}
        self._held = b""
        self._failure = b""
        self._over = False

    @property
    def complete(self) -> bool:
        """True when the answers are there to their ends."""
        return self._strands.complete

    async def begin(self) -> None:
        """Begin the first few streams; if the call is `atomic`, take them all in to their ends. Raises what
        the first of them to fail raises."""
        if self._parts.call.integrity == "atomic":
            await _side_by_side(self._waiting, self._hold)
            return
        first = list(itertools.islice(self._waiting, PARALLEL))
        await _side_by_side(first, self._begin)
        for which in first:
            self._read_on(which)

    def __aiter__(self) -> _Streams:
        return self

    async def __anext__(self) -> bytes:
        out, self._held = self._held, b""
        while self._reads and not out:
            done, _ = await asyncio.wait(
                self._reads, timeout=KEEPALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            out = b"".join(map(self._take, done)) if done else COMMENT
            if self._failure:
                # Not before what the others have said; but their bills stop at once.
                await self._stop()
                self._parts.give_up()
                return out + self._failure
        if not (out or self._over):
            self._over = True
            out = self._strands.end()
        if not out:
            raise StopAsyncIteration
        return out

    async def aclose(self) -> None:
        """Stop all reading and close what is not at its end. Idempotent."""
        self._over = True
        await self._stop()

    async def _stop(self) -> None:
        self._over = True
        reads = tuple(self._reads)
        self._reads.clear()
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        await asyncio.gather(*(body.aclose() for body in self._bodies.values()))

    async def _begin(self, which: int) -> None:
        reply = await self._inner(self._parts.calls[which])
        if isinstance(reply.body, bytes):
            raise TypeError("a stream was asked for")
        self._bodies[which] = reply.body

    async def _hold(self, which: int) -> None:
        """Keep a stream that is complete."""
        while (piece := await self._read(which)) is not None:
            if self._parts.calls[which].record.outcome == "error":
                raise truncated()
            self._held += self._strands.carry(which, piece)
            if len(self._held) > HELD_LIMIT:
                raise _too_large()

    async def _read(self, which: int) -> bytes | None:
        """The next piece of a stream, which is begun if it waited; None at its end."""
        if which not in self._bodies:
            await self._begin(which)
        body = self._bodies[which]
        piece = await anext(body, None)
        if piece is None:
            self._parts.calls[which].close()
            await body.aclose()
            del self._bodies[which]
        return piece

    def _read_on(self, which: int) -> None:
        self._reads[asyncio.create_task(self._read(which))] = which

    def _take(self, read: asyncio.Task[bytes | None]) -> bytes:
        """The client's bytes for what was read; the next read begins."""
        which = self._reads.pop(read)
        record = self._parts.calls[which].record
        try:
            piece = read.result()
            if record.outcome == "error" and piece:
                # The stream's own words about its end.
                return self._fail(record.code, piece)
            if piece is not None:
                out = self._strands.carry(which, piece)
                self._parts.count()
                self._read_on(which)
                return out
        except GatewayError as error:
            call = self._parts.call
            return self._fail(error.code, call.dialect.error_event(error, call.id))
        # What has begun may be read on after its client has left, to know its cost; nothing is begun then.
        following = next(self._waiting, None)
        if following is not None and self._parts.call.record.outcome == "ok":
            self._read_on(following)
        return b""

    def _fail(self, code: str, words: bytes) -> bytes:
        record = self._parts.call.record
        if not self._failure:
            self._failure = words
            record.outcome, record.code = "error", code
        return b""


def _bodies(call: Call) -> list[JsonObject]:
    """A body for each prompt where the target has to be asked for each by itself, else none."""
    target = call.target
    assert target is not None, "failover sets the target"  # noqa: S101 - a programmer's error, not input
    if call.dialect.name != COMPLETIONS.name:
        return []
    model = target.upstream_model or call.facts.model
    return [] if COMPLETIONS.name in target.provider.kind.dialects(model) else several(call.body)


async def _side_by_side(every: Iterable[int], job: Callable[[int], Awaitable[None]]) -> None:
    """Do the job for each of them, a few at a time. Raises what the first to fail raises; the others are
    cancelled and have ended by then."""
    waiting = iter(every)

    async def work() -> None:
        for which in waiting:
            await job(which)

    failed: Sequence[BaseException] = ()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(PARALLEL):
                group.create_task(work())
    except BaseExceptionGroup as caught:
        failed = caught.exceptions
    if failed:
        raise failed[0]


def _sum(usages: Sequence[Usage]) -> Usage | None:
    """All of it; an estimate if any part is one."""
    if not usages:
        return None
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cache_read=sum(usage.cache_read for usage in usages),
        cache_write=sum(usage.cache_write for usage in usages),
        reasoning=sum(usage.reasoning for usage in usages),
        source="estimated" if any(usage.source == "estimated" for usage in usages) else "provider",
    )


def _too_large() -> GatewayError:
    return invalid_response("The provider's answers are too large together.")


def _bytes(reply: Reply) -> bytes:
    if not isinstance(reply.body, bytes):
        raise TypeError("a whole answer was asked for")
    return reply.body
