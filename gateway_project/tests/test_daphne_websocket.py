"""WebSockets go Daphne's way, and cannot take the server with them."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator

import pytest

from gateway_project.daphne.websocket import WebSocket
from gateway_project.tests.daphne_wire import Served, Wire, ask, serving, until

TEXT, CLOSE = 1, 8


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


async def opened(wire: Wire, path: str, *headers: str) -> int:
    """Ask for a WebSocket; the reply's status."""
    wire.get(
        path,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
    head = await wire.head()
    if head.status == 101:
        assert head.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert head.header("server") is None
    return head.status


def say(wire: Wire, kind: int, payload: bytes) -> None:
    """Send one small frame, masked as a client's is."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))
    wire.send(bytes([0x80 | kind, 0x80 | len(payload)]), mask, masked)


async def heard(wire: Wire) -> tuple[int, bytes]:
    """The next small frame."""
    async with asyncio.timeout(10):
        first, size = await wire.reader.readexactly(2)
        assert size < 126
        return first & 0x0F, await wire.reader.readexactly(size)


async def test_a_websocket_echoes_and_closes(served: Served) -> None:
    async with await Wire.open(served) as wire:
        assert await opened(wire, "/ws", "Daphne-Root-Path: /elsewhere") == 101
        for word in (b"one", b"two"):
            say(wire, TEXT, word)
            # The root path would stand before it.
            assert await heard(wire) == (TEXT, word)
        say(wire, CLOSE, struct.pack("!H", 1000))
        assert (await heard(wire))[0] == CLOSE
    await until(served, "websocket gone 1000")


async def test_a_client_that_leaves_is_reported(served: Served) -> None:
    async with await Wire.open(served) as wire:
        assert await opened(wire, "/ws") == 101
    await until(served, "websocket gone 1006")


async def test_a_websocket_after_a_request_on_the_same_connection(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/ready")
        assert (await wire.answer()).status == 200
        assert await opened(wire, "/ws") == 101


async def test_a_refused_one_is_a_403(served: Served) -> None:
    async with await Wire.open(served) as wire:
        assert await opened(wire, "/ws/refused") == 403
        await wire.ends()


async def test_a_failing_application_ends_its_own_connection_only() -> None:
    with serving() as served:
        for _ in range(2):
            async with await Wire.open(served) as wire:
                assert await opened(wire, "/ws/unaccepted") == 403
                await wire.ends()
            async with await Wire.open(served) as wire:
                assert await opened(wire, "/ws/fails") == 101
                kind, payload = await heard(wire)
                assert (kind, struct.unpack("!H", payload[:2])) == (CLOSE, (1011,))
        assert (await ask(served, "/ready")).status == 200
        served.process.terminate()
        _, log = served.said()
    assert log.count("application_failed") == 4
    assert "secret" not in log


async def test_a_bad_handshake_is_refused(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/ws", "Upgrade: websocket", "Connection: Upgrade")
        assert (await wire.head()).status == 400


async def test_it_is_told_that_the_server_goes_away() -> None:
    with serving(notice_seconds=0, drain_seconds=600) as served:
        async with await Wire.open(served) as wire:
            assert await opened(wire, "/ws") == 101
            served.process.terminate()
            kind, payload = await heard(wire)
            assert (kind, struct.unpack("!H", payload[:2])) == (CLOSE, (1001,))
            say(wire, CLOSE, payload[:2])
            assert served.said()[0] == ["stopped", "ended"]


def test_a_message_of_countless_pieces_takes_no_more_than_it_says() -> None:
    socket = WebSocket()
    socket.failedByMe, socket.message_data = False, []
    for piece in [b"a", b"", b"b", *[b""] * 1000, b"c"]:
        socket.onMessageFrame([piece])
    assert len(socket.message_data) == 1
    assert b"".join(socket.message_data) == b"abc"
