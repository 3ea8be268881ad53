"""A fake of OpenAI's realtime API: a WebSocket server in a thread of its own, which answers as OpenAI does,
or as a test says.

    with FakeRealtime() as fake:
        fake.url                     # for a provider's base URL
        fake.handshakes              # path with query and headers of each, first to last
        fake.heard                   # all that clients said
        fake.closes                  # with which code each WebSocket ended
        fake.refuse(429, {"error": {...}})     # the next handshakes
        fake.behave(handler)         # instead of the usual conversation: an async function of the WebSocket

The usual conversation: `session.created`; a `response.create` is answered by `response.created`, a delta and
`response.done` with usage; `session.update` by `session.updated`; bytes come back as they are.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

USAGE = {
    "total_tokens": 30,
    "input_tokens": 20,
    "output_tokens": 10,
    "input_token_details": {"cached_tokens": 8, "text_tokens": 5, "audio_tokens": 15},
    "output_token_details": {"text_tokens": 4, "audio_tokens": 6},
}
Handler = Callable[[ServerConnection], Awaitable[None]]


class FakeRealtime:
    """Its lists grow while it runs, and may be read from any thread."""

    def __init__(self) -> None:
        self.handshakes: list[tuple[str, dict[str, str]]] = []
        self.heard: list[str | bytes] = []
        self.closes: list[int | None] = []
        self.port = 0
        self.usage: dict[str, Any] = USAGE
        # How long each handshake waits for its answer.
        self.handshake_seconds = 0.0
        self._refusal: tuple[int, bytes] | None = None
        self._handler: Handler = self._usual
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def refuse(self, status: int, body: Any = None) -> None:
        """Answer handshakes with this status from now on; 0: no more."""
        self._refusal = (status, json.dumps(body).encode()) if status else None

    def behave(self, handler: Handler) -> None:
        """Do this with the WebSockets that come."""
        self._handler = handler

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(self._serve())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _serve(self) -> Server:
        server = await serve(
            self._carry, "127.0.0.1", 0, process_request=self._judge, max_size=32 << 20, compression=None
        )
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        self.handshakes.append((request.path, headers))
        await asyncio.sleep(self.handshake_seconds)
        if self._refusal is None:
            return None
        status, body = self._refusal
        response = connection.respond(HTTPStatus(status), body.decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    async def _carry(self, socket: ServerConnection) -> None:
        try:
            await self._handler(socket)
        except ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            self.closes.append(socket.close_code)

    async def _usual(self, socket: ServerConnection) -> None:
        await say(socket, type="session.created", session={"id": "sess_1", "object": "realtime.session"})
        async for message in socket:
            self.heard.append(message)
            if isinstance(message, bytes):
                await socket.send(message)
                continue
            event = json.loads(message)
            if event["type"] == "session.update":
                await say(socket, type="session.updated", session=event["session"])
            elif event["type"] == "response.create":
                await self.respond(socket)

    async def respond(self, socket: ServerConnection) -> None:
        """One response."""
        await say(socket, type="response.created", response={"id": "resp_1", "status": "in_progress"})
        await say(socket, type="response.output_text.delta", delta="Hello", response_id="resp_1")
        done = {"id": "resp_1", "status": "completed", "usage": self.usage}
        await say(socket, type="response.done", response=done)


async def say(socket: ServerConnection, **event: Any) -> None:
    """One event."""
    await socket.send(json.dumps({"event_id": "event_1", **event}))
