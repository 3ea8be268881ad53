"""uvicorn's bound on the time of a head: it is for heads, never for bodies or for answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn

from gateway_project import uvicorn_server

Message = MutableMapping[str, Any]
_HEAD_SECONDS = 0.2
_HEAD = b"POST /v1/echo HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\n"


async def echo_late(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Reads the body and answers with it after several times what a head may take."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(3 * _HEAD_SECONDS)
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    """Says when it is up, and leaves the signals to pytest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the application above, behind the protocol under test."""
    config = uvicorn.Config(
        echo_late, http=uvicorn_server.Protocol, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = _Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.up.wait()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            server.should_exit = True
            await task


@pytest.fixture(autouse=True)
def short_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_server, "_HEAD_SECONDS", _HEAD_SECONDS)


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One answer in chunks, to its end, or what came before the connection closed."""
    try:
        return await reader.readuntil(b"0\r\n\r\n")
    except asyncio.IncompleteReadError as broken:
        return broken.partial


async def test_a_body_in_packets_of_its_own_does_not_start_the_clock_of_a_head() -> None:
    async with serving() as (reader, writer):
        for _ in range(2):  # the second time on a connection that was in use
            writer.write(_HEAD)
            await asyncio.sleep(0.05)
            writer.write(b"bo")
            await asyncio.sleep(2 * _HEAD_SECONDS)
            writer.write(b"dy")
            said = await answer(reader)
            assert said.startswith(b"HTTP/1.1 200 ")
            assert b"body" in said
            assert b"408" not in said


@pytest.mark.parametrize("before", [b"", _HEAD + b"body"])
async def test_a_head_that_does_not_end_is_refused(before: bytes) -> None:
    async with serving() as (reader, writer):
        if before:
            writer.write(before)
            assert b"body" in await answer(reader)
        writer.write(_HEAD[:30])
        assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")
