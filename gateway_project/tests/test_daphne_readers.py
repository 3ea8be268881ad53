"""Clients that read slowly, not at all, or leave: memory stays bounded, and the application hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_project.tests.daphne_wire import PATIENCE, Served, Wire, ask, events, eventually, serving, until

MIB = 1024 * 1024
PROC = Path("/proc")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(stall_seconds=2, abandoned_seconds=1) as server:
        yield server


async def lazily(served: Served, path: str) -> socket.socket:
    """A connection that has asked, of which nothing is read and little is taken by the kernel."""
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(lazy, ("127.0.0.1", served.port))
    await loop.sock_sendall(lazy, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return lazy


async def test_d2_a_reply_waits_for_its_reader(served: Served) -> None:
    before = served.rss
    with await lazily(served, "/flood?2048") as lazy:
        await until(served, "GET /flood")
        await asyncio.sleep(1)
        # 128 MiB were asked for; what is held is in the kernel's buffers, which are not in this figure.
        assert served.rss - before < 16 * MIB
        loop = asyncio.get_running_loop()
        read = 0
        async with asyncio.timeout(PATIENCE * 2):
            while read < 128 * MIB:
                piece = await loop.sock_recv(lazy, MIB)
                assert piece
                read += len(piece)
    assert served.rss - before < 16 * MIB
    await until(served, "flood whole")


async def test_c6_a_reader_that_stops_is_dropped(served: Served) -> None:
    with await lazily(served, "/flood?4096") as lazy:
        await until(served, "flood gone")
        loop = asyncio.get_running_loop()
        # What was in the kernel's buffers may still be read; then the reset.
        read = 1
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while read:
                    read = len(await loop.sock_recv(lazy, MIB))
        assert read > 0, "the reply ended as if it were whole"


async def test_a_reader_that_stops_before_the_last_bytes_is_dropped_too(served: Served) -> None:
    with await lazily(served, "/flood?150") as lazy:
        await until(served, "flood gone")
        assert lazy.fileno() > 0


@pytest.mark.slow
async def test_a_slow_reader_is_not_dropped() -> None:
    with serving(stall_seconds=2) as served, await lazily(served, "/flood?400") as lazy:
        loop = asyncio.get_running_loop()
        read = 0
        async with asyncio.timeout(PATIENCE * 2):
            # For longer than the stall time so slowly that the server can write nothing for most of it.
            enough = loop.time() + 5
            while loop.time() < enough:
                read += len(await loop.sock_recv(lazy, 4096))
                await asyncio.sleep(0.04)
            while read < 400 * 65536:
                piece = await loop.sock_recv(lazy, MIB)
                assert piece
                read += len(piece)
        await until(served, "flood whole")


async def test_c2_a_client_that_leaves_is_reported(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/wait")
        await until(served, "GET /wait")
    await until(served, "disconnected")


@pytest.mark.parametrize("path", ["/wait", "/stream?10000"])
async def test_c2_a_reset_that_comes_together_with_the_request_is_reported(served: Served, path: str) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/ready")
        await wire.answer()
        before = (await events(served)).count("disconnected")
        connection: socket.socket = wire.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Both arrive before the server looks.
        served.process.send_signal(signal.SIGSTOP)
        wire.get(path)
        wire.writer.transport.abort()
        await asyncio.sleep(0.1)
        served.process.send_signal(signal.SIGCONT)

    async def reported() -> bool:
        return (await events(served)).count("disconnected") > before

    await eventually(reported)


async def test_c3_in_the_middle_of_a_stream_too(served: Served) -> None:
    before = (await events(served)).count("flood gone")

    async def reported() -> bool:
        return (await events(served)).count("flood gone") > before

    async with await Wire.open(served) as wire:
        wire.get("/flood?100000")
        await wire.head()
        await wire.reader.readexactly(MIB)
    await eventually(reported)


async def test_one_that_leaves_in_the_middle_of_its_body(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        await until(served, "POST /half")
    assert "body 4" not in await events(served)
    assert (await ask(served, "/ready")).status == 200


async def test_d8_an_application_that_does_not_listen_is_cancelled(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/deaf")
        await until(served, "GET /deaf")
    await until(served, "cancelled")


async def test_an_application_that_reads_slowly_makes_its_client_wait() -> None:
    with serving(max_body=200 * MIB) as served:
        before = served.rss
        async with await Wire.open(served) as wire:
            # It reads nothing for half a second, while 64 MiB are sent.
            wire.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            peak = 0
            for _ in range(64):
                wire.send(b"b" * MIB)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wire.writer.drain(), 0.02)
                peak = max(peak, served.rss)
            assert peak - before < 16 * MIB
            assert (await wire.answer()).body == b"slow"


async def test_many_that_come_and_go_leave_nothing_behind(served: Served) -> None:
    await ask(served, "/ready")

    async def come_and_go(number: int) -> None:
        async with await Wire.open(served) as wire:
            if number % 4:
                wire.get("/wait" if number % 2 else "/stream?100")
            if number % 8 > 3:
                await asyncio.sleep(0.05)

    before = len(open_files(served))
    for start in range(0, 200, 50):
        await asyncio.gather(*(come_and_go(number) for number in range(start, start + 50)))

    async def all_gone() -> bool:
        return len(open_files(served)) <= before

    await eventually(all_gone)


def open_files(served: Served) -> list[str]:
    """The server's open sockets and files."""
    return [name.name for name in (PROC / str(served.process.pid) / "fd").iterdir()]


async def test_an_address_may_take_more() -> None:
    size = 3 * MIB
    with serving(max_body=MIB, larger={"/echo/much": 4 * MIB}) as served:
        for path, status in ((b"/echo/much", 200), (b"/echo", 413)):
            async with await Wire.open(served) as wire:
                wire.send(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path, size))
                if status == 200:
                    wire.send(b"b" * size)
                assert (await wire.answer()).status == status
