"""A client that writes exactly the bytes it is told to, leaves when it is told to, and reads what comes."""

from __future__ import annotations

import http.client
import io
import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import orjson

from tests.support.live_gateway import LiveGateway

# A header's name and its value, as text or byte for byte.
Header = tuple[str, str | bytes]
_PATIENCE = 10.0


class Reply:
    """One reply: status, headers in order, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]
        self.body = response.read()

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class _Buffer(io.BufferedReader):
    """What was received. http.client would close it with each reply, and lose what it had read ahead."""

    def makefile(self, *_: object) -> _Buffer:
        return self

    def close(self) -> None:
        """Not before the connection."""


class Wire:
    """A connection to the gateway."""

    def __init__(self, gateway: LiveGateway) -> None:
        self._gateway = gateway
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=_PATIENCE)
        self._buffer = _Buffer(socket.SocketIO(self.socket, "r"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def head(
        self,
        method: str,
        path: str,
        headers: Iterable[Header] = (),
        *,
        key: bool = True,
        host: bool = True,
        version: str = "1.1",
    ) -> None:
        """The request line and headers; by default with a Host and the gateway's key."""
        pairs = [*([("host", "gateway.test")] if host else []), *headers]
        if key:
            pairs.append(("x-api-key", self._gateway.key))
        lines = [f"{method} {path} HTTP/{version}".encode()]
        lines += [name.encode() + b": " + (v if isinstance(v, bytes) else v.encode()) for name, v in pairs]
        self.write(b"\r\n".join(lines) + b"\r\n\r\n")

    def post(self, path: str, body: bytes, headers: Iterable[Header] = ()) -> None:
        """A whole request with a JSON body."""
        given = [("content-type", "application/json"), ("content-length", str(len(body))), *headers]
        self.head("POST", path, given)
        self.write(body)

    def chunk(self, data: bytes) -> None:
        """A chunk of a chunked body; b"" is the last."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self, method: str = "POST") -> Reply:
        """Read one whole reply."""
        return _parsed(self._buffer, method)

    def until(self, mark: bytes) -> bytes:
        """Read up to and including `mark`."""
        data = b""
        while mark not in data:
            piece = self.socket.recv(65536)
            assert piece, f"the connection ended before {mark!r}: {data!r}"
            data += piece
        return data

    def rest(self, begun: bytes) -> Reply:
        """The chunked reply that began with these bytes, read to its end."""
        data = begun + self.until(b"\r\n0\r\n\r\n")
        return _parsed(_Buffer(io.BytesIO(data)), "POST")

    def closed(self) -> bool:
        """Wait for the gateway to close the connection; what it still sends is dropped."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def reset(self) -> None:
        """Leave with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def _parsed(buffer: _Buffer, method: str) -> Reply:
    response = http.client.HTTPResponse(buffer, method=method)  # type: ignore[arg-type]  # it only calls makefile
    response.begin()
    return Reply(response)
