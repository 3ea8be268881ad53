"""Clients that leave: the upstream sees it within a second, and no number of them wears the transport out."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from providers.tests.asking import ask, closed, fetch, until
from providers.transport import HttpTransport, PooledTransport
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.tls import server_context
from tests.support.upstream.script import Answer, Send, SendHead, Stall, Wait

# How many connections a pool of the usual size has, and how many clients come and go on it.
NATURAL = 10
CLIENTS = 20 * NATURAL
SECONDS = 3.0


@asynccontextmanager
async def leaving(task: asyncio.Task[object]) -> AsyncIterator[None]:
    """The client is there for the block, and then leaves."""
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def sockets() -> int:
    """This process's open TCP sockets, the upstream's included, since it is a thread of it."""
    return sum(each.status != psutil.CONN_NONE for each in psutil.Process().net_connections("tcp"))


async def test_a_client_that_leaves_before_the_answer_closes_the_upstream(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Stall()], check=False)
    async with leaving(asyncio.ensure_future(transport.send(ask(upstream.url)))):
        await until(lambda: upstream.requests)
    left = time.monotonic()
    await closed(upstream)
    assert (upstream.last.closed_at or 0.0) - left < 1.0
    assert inner.pool.size == 0


@pytest.mark.parametrize("how", ["chunks", "read"])
async def test_a_client_that_leaves_in_the_middle_closes_the_upstream(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream, how: str
) -> None:
    upstream.script("", [SendHead(200), Send(b"data: 1\n\n"), Stall()], check=False)
    response = await transport.send(ask(upstream.url))

    async def consume() -> None:
        if how == "read":
            await response.read(1000)
        async for _ in response.chunks():
            pass

    async with leaving(asyncio.ensure_future(consume())):
        await until(lambda: upstream.last.sent > 10)
        await asyncio.sleep(0.02)
    left = time.monotonic()
    await closed(upstream)
    assert (upstream.last.closed_at or 0.0) - left < 1.0
    await response.aclose()
    assert inner.pool.size == 0


async def test_closing_an_unfinished_answer_closes_the_upstream(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [SendHead(200), Send(b"data: 1\n\n"), Stall()], check=False)
    response = await transport.send(ask(upstream.url))
    chunks = response.chunks()
    await anext(chunks)
    await response.aclose()
    await response.aclose()
    await closed(upstream)
    assert inner.pool.size == 0
    assert await anext(chunks, None) is None


async def test_closing_a_finished_answer_keeps_the_connection(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    response = await transport.send(ask(upstream.openai_url + "/chat/completions"))
    await until(lambda: inner.pool.idle == 1)
    await response.aclose()
    assert inner.pool.idle == 1


async def test_a_client_that_leaves_while_connecting_leaves_no_socket(
    transport: HttpTransport, inner: PooledTransport
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word of TLS
        before = sockets()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with leaving(asyncio.ensure_future(transport.send(ask(url)))):
            await asyncio.sleep(0.1)
            assert sockets() > before
        await until(lambda: sockets() <= before)
    assert inner.pool.size == 0


async def test_tls_is_closed_as_promptly(tmp_path: Path) -> None:
    context, pem = server_context(tmp_path)
    fake = FakeUpstream(tls=context).start()
    inner = PooledTransport(tls=ssl.create_default_context(cafile=str(pem)))
    transport = HttpTransport(inner)
    assert await fetch(transport, ask(fake.openai_url + "/chat/completions"))
    assert await fetch(transport, ask(fake.openai_url + "/chat/completions"))
    assert fake.last.turn == 2
    fake.script("", [SendHead(200), Send(b"data: 1\n\n"), Stall()], check=False)
    response = await transport.send(ask(fake.url))
    await response.aclose()
    await closed(fake)
    await until(lambda: inner.pool.size == 0)
    await transport.aclose()
    fake.stop()


@pytest.mark.slow
async def test_d11_churn_does_not_jam_the_transport(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    chance = random.Random(11)
    upstream.script(
        Match(path="/slow"),
        [Wait(0.05), SendHead(200), Send(b"data: 1\n\n"), Wait(0.05), Send(b"data: 2\n\n"), Stall()],
        check=False,
    )
    upstream.script(Match(path="/chat"), [Wait(0.02), Answer()])
    good = upstream.openai_url + "/chat/completions"
    assert await fetch(transport, ask(good))
    await until(lambda: inner.pool.idle == 1)
    before, tasks = sockets(), len(asyncio.all_tasks())
    left = 0

    async def client(until_then: float) -> None:
        nonlocal left
        while time.monotonic() < until_then:
            url = chance.choice([good, upstream.url + "/slow", upstream.url + "/slow"])
            try:
                # At any point: while connecting, waiting, reading, or after the end.
                async with asyncio.timeout(chance.uniform(0.0, 0.15)):
                    await fetch(transport, ask(url))
            except TimeoutError:
                left += 1

    end = time.monotonic() + SECONDS
    await asyncio.gather(*(client(end) for _ in range(CLIENTS)))
    assert left > CLIENTS
    assert len(await asyncio.wait_for(fetch(transport, ask(good)), 1.0)) > 100
    # Only idle connections are left, every one of them usable, and nobody waits for anything.
    await until(lambda: inner.pool.size == inner.pool.idle == upstream.open_connections)
    assert len(asyncio.all_tasks()) == tasks
    for request in upstream.requests:
        if "/slow" in request.path:
            await closed(upstream, request)
    await asyncio.gather(*(fetch(transport, ask(good)) for _ in range(inner.pool.idle)))
    await inner.aclose()
    await until(lambda: upstream.open_connections == 0)
    await until(lambda: sockets() <= before)
