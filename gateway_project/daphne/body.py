"""A request's body on the wire: where it ends, and that it stays under the cap."""

from __future__ import annotations

from collections.abc import Callable

# Twisted's decoder of chunks is private, and the strictest there is; its public door is the parser that would
# bring everything else with it.
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from dialects.errors import SIZE, GatewayError, bad_request


class Body:
    """Feeds what arrives to `take` until the body is complete; `rest` is then what came behind it.

    `length` is in bytes, None for chunks; `cap` too. GatewayError 413 from the constructor or from `feed` for
    more than the cap, 400 for chunks that are malformed."""

    __slots__ = ("_cap", "_chunks", "_left", "_take", "complete", "rest")

    def __init__(self, length: int | None, cap: int, take: Callable[[bytes], object]) -> None:
        if length is not None and length > cap:
            raise _too_large(cap)
        self.complete = length == 0
        self.rest = b""
        self._cap = cap
        self._left = cap if length is None else length
        self._take = take
        self._chunks = _ChunkedTransferDecoder(self._chunk, self._end) if length is None else None

    def feed(self, data: bytes) -> None:
        """Take the next bytes from the wire. Nothing is fed after `complete`."""
        if self._chunks is not None:
            try:
                self._chunks.dataReceived(data)
            except _MalformedChunkedDataError:
                raise bad_request("The request's chunks are malformed.", code="malformed_request") from None
            return
        size = len(data)
        if size < self._left:
            self._left -= size
            self._take(data)
        else:
            piece, rest = (data, b"") if size == self._left else (data[: self._left], data[self._left :])
            self._take(piece)
            self._end(rest)

    def _chunk(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._cap)
        self._take(data)

    def _end(self, rest: bytes) -> None:
        self.complete = True
        self.rest = rest


def _too_large(cap: int) -> GatewayError:
    return GatewayError(SIZE, f"The request body is larger than {cap} bytes.")
