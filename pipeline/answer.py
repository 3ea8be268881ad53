"""What a target answers: a refusal, one object or a stream, as the reply in the client's dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from dialects import estimate
from dialects.as_stream import AS_STREAM
from dialects.errors import UPSTREAM_BAD, Detail, GatewayError
from dialects.types import Dialect, JsonObject, Usage
from dialects.upstream_errors import across
from pipeline.call import Call, Deadline, Reply
from pipeline.failures import invalid_response, out_of_time
from pipeline.relay import Relay, Try
from pipeline.request import Exchange
from providers.wire import UpstreamError, UpstreamResponse

# An error page is read this far and no further: enough for any real message.
ERROR_LIMIT = 64 * 1024
# An error's words follow its status at once; a provider that drips them keeps the next target waiting.
ERROR_SECONDS = 5.0
# A whole answer: 2048 embeddings of 3072 numbers are about 60 MB of JSON.
ANSWER_LIMIT = 128 * 1024 * 1024

# Where a whole answer holds what the model said; vectors are no text.
_SAID: Mapping[str, str] = {
    "chat": "choices",
    "completions": "choices",
    "messages": "content",
    "responses": "output",
    "ollama_chat": "message",
    "ollama_generate": "response",
    "embeddings": "",
    "ollama_embed": "",
    "images": "",
    "image_edits": "",
    "image_variations": "",
    "speech": "",
    "transcriptions": "text",
    "translations": "text",
    "rerank": "",
}

# What proxies in front of a provider answer with.
_PAGES = frozenset({"text/html", "text/plain"})
JSON_HEADERS = (("content-type", "application/json"),)
SSE_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    # Proxies in between must neither keep nor gather a stream.
    ("x-accel-buffering", "no"),
)


async def refusal(exchange: Exchange, response: UpstreamResponse) -> GatewayError:
    """What a client is told of a status other than 200."""
    if 300 <= response.status < 400:
        return GatewayError(
            UPSTREAM_BAD, "The provider answered with a redirect.", Detail(code="upstream_redirect")
        )
    if response.status < 400:
        return invalid_response(f"The provider answered with status {response.status}.")
    error = exchange.dialect.error(response.status, response.headers, await _error_body(response))
    return error if exchange.translator is None else across(error)


async def _error_body(response: UpstreamResponse) -> bytes:
    """What a provider says beside a status; nothing where that cannot be read: the status says more."""
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            return await response.read(ERROR_LIMIT)
    except (UpstreamError, TimeoutError):
        return b""


async def streamed(call: Call, exchange: Exchange, response: UpstreamResponse, attempt: Try) -> Reply:
    """A stream, read up to its first content. Raises GatewayError or UpstreamError for one that has none."""
    media = _media(response)
    if media in _PAGES:
        raise invalid_response("The provider answered with a page instead of a stream.")
    if media == "application/json" and exchange.dialect.framing == "sse":
        response = await _unasked(exchange.dialect, response, attempt)
    relay = Relay(call, exchange.dialect, exchange.translator, response, attempt)
    await relay.begin()
    return Reply(200, list(SSE_HEADERS), relay)


def _media(response: UpstreamResponse) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _unasked(dialect: Dialect, response: UpstreamResponse, attempt: Try) -> UpstreamResponse:
    """The stream that a provider should have sent, of the one object that it did send."""
    raw = await _read(response, attempt.deadline)
    try:
        answer = orjson.loads(raw)
        if "error" in answer and not dialect.is_answer(answer):
            raise dialect.error(502, response.headers, raw)
        stream = AS_STREAM[dialect.name](answer) if dialect.is_answer(answer) else b""
    except (ValueError, TypeError, AttributeError, KeyError):
        stream = b""
    if not stream:
        # It has worked on the whole answer, and bills it: nobody else is asked to do that again.
        attempt.attempt.worked = True
        raise GatewayError(
            UPSTREAM_BAD,
            "The provider answered with one object where a stream was asked for.",
            Detail(code="upstream_not_a_stream"),
        )
    return _Told(response, stream)


class _Told:
    """An answer that is all here: its body is one piece, or none when that is taken."""

    def __init__(self, response: UpstreamResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self._body = body

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> _Told:
        return self

    async def __anext__(self) -> bytes:
        body, self._body = self._body, b""
        if not body:
            raise StopAsyncIteration
        return body

    def nudge(self) -> None:
        """Nobody waits for what is here."""

    def at_hand(self, limit: int) -> bytes | None:  # noqa: ARG002 - the protocol's signature
        """It is read in pieces, of which there is one."""
        return None

    async def read(self, limit: int) -> bytes:  # noqa: ARG002 - the protocol's signature; it is read already
        return self._body

    async def aclose(self) -> None:
        """Its connection is free already."""


async def _read(response: UpstreamResponse, deadline: Deadline) -> bytes:
    raw = response.at_hand(ANSWER_LIMIT)
    if raw is None:
        try:
            async with asyncio.timeout(deadline.remaining()):
                raw = await response.read(ANSWER_LIMIT)
        except TimeoutError:
            raise out_of_time() from None
    await response.aclose()
    return raw


async def whole(call: Call, exchange: Exchange, response: UpstreamResponse, attempt: Try) -> Reply:
    """One object, checked and settled. Raises GatewayError or UpstreamError."""
    # A page is some proxy's; anything else the provider has worked for.
    attempt.attempt.worked = _media(response) not in _PAGES
    raw = await _read(response, attempt.deadline)
    try:
        answer = orjson.loads(raw)
    except ValueError:
        raise invalid_response("The provider's answer is not valid JSON.") from None
    if not isinstance(answer, dict) or not exchange.dialect.is_answer(answer):
        raise invalid_response("The provider's answer is not of the expected form.")
    dialect = exchange.dialect
    hop = attempt.attempt.hop
    if hop is not None and hop.said is not None:
        hop.said.take(answer)
    call.record.usage = dialect.usage(answer) or estimated(call, dialect, answer)
    if exchange.translator is not None:
        raw = orjson.dumps(exchange.translator.response(answer))
        if call.record.dropped and call.record.losses == "strict":
            # Nothing was lost on the way there, so it is the answer that cannot be told whole.
            raise invalid_response(
                "The provider's answer cannot be told without loss, and this model's route is strict: "
                + ", ".join(call.record.dropped)
            )
    return Reply(200, list(JSON_HEADERS), raw)


def estimated(call: Call, dialect: Dialect, answer: JsonObject | int) -> Usage | None:
    """Usage of an answer, or of so many characters, whose provider did not count; None for a call that
    uses no model."""
    said = _SAID.get(dialect.name)
    if said is None:
        return None
    chars = answer if isinstance(answer, int) else _chars(answer.get(said))
    return Usage(
        input_tokens=estimate.tokens(call.facts.prompt_chars),
        output_tokens=estimate.tokens(chars),
        source="estimated",
    )


def _chars(value: Any) -> int:
    """Characters of all strings within, however deep."""
    chars = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if type(item) is str:
            chars += len(item)
        elif type(item) is list:
            rest.extend(item)
        elif type(item) is dict:
            rest.extend(item.values())
    return chars
