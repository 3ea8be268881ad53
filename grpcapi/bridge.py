"""From an RPC to the API's own door and back: an ASGI application is called in the RPC's own task, so that
keys, limits, ledger, traces, an RPC that is cancelled and a gateway that drains are dealt with where they are
for HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
# What belongs to one hop, or is said by the bridge.
_NOT_PASSED = frozenset(
    {
        "host",
        "content-type",
        "content-length",
        "content-encoding",
        "te",
        "connection",
        "expect",
        "accept-encoding",
    }
)
_MOST_SECONDS = 999_999.0


class Exchange:
    """One request and its reply. `taken` is called with each piece of the body of a reply that is no error;
    what it raises ends the call. `whole`: the reply has come to its end."""

    def __init__(self, taken: Callable[[bytes], Awaitable[None]] | None = None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.whole = False
        self._taken = taken
        self._parts: list[bytes] = []
        self._body = b""
        self._asked = False

    @property
    def body(self) -> bytes:
        """What nobody took piece by piece."""
        return b"".join(self._parts)

    async def run(
        self,
        application: Application,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
    ) -> None:
        """Make the call."""
        self._body = body
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "2",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        await application(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        # A client that leaves cancels the task.
        await asyncio.Event().wait()
        raise RuntimeError("nothing wakes it")

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]
            }
            return
        self.whole = not message.get("more_body", False)
        piece = message.get("body", b"")
        if not piece:
            return
        if self._taken is not None and self.status < 400:
            await self._taken(piece)
        else:
            self._parts.append(piece)


def headers_of(metadata: Iterable[tuple[str, Any]], seconds: float | None) -> list[tuple[str, str]]:
    """Metadata as headers, with what the door needs. `seconds`: what is left of the RPC's deadline."""
    headers = [
        (name, value)
        for name, value in metadata
        if isinstance(value, str) and name not in _NOT_PASSED and not name.startswith(("grpc-", ":"))
    ]
    if seconds is not None and seconds < _MOST_SECONDS and not _shorter(headers, seconds):
        headers = [each for each in headers if each[0] != "x-gateway-timeout"]
        headers.append(("x-gateway-timeout", f"{max(seconds, 0.001):.3f}"))
    return [*headers, ("host", "grpc"), ("content-type", "application/json")]


def _shorter(headers: Iterable[tuple[str, str]], seconds: float) -> bool:
    """True when the client gives less by the header, or writes there what the door has to judge."""
    for name, value in headers:
        if name == "x-gateway-timeout":
            try:
                return not float(value) > seconds
            except ValueError:
                return True
    return False
