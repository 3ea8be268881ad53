"""Undoes a body's content-encoding in bounded steps, so that no small body becomes a huge one unseen."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from providers.wire import UpstreamError

# The most that one step gives: what a stream may hold in memory at a time.
STEP = 256 * 1024
_GZIP = zlib.MAX_WBITS | 16
_RAW = -zlib.MAX_WBITS


class Inflate:
    """gzip, or deflate in both of its readings (with zlib's header, as the standard has it, and without)."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces of at most STEP. Raises UpstreamError "invalid"."""
        while data:
            piece = self._step(data)
            self._begun = True
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof and self._inflate.unused_data:
                data = self._inflate.unused_data  # gzip may have several members
                self._inflate = zlib.decompressobj(self._wbits)

    def finish(self) -> None:
        """The body has ended. Raises UpstreamError "truncated" if the compressed stream has not."""
        if self._begun and not self._inflate.eof:
            raise UpstreamError("truncated", "the compressed answer ended early", sent=True)

    def _step(self, data: bytes) -> bytes:
        try:
            return self._inflate.decompress(data, STEP)
        except zlib.error as error:
            if self._begun or self._wbits != zlib.MAX_WBITS:
                raise UpstreamError(
                    "invalid", f"the answer is not compressed as it says: {error}", sent=True
                ) from error
        self._wbits = _RAW
        self._inflate = zlib.decompressobj(_RAW)
        return self._step(data)


def decoder(encoding: str) -> Inflate | None:
    """What undoes `encoding` (the header's value); None: nothing to undo. Raises UpstreamError "invalid" for
    one that is not known: the gateway asks for identity, so a provider has no reason to send it."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return Inflate(_GZIP)
    if name == "deflate":
        return Inflate(zlib.MAX_WBITS)
    raise UpstreamError("invalid", f"the answer has the unknown content-encoding {name[:40]!r}", sent=True)
