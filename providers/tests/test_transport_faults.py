"""Every way in which sending can fail: its reason, whether the request may be sent, what is left behind."""

from __future__ import annotations

import asyncio
import gzip
import socket
from pathlib import Path

import brotli
import pytest
from backports import zstd

import providers.connection
from providers.connection import HEAD_LIMIT
from providers.tests.asking import ask, closed, fetch, until
from providers.transport import HttpTransport, PooledTransport
from providers.wire import UpstreamError, UpstreamRequest
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.tls import server_context
from tests.support.upstream.script import Close, Json, Raw, Reset, Send, SendHead, Stall, Step, Wait

OK = b"HTTP/1.1 200 OK\r\n"
DRIP: list[Step] = [Wait(0.02), Raw(b"x-a: b\r\n")] * 100
PULSE: list[Step] = [Send(b"x"), Wait(0.1)] * 4


def _far_back() -> bytes:
    """A frame that asks for 128 MiB of memory."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    return packer.compress(bytes(1000)) + packer.flush()


async def failure(transport: HttpTransport, request: UpstreamRequest) -> tuple[str, bool]:
    """The reason for which a request or the reading of its answer fails, and `sent`."""
    with pytest.raises(UpstreamError) as raised:
        await fetch(transport, request)
    return raised.value.reason, raised.value.sent


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_u1_nothing_listens(transport: HttpTransport, closed_port: int) -> None:
    assert await failure(transport, ask(f"http://127.0.0.1:{closed_port}/")) == ("refused", False)


async def test_u2_the_name_does_not_resolve(transport: HttpTransport) -> None:
    assert await failure(transport, ask("http://no-such-host.invalid/")) == ("dns", False)


@pytest.mark.parametrize(("host", "days"), [("127.0.0.1", 1), ("127.0.0.2", 1), ("127.0.0.1", -1)])
async def test_u3_a_certificate_that_is_not_trusted(
    transport: HttpTransport, inner: PooledTransport, tmp_path: Path, host: str, days: int
) -> None:
    fake = FakeUpstream(tls=server_context(tmp_path, host=host, days=days)[0]).start()
    with pytest.raises(UpstreamError) as raised:
        await fetch(transport, ask(fake.url))
    assert (raised.value.reason, raised.value.sent) == ("tls", False)
    assert "certificate" in str(raised.value)
    assert "BEGIN" not in str(raised.value)
    assert inner.pool.size == 0
    fake.stop()


async def test_u3_not_tls_at_all(transport: HttpTransport) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await failure(transport, ask(url)) == ("tls", False)


async def test_u4_nobody_accepts(transport: HttpTransport) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # the backlog is full, so further packets are dropped: a black hole
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        assert await failure(transport, ask(url, connect=0.2)) == ("connect_timeout", False)
        for filler in fillers:
            filler.close()


async def test_u4_a_handshake_that_never_ends_counts_as_connecting(transport: HttpTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        assert await failure(transport, ask(url, connect=0.2)) == ("connect_timeout", False)


async def test_u5_no_answer_begins(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Stall()], check=False)
    assert await failure(transport, ask(upstream.url, first_byte=0.1)) == ("first_byte_timeout", True)
    await closed(upstream)
    assert inner.pool.size == 0


async def test_u5_half_a_head_is_no_answer(transport: HttpTransport, upstream: FakeUpstream) -> None:
    upstream.script("", [Raw(OK), *DRIP, Stall()], check=False)
    assert await failure(transport, ask(upstream.url, first_byte=0.3)) == ("first_byte_timeout", True)


async def test_the_first_byte_has_its_own_limit(transport: HttpTransport, upstream: FakeUpstream) -> None:
    upstream.script("", [SendHead(200), Wait(0.4), Send(b"{}")], check=False)
    assert await fetch(transport, ask(upstream.url, first_byte=0.2)) == b"{}"


async def test_a_request_that_could_not_be_written_was_not_sent(transport: HttpTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        request = ask(url, bytes(32 * 1024 * 1024), first_byte=0.3)
        assert await failure(transport, request) == ("first_byte_timeout", False)


async def test_u6_a_stream_falls_silent(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [SendHead(200), *PULSE, Stall()], check=False)
    response = await transport.send(ask(upstream.url, idle=0.3))
    chunks = response.chunks()
    assert [await anext(chunks) for _ in range(4)] == [b"x"] * 4
    with pytest.raises(UpstreamError) as raised:
        await anext(chunks)
    assert (raised.value.reason, raised.value.sent) == ("idle_timeout", True)
    await closed(upstream)
    assert inner.pool.size == 0


async def test_a_slow_client_is_not_a_silent_upstream(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    body = bytes(8 * 1024 * 1024)
    upstream.script("", [Json(200, body)], check=False)
    response = await transport.send(ask(upstream.url, idle=0.1))
    await asyncio.sleep(0.4)
    assert await response.read(len(body)) == body


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([Reset()], "reset"),
        ([Close()], "reset"),
        ([Raw(OK + b"content-le"), Close()], "reset"),
        ([Raw(OK + b"content-le"), Wait(0.05), Reset()], "reset"),
        ([SendHead(200), Send(b"data: 1\n\n"), Wait(0.05), Reset()], "reset"),
        ([SendHead(200), Send(b"data: 1\n\n"), Close()], "truncated"),
        ([SendHead(200), Raw(b"ff\r\nhalf a chunk"), Close()], "truncated"),
        ([SendHead(200), Close()], "truncated"),
        ([SendHead(200, {"content-length": "90"}, "none"), Send(b'{"mod'), Close()], "truncated"),
        ([Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Stall()], "invalid"),
        ([Raw(b"\x15\x03\x01\x00\x02\x02\x28"), Stall()], "invalid"),
        ([Raw(b"HTTP/1.1 2000 OK\r\n\r\n"), Stall()], "invalid"),
        ([Raw(b"HTTP/1.1 099 Early\r\n\r\n"), Stall()], "invalid"),
        ([Raw(OK + b"bad header: x\r\n\r\n"), Stall()], "invalid"),
        ([Raw(OK + b"no-colon\r\n\r\n"), Stall()], "invalid"),
        ([Raw(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"), Stall()], "invalid"),
        ([Raw(OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"), Stall()], "invalid"),
        ([Raw(OK + b"content-length: -1\r\n\r\n"), Stall()], "invalid"),
        ([Raw(OK + b"transfer-encoding: gzip, chunked\r\n\r\n"), Stall()], "invalid"),
        ([SendHead(200), Raw(b"zz\r\n"), Stall()], "invalid"),
        ([SendHead(200), Raw(b"2\r\n{}{}"), Stall()], "invalid"),
        (
            [Raw(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), Stall()],
            "invalid",
        ),
        ([Raw(OK + b"x-big: " + b"x" * 200 * 1024 + b"\r\n\r\n"), Stall()], "too_large"),
        ([Raw(OK + b"x-a: b\r\n" * 30_000), Stall()], "too_large"),
        ([Raw(OK), *[Raw(b"x-big: " + b"x" * 10_000 + b"\r\n"), Wait(0.01)] * 20, Stall()], "too_large"),
        ([Raw(b"HTTP/1.1 103 Early\r\n\r\n" * 10_000), Stall()], "too_large"),
        ([SendHead(200), Raw(b"0\r\nx-t: " + b"x" * 200 * 1024), Stall()], "too_large"),
        ([SendHead(200), Raw(b"2;" + b"x" * 200 * 1024), Stall()], "too_large"),
        ([SendHead(200, {"content-encoding": "compress"}), Send(b"\x1f\x9d\x90{}")], "invalid"),
        ([SendHead(200, {"content-encoding": "br"}), Send(b"\xff" * 8)], "invalid"),
        ([SendHead(200, {"content-encoding": "br"}), Send(brotli.compress(b"{}") + b"x")], "invalid"),
        ([SendHead(200, {"content-encoding": "br"}), Send(brotli.compress(b"{}" * 99)[:-3])], "truncated"),
        ([SendHead(200, {"content-encoding": "zstd"}), Send(b"plain" * 9)], "invalid"),
        ([SendHead(200, {"content-encoding": "zstd"}), Send(zstd.compress(b"") * 200)], "invalid"),
        ([SendHead(200, {"content-encoding": "zstd"}), Send(_far_back())], "invalid"),
        ([SendHead(200, {"content-encoding": "zstd"}), Send(zstd.compress(b"{}" * 99)[:-3])], "truncated"),
        ([SendHead(200, {"content-encoding": "gzip, gzip"}), Send(b"x")], "invalid"),
        ([SendHead(200, {"content-encoding": "gzip"}), Send(b"plain")], "invalid"),
        ([SendHead(200, {"content-encoding": "gzip"}), Send(gzip.compress(b"") * 200)], "invalid"),
        ([SendHead(200, {"content-encoding": "gzip"}), Send(gzip.compress(b"{}" * 99)[:-9])], "truncated"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_broken_answers(
    transport: HttpTransport,
    inner: PooledTransport,
    upstream: FakeUpstream,
    steps: list[Step],
    reason: str,
) -> None:
    upstream.script("", steps, check=False)
    assert await failure(transport, ask(upstream.url)) == (reason, True)
    await until(lambda: inner.pool.size == inner.pool.idle)
    # And nothing of it is left for the next request.
    upstream.reset()
    assert await fetch(transport, ask(upstream.openai_url + "/chat/completions"))


async def test_what_came_before_the_break_is_delivered(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [SendHead(200), Send(b"one"), Close()], check=False)
    response = await transport.send(ask(upstream.url))
    await until(lambda: upstream.last.closed_at is not None or upstream.open_connections == 0)
    chunks = response.chunks()
    assert await anext(chunks) == b"one"
    for _ in range(2):  # and it stays an error: nobody mistakes it for the end
        with pytest.raises(UpstreamError, match="declared end"):
            await anext(chunks)


async def test_u33_a_head_just_under_the_limit_is_read(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Json(200, {}, {"x-big": "x" * (HEAD_LIMIT - 300)})], check=False)
    assert await fetch(transport, ask(upstream.url)) == b"{}"


PACK = {"": bytes, "gzip": gzip.compress, "br": brotli.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", PACK)
async def test_an_answer_over_the_limit_is_given_up(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream, encoding: str
) -> None:
    plain = bytes(4 * 1024 * 1024)
    packed = PACK[encoding](plain)
    upstream.script("", [SendHead(200, {"content-encoding": encoding}), Send(packed)], check=False)
    response = await transport.send(ask(upstream.url))
    with pytest.raises(UpstreamError) as raised:
        await response.read(len(plain) - 1)
    assert (raised.value.reason, raised.value.sent) == ("too_large", True)
    await until(lambda: inner.pool.size == inner.pool.idle)
    assert len(await fetch(transport, ask(upstream.url))) == len(plain)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_u28_a_bomb_is_unpacked_in_bounded_pieces(
    transport: HttpTransport, upstream: FakeUpstream, encoding: str
) -> None:
    bomb = PACK[encoding](bytes(64 << 20))
    upstream.script("", [SendHead(200, {"content-encoding": encoding}), Send(bomb)], check=False)
    response = await transport.send(ask(upstream.url))
    sizes = [len(piece) async for piece in response.chunks()]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 256 * 1024
    with pytest.raises(UpstreamError, match="larger"):
        await (await transport.send(ask(upstream.url))).read(1 << 20)


async def test_a_client_that_does_not_read_stops_the_upstream(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    body = bytes(64 * 1024 * 1024)
    upstream.script("", [Json(200, body)], check=False)
    response = await transport.send(ask(upstream.url))
    before = -1
    while upstream.last.sent != before:  # until nothing moves any more
        before = upstream.last.sent
        await asyncio.sleep(0.2)
    assert upstream.last.sent < len(body) // 2
    first = await anext(response.chunks())
    assert len(first) <= 256 * 1024
    await response.aclose()
    await closed(upstream)
    assert inner.pool.size == 0


# -- U34: a kept connection that the upstream had already given up


async def test_u34_a_stale_connection_is_replaced_unseen(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    url = upstream.openai_url + "/chat/completions"
    for fault in (Reset(), Close()):
        await fetch(transport, ask(url))
        upstream.script(Match(turn=upstream.last.turn + 1), [fault], times=1)
        assert await fetch(transport, ask(url))
        assert upstream.last.turn == 1
    assert len(upstream.requests) == 6


async def test_u34_it_is_resent_once_and_on_a_new_connection(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    url = upstream.openai_url + "/chat/completions"
    await asyncio.gather(*(fetch(transport, ask(url)) for _ in range(5)))
    upstream.script("", [Reset()])
    known = len(upstream.requests)
    assert await failure(transport, ask(url)) == ("reset", True)
    assert [request.turn for request in upstream.requests[known:]] == [2, 1]


async def test_u34_a_fresh_connection_is_not_retried(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Reset()], check=False)
    assert await failure(transport, ask(upstream.url)) == ("reset", True)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("begun", [b"H", OK, OK + b"content-length: 5\r\n\r\nab"])
async def test_u34_nothing_is_resent_once_an_answer_began(
    transport: HttpTransport, upstream: FakeUpstream, begun: bytes
) -> None:
    url = upstream.openai_url + "/chat/completions"
    await fetch(transport, ask(url))
    upstream.script("", [Raw(begun), Wait(0.05), Reset()])
    assert await failure(transport, ask(url)) == ("reset", True)
    assert len(upstream.requests) == 2


async def test_u34_nothing_is_resent_when_the_upstream_was_at_work(
    transport: HttpTransport, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers.connection, "STALE_SECONDS", 0.1)
    url = upstream.openai_url + "/chat/completions"
    await fetch(transport, ask(url))
    upstream.script("", [Wait(0.3), Reset()])
    assert await failure(transport, ask(url)) == ("reset", True)
    assert len(upstream.requests) == 2
