"""Answers that pass through: JSON, events, or bytes of which nothing is read, such as sound and files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dialects.errors import GatewayError
from dialects.media import PassedDialect
from pipeline.answer import SSE_HEADERS, estimated, whole
from pipeline.call import Call, Reply
from pipeline.failures import as_gateway_error, invalid_response, out_of_time
from pipeline.relay import Relay, Try
from pipeline.request import Exchange
from providers.wire import UpstreamError, UpstreamResponse

# What of a provider's headers goes on with such a body, if it is what it should be.
_PASSING = {
    "content-type": re.compile(r"[\x20-\x7e]{3,200}"),
    "content-disposition": re.compile(r"[\x20-\x7e]{1,400}"),
    "content-length": re.compile(r"[0-9]{1,15}"),
}


async def passed(call: Call, exchange: Exchange, response: UpstreamResponse, attempt: Try) -> Reply:
    """The reply of a surface that nobody translates. Raises GatewayError or UpstreamError."""
    dialect = exchange.dialect
    assert isinstance(dialect, PassedDialect)  # noqa: S101 - a programmer's error, not input
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if dialect.raw != "always":
        if media == "text/event-stream":
            relay = Relay(call, dialect, None, response, attempt)
            await relay.begin()
            return Reply(200, list(SSE_HEADERS), relay)
        if media == "application/json" or dialect.raw == "never":
            return await whole(call, exchange, response, attempt)
        if media == "text/html":
            raise invalid_response("The provider answered with a page.")
    body = RawBody(call, response, attempt)
    await body.begin()
    return Reply(200, list(_headers(response.headers)), body, opaque=True)


def _headers(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    named = dict(given)
    if "content-encoding" in named:
        # What was compressed has been undone, and has another length.
        named.pop("content-length", None)
    named.setdefault("content-type", "application/octet-stream")
    for name, form in _PASSING.items():
        if name in named and form.fullmatch(named[name]):
            yield name, named[name]


class RawBody:
    """The body of a reply as it comes, read no faster than the client takes it. `begin` first: an answer that
    breaks before its first byte can still be made elsewhere. Later a failure raises GatewayError, because
    there is no place within to tell it."""

    def __init__(self, call: Call, response: UpstreamResponse, attempt: Try) -> None:
        self._call = call
        self._response = response
        self._attempt = attempt.attempt
        self._deadline = attempt.deadline
        self._chunks = response.chunks()
        self._first: bytes | None = b""
        self._text = response.headers.get("content-type", "").startswith("text/")
        self._chars = 0

    async def begin(self) -> None:
        """Wait for the first bytes. Raises GatewayError or UpstreamError."""
        self._first = await self._piece()
        self._call.on_close(self._settle)

    def __aiter__(self) -> RawBody:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, b""
        try:
            piece = first or await self._piece() if first is not None else None
        except UpstreamError as error:
            raise self._failed(as_gateway_error(error)) from error
        except GatewayError as error:
            raise self._failed(error) from None
        if piece is None:
            raise StopAsyncIteration
        if self._text:
            self._chars += len(piece)
        return piece

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        await self._response.aclose()

    async def _piece(self) -> bytes | None:
        piece = await anext(self._chunks, None)
        if piece is not None and self._deadline.remaining() <= 0:
            raise out_of_time()
        return piece

    def _failed(self, error: GatewayError) -> GatewayError:
        record = self._call.record
        record.outcome, record.code = "error", error.code
        self._attempt.outcome, self._attempt.fault = error.code, error.fault.name
        return error

    def _settle(self) -> None:
        self._call.record.usage = estimated(self._call, self._call.dialect, self._chars)
