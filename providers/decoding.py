"""Undoes a body's content-encoding in bounded steps, so that no small body becomes a huge one unseen."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal, Protocol

import brotli
from backports import zstd

from providers.wire import UpstreamError

# The most that one step gives: what a stream may hold in memory at a time.
STEP = 256 * 1024
# What one answer may unpack to in all. Nobody was asked to compress it, and a megabyte can hold a gigabyte.
DECODED_LIMIT = 64 * 1024 * 1024
_GZIP = zlib.MAX_WBITS | 16
_RAW = -zlib.MAX_WBITS
# Members of a gzip body; each costs more than it gives if it is empty, and servers send one.
_MEMBERS = 100
# The window that a decoder of HTTP's zstd has to have (RFC 9659), and the most memory that one takes here.
_ZSTD_WINDOW_LOG = 23


class Decoder(Protocol):
    """Undoes one body's coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces of at most STEP. Raises UpstreamError "invalid"."""
        ...

    def finish(self) -> None:
        """The body has ended. Raises UpstreamError "truncated" if the compressed stream has not."""
        ...


class Inflate:
    """gzip, or deflate in both of its readings: with zlib's header, as the standard has it, and without."""

    def __init__(self, encoding: Literal["gzip", "deflate"]) -> None:
        self._wbits = _GZIP if encoding == "gzip" else None
        self._inflate = zlib.decompressobj(_GZIP)
        self._start = b""
        self._begun = False
        self._members = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces of at most STEP. Raises UpstreamError "invalid"."""
        if self._wbits is None:
            self._start = data = self._start + data
            if len(data) < 2:
                return
            self._wbits = zlib.MAX_WBITS if _has_zlib_header(data) else _RAW
            self._inflate = zlib.decompressobj(self._wbits)
        self._begun = True
        while data:
            try:
                piece = self._inflate.decompress(data, STEP)
            except zlib.error as error:
                raise _unreadable(error) from error
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof and self._inflate.unused_data:
                data = self._inflate.unused_data  # gzip may have several members
                self._members += 1
                if self._members > _MEMBERS:
                    raise _too_many_parts()
                self._inflate = zlib.decompressobj(self._wbits)

    def finish(self) -> None:
        """The body has ended. Raises UpstreamError "truncated" if the compressed stream has not."""
        if (self._start and not self._begun) or (self._begun and not self._inflate.eof):
            raise _cut()


class Unbrotli:
    """br: one stream, after which nothing comes."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces of at most STEP. Raises UpstreamError "invalid"."""
        self._begun = True
        more = True
        while more:
            try:
                # Its pieces are a block larger than they were asked to be.
                piece = self._stream.process(data, output_buffer_limit=STEP // 4)
            except brotli.error as error:
                raise _unreadable(error) from error
            data = b""
            # It says that it can take more while it has more to give.
            more = not self._stream.is_finished() and (bool(piece) or not self._stream.can_accept_more_data())
            for begin in range(0, len(piece), STEP):
                yield piece[begin : begin + STEP]

    def finish(self) -> None:
        """The body has ended. Raises UpstreamError "truncated" if the compressed stream has not."""
        if self._begun and not self._stream.is_finished():
            raise _cut()


class Unzstd:
    """zstd: frames, one after the other."""

    def __init__(self) -> None:
        self._frame = _zstd_frame()
        self._begun = False
        self._frames = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces of at most STEP. Raises UpstreamError "invalid"."""
        self._begun = True
        while data or not (self._frame.eof or self._frame.needs_input):
            if self._frame.eof:
                self._next_frame()
            try:
                piece = self._frame.decompress(data, max_length=STEP)
            except zstd.ZstdError as error:
                raise _unreadable(error) from error
            if piece:
                yield piece
            data = self._frame.unused_data if self._frame.eof else b""

    def _next_frame(self) -> None:
        self._frames += 1
        if self._frames > _MEMBERS:
            raise _too_many_parts()
        self._frame = _zstd_frame()

    def finish(self) -> None:
        """The body has ended. Raises UpstreamError "truncated" if the compressed stream has not."""
        if self._begun and not self._frame.eof:
            raise _cut()


def _zstd_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


def _unreadable(error: Exception) -> UpstreamError:
    return UpstreamError("invalid", f"the answer is not compressed as it says: {error}", sent=True)


def _too_many_parts() -> UpstreamError:
    return UpstreamError("invalid", "the answer is compressed in too many parts", sent=True)


def _cut() -> UpstreamError:
    return UpstreamError("truncated", "the compressed answer ended early", sent=True)


def _has_zlib_header(data: bytes) -> bool:
    return data[0] & 15 == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0


def decoder(encoding: str) -> Decoder | None:
    """What undoes `encoding` (the header's value); None: nothing to undo. Raises UpstreamError "invalid" for
    one that is not known: the gateway asks for identity, so a provider has no reason to send it."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return Inflate("gzip")
    if name == "deflate":
        return Inflate("deflate")
    if name == "br":
        return Unbrotli()
    if name == "zstd":
        return Unzstd()
    raise UpstreamError("invalid", f"the answer has the unknown content-encoding {name[:40]!r}", sent=True)
