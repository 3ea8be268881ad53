"""A whole call in one process without a socket: uvicorn's protocol in front, the gateway, its pool behind.

What it costs is counted in calls of functions, which do not depend on the machine or on what else it does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from gateway_project.uvicorn_server import Protocol
from providers.connection import Connection
from providers.pool import Key, Pool
from providers.transport import PooledTransport
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway

PROVIDER = "http://provider.test"
# Of the event loop, until what was woken has done its work.
_TURNS = 3
_KEY = Key(tls=False, host="provider.test", port=80, allow_private=True)


class Wire(asyncio.Transport):
    """A connection's other end: tells what is written to it, and never fills up."""

    def __init__(self, told: Callable[[bytes], None]) -> None:
        super().__init__()
        self._told = told
        self._closing = False

    def write(self, data: Any) -> None:
        self._told(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default


class Bench:
    """Calls through a gateway, one after the other. `answer`: the packets in which the provider answers each
    of them."""

    def __init__(self, answer: list[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer = answer
        self._got = bytearray()
        self._end = b""
        self._over: asyncio.Future[bytes] | None = None
        self._answering: asyncio.Task[None] | None = None
        # It serves nobody here: only its addresses are asked for.
        gateway = LiveGateway(FakeUpstream())
        openai = gateway.provider("openai", base_url=f"{PROVIDER}/v1")
        gateway.use(gateway.snapshot([gateway.route("gpt-*", openai)]))
        self.key = gateway.key
        self.gateway = gateway
        inner = gateway.transport._inner
        assert isinstance(inner, PooledTransport)
        self._supply(inner.pool)
        config = uvicorn.Config(cast(Any, gateway.door), http=Protocol, lifespan="off", log_config=None)
        config.load()
        self._client = Protocol(config, ServerState(), {})
        self._client.connection_made(Wire(self._replied))

    def _supply(self, pool: Pool) -> None:
        """Give the pool a connection whose provider answers at once, packet by packet."""
        connection = Connection(pool, _KEY)

        async def answer() -> None:
            for packet in self._answer:
                pool.scratch[: len(packet)] = packet
                connection.buffer_updated(len(packet))
                # Time for each packet to be carried on before the next one comes.
                for _ in range(_TURNS):
                    await asyncio.sleep(0)

        def asked(_: bytes) -> None:
            self._answering = self._loop.create_task(answer())

        connection.connection_made(Wire(asked))
        pool.release(connection)

    def _replied(self, data: bytes) -> None:
        self._got += data
        if self._over is not None and not self._over.done() and self._got.endswith(self._end):
            self._over.set_result(bytes(self._got))

    async def ask(self, request: bytes, end: bytes) -> bytes:
        """Send the bytes of a request; what came back until it ended with `end`."""
        self._got.clear()
        self._end = end
        self._over = self._loop.create_future()
        self._client.data_received(request)
        reply = await self._over
        # What is left to do when the client has its answer belongs to the call.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return reply


def request(key: str, body: bytes) -> bytes:
    """A call as an SDK sends it."""
    lines = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: gateway.test",
        b"accept: application/json",
        b"content-type: application/json",
        b"user-agent: OpenAI/Python 3.54.0",
        b"authorization: Bearer " + key.encode(),
        b"content-length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Counted:
    """Counts the calls of functions, Python's and C's, while it is open. `names`: of which."""

    def __init__(self) -> None:
        self.calls = 0
        self.names: Counter[str] = Counter()

    def __enter__(self) -> Counted:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            self.calls += 1
            self.names[f"{code.co_filename.rpartition('/')[2]}:{code.co_name}"] += 1
        elif event == "c_call":
            self.calls += 1
            self.names[f"C {getattr(arg, '__qualname__', arg)} in {frame.f_code.co_name}"] += 1
