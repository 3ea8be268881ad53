"""Writing a request: long bodies in step with the network, answers that come before its end, and IPv6."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from providers.connection import WRITE_SIZE, Connection
from providers.egress import Resolver
from providers.tests.asking import ask, fetch, until
from providers.transport import HttpTransport, PooledTransport
from providers.wire import UpstreamError
from tests.support.fake_upstream import FakeUpstream
from tests.support.tls import server_context
from tests.support.upstream.script import Json

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LONG = bytes(20 * 1024 * 1024)
EARLY = b"HTTP/1.1 413 Content Too Large\r\n"
TIMES = 20


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server that does with each connection what `handler` does, and then closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except OSError:
            pass  # the client may be gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


def only(inner: PooledTransport) -> Connection:
    (connection,) = inner.pool._open
    return connection


@pytest.mark.parametrize("end", ["closes", "stays", "half closes"])
async def test_an_answer_before_the_end_of_the_request_is_heard(
    transport: HttpTransport, inner: PooledTransport, end: str
) -> None:
    over = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if end == "half closes":  # the end of the body is the end of the connection
            writer.write(EARLY + b"\r\n{}")
            writer.write_eof()
        else:
            writer.write(EARLY + b"content-length: 2\r\n\r\n{}")
        if end != "closes":
            await over.wait()

    async with serving(refuse) as url:
        for _ in range(5):
            response = await transport.send(ask(url, LONG))
            assert (response.status, await response.read(10)) == (413, b"{}")
        # Never used again: what follows on it would be read as the rest of the body.
        await until(lambda: inner.pool.size == 0)
        over.set()


async def test_a_long_body_is_handed_on_as_the_network_takes_it(
    transport: HttpTransport, inner: PooledTransport
) -> None:
    go = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        body = await reader.readexactly(len(LONG))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\nconnection: close\r\n\r\n")
        writer.write(hashlib.sha256(body).hexdigest().encode())

    async with serving(late) as url:
        asking = asyncio.ensure_future(fetch(transport, ask(url, LONG)))
        await until(lambda: inner.pool.size)
        await asyncio.sleep(0.1)
        held = only(inner)._transport
        assert held is not None
        assert 0 < held.get_write_buffer_size() <= WRITE_SIZE
        assert not only(inner).all_sent
        go.set()
        assert await asking == hashlib.sha256(LONG).hexdigest().encode()


async def test_a_client_that_leaves_within_a_long_body_closes_the_upstream(
    transport: HttpTransport, inner: PooledTransport
) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await asyncio.sleep(0.05)
        while await reader.read(1 << 20):
            pass
        gone.set()

    async with serving(listen) as url:
        asking = asyncio.ensure_future(transport.send(ask(url, LONG)))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(1.0):
            await gone.wait()
        assert inner.pool.size == 0


@pytest.mark.parametrize("size", [WRITE_SIZE, WRITE_SIZE + 1, 5 * 1024 * 1024])
async def test_long_bodies_travel_over_tls_on_one_connection(tmp_path: Path, size: int) -> None:
    context, pem = server_context(tmp_path)
    fake = FakeUpstream(tls=context).start()
    fake.script("", lambda request: [Json(200, request.body)], check=False)
    transport = HttpTransport(PooledTransport(tls=ssl.create_default_context(cafile=str(pem))))
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for turn in (1, 2):
        assert await fetch(transport, ask(fake.url, body)) == body
        assert fake.last.turn == turn
    await transport.aclose()
    fake.stop()


async def test_an_early_answer_over_tls_is_heard(tmp_path: Path) -> None:
    context, pem = server_context(tmp_path)
    transport = HttpTransport(PooledTransport(tls=ssl.create_default_context(cafile=str(pem))))
    over = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EARLY + b"content-length: 2\r\n\r\n{}")
        await over.wait()

    async with serving(refuse, context) as url:
        response = await transport.send(ask(url, LONG))
        assert (response.status, await response.read(10)) == (413, b"{}")
        over.set()
        await transport.aclose()


async def test_ipv6_is_spoken(transport: HttpTransport, inner: PooledTransport) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, sock=listener):
        host = f"[::1]:{listener.getsockname()[1]}"
        for _ in range(2):
            assert await fetch(transport, ask(f"http://{host}/", b"{}")) == b"ok"
    assert [head.split(b"\r\n")[1] for head in heads] == [b"host: " + host.encode()] * 2
    await until(lambda: inner.pool.size == 0)


@pytest.mark.parametrize("method", ["HEAD", "CONNECT"])
async def test_methods_whose_answers_end_otherwise_are_refused(
    transport: HttpTransport, upstream: FakeUpstream, method: str
) -> None:
    with pytest.raises(UpstreamError) as raised:
        await transport.send(ask(upstream.url, method=method))
    assert (raised.value.reason, raised.value.sent) == ("invalid", False)
    assert not upstream.requests


async def test_a_transport_closed_while_connecting_keeps_nothing(upstream: FakeUpstream) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(host: str) -> list[str]:
        asked.set()
        release.wait()
        return ["127.0.0.1"]

    inner = PooledTransport(resolver=Resolver(slow))
    asking = asyncio.ensure_future(HttpTransport(inner).send(ask(f"http://slow.example:{upstream.port}/")))
    await until(asked.is_set)
    await inner.aclose()
    release.set()
    with pytest.raises(UpstreamError, match="closed"):
        await asking
    await until(lambda: inner.pool.size == 0 and upstream.open_connections == 0)


async def test_an_offer_to_upgrade_is_an_ordinary_answer(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Json(200, {}, {"connection": "upgrade", "upgrade": "h2c"})], check=False)
    assert await fetch(transport, ask(upstream.url)) == b"{}"


async def test_a_refusal_is_not_lost_to_a_provider_that_closes_at_once(transport: HttpTransport) -> None:
    # In a thread, since the reset has to come while we write. What the provider leaves unread makes its
    # closing a reset, and writing into that would fail before the refusal is read.
    def refuse(listener: socket.socket) -> None:
        with listener:
            for _ in range(TIMES):
                connection = listener.accept()[0]
                with connection:
                    for _ in range(20):
                        connection.recv(64 * 1024)
                    connection.sendall(EARLY + b"content-length: 2\r\n\r\n{}")

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=refuse, args=[listener])
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    for _ in range(TIMES):
        response = await transport.send(ask(url, LONG))
        assert (response.status, await response.read(10)) == (413, b"{}")
    thread.join()


async def test_u34_a_long_body_on_a_stale_connection_is_sent_again_whole(transport: HttpTransport) -> None:
    sums: list[str] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        while b"content-length: 0" in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: 0" not in head:
                return  # closed in the middle of what comes
        sums.append(hashlib.sha256(await reader.readexactly(len(LONG))).hexdigest())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(once) as url:
        await fetch(transport, ask(url, b""))
        await fetch(transport, ask(url, LONG))
    assert sums == [hashlib.sha256(LONG).hexdigest()]
