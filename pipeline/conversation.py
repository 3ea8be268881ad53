"""A conversation with a realtime model: messages both ways as they come, of which only the usage is read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from msgspec.structs import replace

from dialects.errors import UPSTREAM_BAD, Detail, GatewayError
from dialects.fields import count, detail, part
from dialects.types import Usage
from pipeline.answer import refusal
from pipeline.call import Attempt, Call, Reply
from pipeline.request import Exchange, upstream_request
from pipeline.reservation import USUAL_OUTPUT
from providers.wire import Closed, SocketTransport, UpstreamError, UpstreamSocket
from routing.snapshot import Target

# A handshake is no thinking: whoever needs longer has no place for a conversation.
HANDSHAKE_SECONDS = 20.0
# How a provider ends what is over: as asked, or because it goes away.
_WELL = frozenset({1000, 1001, 1005})
_BEGUN = '"response.created"'
_DONE = '"response.done"'
_HEARD = '"conversation.item.input_audio_transcription.completed"'
# An answer that is cancelled is counted at once.
_COUNT_SECONDS = 2.0
# No provider answers more at the same time.
_MOST_ANSWERS = 32
_MOST_NAME = 200


async def converse(
    call: Call, target: Target, exchange: Exchange, attempt: Attempt, sockets: SocketTransport | None
) -> Reply:
    """Open the WebSocket; from then on the call is its conversation. Raises GatewayError, UpstreamError."""
    if sockets is None:
        raise UpstreamError("refused", "there are no WebSockets here", sent=False)
    request = upstream_request(call, target, exchange, attempt.hop)
    query = _query(call, target.upstream_model or call.facts.model)
    wait = min(request.first_byte, HANDSHAKE_SECONDS)
    opened = await sockets.open(
        replace(request, url=f"{request.url.partition('?')[0]}?{query}", first_byte=wait)
    )
    if not isinstance(opened, UpstreamSocket):
        attempt.status = opened.status
        raise await refusal(exchange, opened)
    attempt.status = 101
    attempt.upstream_request_id = opened.request_id
    call.conversation = Talk(call, opened, attempt)
    return Reply(101, [], b"")


def _query(call: Call, model: str) -> str:
    """The client's query, with the name that the provider knows the model by."""
    pairs = parse_qsl(call.parcel.tail[1:], keep_blank_values=True)
    return urlencode([(name, model if name == "model" else value) for name, value in pairs])


class Talk:
    """A Conversation of the pipeline. What it has used is known when the provider says so, response by
    response, and is the call's when it closes."""

    def __init__(self, call: Call, socket: UpstreamSocket, attempt: Attempt) -> None:
        self.told: GatewayError | None = None
        charge = call.record.charge
        self.reserved = USUAL_OUTPUT if charge is None else charge.input_tokens + charge.output_tokens
        self.reserve: Callable[[int], Awaitable[GatewayError | None]] | None = None
        self._call = call
        self._socket = socket
        self._attempt = attempt
        self._usage = Usage()
        # Answers that have begun and are not counted.
        self._open: set[str] = set()
        call.on_close(self._settle)

    async def receive(self) -> str | bytes | Closed:
        """The provider's next message, or how it ended."""
        message = await self._socket.receive()
        if isinstance(message, Closed):
            self._ended(message)
        elif self._note(message):
            await self._afford()
        return message

    async def send(self, message: str | bytes) -> bool:
        """The client's next message. False: the provider has gone."""
        return await self._socket.send(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """The client has gone, or is sent away. Idempotent."""
        if self._open:
            await self._hear_out()
        await self._socket.close(code, reason)

    async def _hear_out(self) -> None:
        """An answer that has begun is billed, and its count comes at its end: whoever left just before that
        would pay nothing for what he heard. So it is ended now, and its count awaited."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COUNT_SECONDS):
                for one in self._open:
                    cancel = {"type": "response.cancel", "response_id": one}
                    if not await self._socket.send(orjson.dumps(cancel).decode()):
                        return
                while self._open:
                    message = await self._socket.receive()
                    if isinstance(message, Closed):
                        return
                    self._note(message)

    def _note(self, message: str | bytes) -> bool:
        """Read what it says of usage; False: nothing."""
        if isinstance(message, bytes) or not (_DONE in message or _HEARD in message or _BEGUN in message):
            return False
        try:
            event = orjson.loads(message)
        except orjson.JSONDecodeError:
            return False
        if type(event) is not dict:
            return False
        kind, response = event.get("type"), event.get("response")
        name = response.get("id") if type(response) is dict else None
        if kind == "response.created":
            if type(name) is str and len(self._open) < _MOST_ANSWERS:
                self._open.add(name[:_MOST_NAME])
            return False
        if kind == "response.done" and type(name) is str:
            self._open.discard(name[:_MOST_NAME])
        return self._count(response if kind == "response.done" else event)

    def _ended(self, how: Closed) -> None:
        if how.code in _WELL or self._call.record.outcome != "ok":
            return
        error = GatewayError(
            UPSTREAM_BAD,
            f"The provider ended the conversation with code {how.code}.",
            Detail(code="upstream_closed"),
        )
        record, attempt = self._call.record, self._attempt
        record.outcome, record.code = "error", error.code
        attempt.outcome, attempt.fault = error.code, error.fault.name

    def _count(self, said: Any) -> bool:
        used = _usage(said.get("usage")) if type(said) is dict else None
        if used is None:
            return False
        usage = self._usage
        self._usage = replace(
            usage,
            input_tokens=usage.input_tokens + used.input_tokens,
            output_tokens=usage.output_tokens + used.output_tokens,
            cache_read=usage.cache_read + used.cache_read,
        )
        if not self._call.record.first_content:
            self._call.record.first_content = time.monotonic()
        return True

    async def _afford(self) -> None:
        """What has been used beyond what was reserved is reserved now, and as much again as is usual for the
        next answer; where that is refused the conversation ends."""
        used = self._usage.input_tokens + self._usage.output_tokens
        if self.reserve is None or used <= self.reserved:
            return
        more = used - self.reserved + USUAL_OUTPUT
        self.reserved += more
        self.told = await self.reserve(more)
        if self.told is not None:
            record = self._call.record
            record.outcome, record.code = "error", self.told.code

    def _settle(self) -> None:
        self._call.record.usage = self._usage
        # Where nobody has waited for the goodbye.
        task = asyncio.ensure_future(self._socket.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)


# A task that nobody refers to may be collected before it is done.
_closing: set[asyncio.Future[None]] = set()


def _usage(usage: Any) -> Usage | None:
    if type(usage) is not dict:
        return None
    given, made = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if given is None and made is None:
        return None
    whole = given or 0
    cached = part(detail(usage, "input_token_details", "cached_tokens"), whole)
    return Usage(input_tokens=whole, output_tokens=made or 0, cache_read=cached)
