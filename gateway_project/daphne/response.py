"""One reply as bytes: its head, and how its end is marked so that no broken reply looks whole."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}
# What belongs to the connection, which is the server's.
_OURS = frozenset(
    {b"connection", b"content-length", b"transfer-encoding", b"keep-alive", b"date", b"server", b"upgrade"}
)
_NO_BODY = (204, 304)
LAST_CHUNK = b"0\r\n\r\n"


def date_line() -> bytes:
    """The Date header, which RFC 9110 6.6.1 asks of every server that has a clock."""
    return f"date: {formatdate(usegmt=True)}\r\n".encode("ascii")


class Response:
    """Turns ASGI's messages into bytes. `close` is true when the connection ends with this reply."""

    __slots__ = ("_bodiless", "_chunked", "_head", "_left", "_lines", "_status", "begun", "close")

    def __init__(self, *, head_only: bool, close: bool) -> None:
        self.begun = False
        self.close = close
        self._bodiless = head_only
        self._status = 0
        self._head: list[bytes] = []
        self._lines = 0
        self._left: int | None = None
        self._chunked = False

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep the head until the body's first piece says how long the body is. RuntimeError when it has been
        given; ValueError for what cannot be a final reply's head."""
        if self._status:
            raise RuntimeError("http.response.start was sent twice")
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not the status of a final reply")
        self._status = status
        parts = [line]
        for name, value in headers:
            lowered = name.lower()
            if lowered not in _OURS:
                parts.append(b"%b: %b\r\n" % (name, value))
            elif lowered == b"content-length":
                self._left = int(value)
            elif lowered == b"connection":
                self.close = self.close or b"close" in value.lower()
        self._head = parts
        self._lines = len(parts)

    def body(self, data: bytes, date: bytes, *, more: bool, chunks: bool) -> bytes:
        """The bytes for one piece of the body, with the head before the first and the end after the last.

        `chunks` says that the client knows them. RuntimeError before `start`, or when the body does not have
        the length that its head has promised."""
        if self.begun:
            return self._piece(data, more=more)
        if not self._status:
            raise RuntimeError("http.response.body was sent before http.response.start")
        framing = self._framing(len(data), more=more, chunks=chunks)
        self._head += (date, framing, b"connection: close\r\n\r\n" if self.close else b"\r\n")
        head = b"".join(self._head)
        # A line's end inside a name or value would let the application's data write headers, or replies.
        lines = self._lines + 2 + bool(framing) + self.close
        if head.count(b"\r") != lines or head.count(b"\n") != lines or b"\0" in head:
            raise ValueError("a header of the reply has a control character")
        self.begun = True
        self._head = []
        return head + self._piece(data, more=more)

    def _framing(self, size: int, *, more: bool, chunks: bool) -> bytes:
        if self._status in _NO_BODY:
            self._bodiless = True
            # A 304 may say how long the answer to a GET would be; a 204 has no length.
            length = self._left if self._status == HTTPStatus.NOT_MODIFIED else None
        elif self._bodiless:
            length = self._left if self._left is not None or more else size
        elif self._left is None and more:
            self._chunked = chunks
            self.close = self.close or not chunks
            return b"transfer-encoding: chunked\r\n" if chunks else b""
        else:
            self._left = size if self._left is None else self._left
            length = self._left
        return b"" if length is None else b"content-length: %d\r\n" % length

    def _piece(self, data: bytes, *, more: bool) -> bytes:
        if self._bodiless:
            return b""
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            return piece if more else piece + LAST_CHUNK
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body does not have the length that its head has promised")
        return data
