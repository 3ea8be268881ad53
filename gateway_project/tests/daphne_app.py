"""A small ASGI application under the Daphne server, for its tests.

    python -m gateway_project.tests.daphne_app '{"head_seconds": 1}'

prints its port and serves. What happened inside is told at /events.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway_project.daphne_server import DaphneOptions, serve_daphne
from gateway_project.logs import configure
from pipeline.call import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PIECE = b"p" * 65536


class FakeGateway:
    """Tells of its life on standard output, where a test can still read when the process has gone."""

    def __init__(self, *, fails: bool) -> None:
        self.draining = False
        self.over = asyncio.Event()
        self._fails = fails
        self.refusals: list[Refusal] = []

    async def start(self) -> None:
        if self._fails:
            raise ConnectionError("the configuration cannot be read")
        say("started")

    async def stop(self) -> None:
        say("stopped")

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def cut(self) -> None:
        say("cut")
        self.over.set()


class App:
    """Each path is one way of behaving."""

    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self.events: list[str] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        self.events.append(f"{scope['method']} {scope['path']}")
        ways = {
            "/ready": self.ready,
            "/events": self.tell,
            "/scope": self.scope,
            "/early": self.early,
            "/slow": self.slow,
            "/stream": self.stream,
            "/fail/before": self.fail_before,
            "/fail/started": self.fail_started,
            "/fail/middle": self.fail_middle,
            "/short": self.short,
            "/long": self.long,
            "/inject": self.inject,
            "/silent": self.silent,
            "/empty": self.empty,
            "/flood": self.flood,
            "/wait": self.wait,
            "/deaf": self.deaf,
            "/nodelay": self.nodelay,
            "/refused": self.refused,
        }
        await ways.get(scope["path"], self.echo)(scope, receive, send)

    async def ready(self, scope: Any, receive: Receive, send: Send) -> None:
        await reply(send, b"", 503 if self.gateway.draining else 200)

    async def tell(self, scope: Any, receive: Receive, send: Send) -> None:
        await reply(send, json.dumps(self.events).encode())

    async def refused(self, scope: Any, receive: Receive, send: Send) -> None:
        told = [[refusal.status, refusal.code] for refusal in self.gateway.refusals]
        await reply(send, json.dumps(told).encode())

    async def scope(self, scope: Any, receive: Receive, send: Send) -> None:
        told = {name: value for name, value in scope.items() if name != "extensions"}
        await reply(send, json.dumps(told, default=lambda raw: raw.decode("latin-1")).encode())

    async def echo(self, scope: Any, receive: Receive, send: Send) -> None:
        body = await whole(receive)
        self.events.append(f"body {len(body)}")
        await reply(send, body)

    async def early(self, scope: Any, receive: Receive, send: Send) -> None:
        await reply(send, b"no need to read", 401)

    async def slow(self, scope: Any, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.5)
        await reply(send, b"slow")
        self.events.append("slow done")

    async def stream(self, scope: Any, receive: Receive, send: Send) -> None:
        """As many pieces as the query says, one each 50 ms; ended in-band when the gateway is cut."""
        gone = asyncio.ensure_future(disconnected(receive))
        await start(send)
        for number in range(int(scope["query_string"] or b"5")):
            await send({"type": "http.response.body", "body": b"piece %d\n" % number, "more_body": True})
            await asyncio.sleep(0.05)
            if gone.done() or self.gateway.over.is_set():
                break
        if gone.done():
            self.events.append("disconnected")
            return
        gone.cancel()
        await send(
            {"type": "http.response.body", "body": b"cut\n" if self.gateway.over.is_set() else b"end\n"}
        )

    async def fail_before(self, scope: Any, receive: Receive, send: Send) -> None:
        raise ValueError("a secret prompt")

    async def fail_started(self, scope: Any, receive: Receive, send: Send) -> None:
        await start(send)
        raise ValueError("a secret prompt")

    async def fail_middle(self, scope: Any, receive: Receive, send: Send) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.sleep(0.1)
        raise ValueError("a secret prompt")

    async def short(self, scope: Any, receive: Receive, send: Send) -> None:
        await start(send, [(b"content-length", b"10")])
        await send({"type": "http.response.body", "body": b"short"})

    async def long(self, scope: Any, receive: Receive, send: Send) -> None:
        await start(send, [(b"content-length", b"4")])
        await send({"type": "http.response.body", "body": b"four", "more_body": True})
        await send({"type": "http.response.body", "body": b"HTTP/1.1 200 OK\r\n\r\n"})

    async def inject(self, scope: Any, receive: Receive, send: Send) -> None:
        await start(send, [(b"x-name", b"value\r\nset-cookie: stolen")])
        await send({"type": "http.response.body", "body": b""})

    async def silent(self, scope: Any, receive: Receive, send: Send) -> None:
        """Goes away without an answer."""

    async def empty(self, scope: Any, receive: Receive, send: Send) -> None:
        await reply(send, b"not to be sent", int(scope["query_string"]))

    async def flood(self, scope: Any, receive: Receive, send: Send) -> None:
        """As many pieces of 64 KiB as the query says, and what came of it among the events."""
        await start(send)
        gone = asyncio.ensure_future(disconnected(receive))
        sent = 0
        while sent < int(scope["query_string"]) and not gone.done():
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            sent += 1
        gone.cancel()
        self.events.append(f"flood {'gone' if gone.done() else 'whole'}")
        await send({"type": "http.response.body", "body": b""})

    async def wait(self, scope: Any, receive: Receive, send: Send) -> None:
        await disconnected(receive)
        self.events.append("disconnected")

    async def deaf(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise

    async def nodelay(self, scope: Any, receive: Receive, send: Send) -> None:
        """TCP_NODELAY of the socket that this request came over."""
        for name in os.listdir("/proc/self/fd"):
            try:
                with socket.socket(fileno=os.dup(int(name))) as mine:
                    if list(mine.getpeername()[:2]) == scope["client"]:
                        await reply(send, b"%d" % mine.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                        return
            except OSError:
                continue

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/ws/refused":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["path"] == "/ws/unaccepted":
            raise ValueError("a secret prompt")
        await send({"type": "websocket.accept"})
        if scope["path"] == "/ws/fails":
            raise ValueError("a secret prompt")
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{scope['root_path']}{message['text']}"})
        self.events.append(f"websocket gone {message['code']}")


async def start(send: Send, headers: list[tuple[bytes, bytes]] | None = None, status: int = 200) -> None:
    """The reply's head."""
    await send({"type": "http.response.start", "status": status, "headers": headers or []})


async def reply(send: Send, body: bytes, status: int = 200) -> None:
    """A whole reply."""
    await start(send, [(b"content-type", b"application/json")], status)
    await send({"type": "http.response.body", "body": body})


async def whole(receive: Receive) -> bytes:
    """The request's body."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has left")
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def disconnected(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def say(word: str) -> None:
    """One line for the test."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve with the options of the first argument."""
    configure("info", as_json=True)
    wishes = json.loads(sys.argv[1])
    fails = wishes.pop("fails_to_start", False)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    say(str(listener.getsockname()[1]))
    serve_daphne(App(FakeGateway(fails=fails)), [listener], DaphneOptions(**wishes))
    say("ended")


if __name__ == "__main__":
    main()
