"""uvicorn's bounds: on the time and size of a head, never on bodies or answers, and on readers who rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
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
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


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
async def serving(
    application: Any = echo_late,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the application, behind the protocol under test."""
    config = uvicorn.Config(
        application,
        http=uvicorn_server.Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
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
    monkeypatch.setattr(uvicorn_server.Protocol, "head_seconds", _HEAD_SECONDS)


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


async def test_a_head_that_is_too_large_is_refused_in_json() -> None:
    async with serving() as (reader, writer):
        writer.write(_HEAD[:-2] + b"x-padding: " + b"x" * 20_000 + b"\r\n\r\n")
        said = await reader.read(-1)
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["error"]["code"] == "headers_too_large"


async def test_a_whole_url_is_no_target() -> None:
    async with serving() as (reader, writer):
        writer.write(_HEAD.replace(b"/v1/echo", b"http://elsewhere/v1/echo"))
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 400 ")


_PIECE, _PIECES = b"x" * 65536, 256


async def pour(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """16 MiB, as fast as they are taken."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(_PIECES):
        await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_server.Protocol, "stall_seconds", 0.3)


_GET = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


async def test_a_reader_who_rests_is_given_up(short_rests: None) -> None:
    async with serving(pour) as (reader, writer):
        writer.write(_GET)
        await reader.readexactly(1000)
        await asyncio.sleep(1.5)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 20):
                taken += len(piece)
        assert taken < len(_PIECE) * _PIECES


async def test_a_slow_and_steady_reader_gets_all(short_rests: None) -> None:
    async with serving(pour) as (reader, writer):
        writer.write(_GET)
        taken = 0
        while piece := await reader.read(1 << 18):
            taken += len(piece)
            await asyncio.sleep(0.02)
        assert taken > len(_PIECE) * _PIECES
