"""The transport when all goes well: what goes out, what comes back, and which connection is used again."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import brotli
import httpx
import pytest
from backports import zstd

import providers.pool
from providers.tests.asking import BODY, ask, fetch, until
from providers.transport import HttpTransport, PooledTransport
from providers.wire import UpstreamError
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.upstream.script import (
    Close,
    Json,
    OneByteSegments,
    Raw,
    Send,
    SendHead,
    Sse,
    Stall,
    Wait,
)

FRAMES = b"".join(b'data: {"n":%d}\n\n' % number for number in range(40))


async def test_an_answer_has_its_status_headers_and_body(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Json(418, {"a": 1}, [("X-One", "1"), ("x-one", "2")])], check=False)
    response = await transport.send(ask(upstream.url))
    assert response.status == 418
    assert response.headers["x-one"] == "1"
    assert await response.read(100) == b'{"a":1}'


async def test_a_request_arrives_exactly_as_it_was_given(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Json(200, {})], check=False)
    headers = {"x-odd": "caf\xe9", "user-agent": "mine", "content-length": "7", "connection": "close"}
    await fetch(transport, ask(upstream.url + "/a%20b?c=d", headers=headers))
    host = f"127.0.0.1:{upstream.port}"
    assert upstream.last.target == "/a%20b?c=d"
    assert upstream.last.body == BODY
    assert upstream.last.headers == [
        ("host", host),
        ("content-length", str(len(BODY))),
        ("x-odd", "caf\xe9"),
        ("user-agent", "mine"),
    ]


async def test_no_library_is_named_to_the_upstream(transport: HttpTransport, upstream: FakeUpstream) -> None:
    await fetch(transport, ask(upstream.openai_url + "/chat/completions"))
    assert upstream.last.values("user-agent") == ["llm-gateway"]
    assert {name for name, _ in upstream.last.headers} == {
        "host",
        "content-length",
        "user-agent",
        "content-type",
        "authorization",
    }


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rb", "a\0b", "\u20ac"])
async def test_a_header_cannot_break_out_of_its_line(
    transport: HttpTransport, upstream: FakeUpstream, value: str
) -> None:
    with pytest.raises(UpstreamError) as raised:
        await transport.send(ask(upstream.url, headers={"anthropic-beta": value}))
    assert (raised.value.reason, raised.value.sent) == ("invalid", False)
    assert not upstream.requests


async def test_a_connection_serves_one_request_after_the_other(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    for turn in (1, 2, 3):
        await fetch(transport, ask(upstream.openai_url + "/chat/completions"))
        assert upstream.last.turn == turn
    assert inner.pool.size == 1


async def test_a_connection_is_free_again_before_the_body_is_read(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    first = await transport.send(ask(upstream.openai_url + "/chat/completions"))
    await until(lambda: inner.pool.idle)
    second = await transport.send(ask(upstream.openai_url + "/chat/completions"))
    assert upstream.last.turn == 2
    assert (await first.read(10_000)).startswith(b"{")
    assert (await second.read(10_000)).startswith(b"{")


async def test_s21_a_redirect_is_handed_on_and_never_followed(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Json(307, {}, {"location": upstream.url + "/elsewhere"})], check=False)
    response = await transport.send(ask(upstream.url + "/here"))
    await response.read(100)
    assert response.status == 307
    assert [request.path for request in upstream.requests] == ["/here"]


async def test_s24_cookies_are_not_kept(transport: HttpTransport, upstream: FakeUpstream) -> None:
    upstream.script("", [Json(200, {}, {"set-cookie": "a=b"})], check=False)
    await fetch(transport, ask(upstream.url))
    await fetch(transport, ask(upstream.url))
    assert upstream.last.values("cookie") == []


async def test_s24_proxies_of_the_environment_are_ignored(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    transport = HttpTransport()
    assert await fetch(transport, ask(upstream.openai_url + "/chat/completions"))
    await transport.aclose()


@pytest.mark.parametrize("size", [0, 1, 70_000, 20 * 1024 * 1024])
async def test_bodies_of_every_size_travel_both_ways(
    transport: HttpTransport, upstream: FakeUpstream, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    upstream.script("", lambda request: [Json(200, request.body)], check=False)
    assert await fetch(transport, ask(upstream.url, body)) == body
    await fetch(transport, ask(upstream.url, body))
    assert upstream.last.turn == 2


async def test_u17_one_byte_segments_give_the_same_bytes(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [SendHead(200), OneByteSegments(FRAMES)], check=False)
    assert await fetch(transport, ask(upstream.url)) == FRAMES


async def test_pieces_come_as_they_arrive(transport: HttpTransport, upstream: FakeUpstream) -> None:
    upstream.script("", [Sse([1, 2, 3], pause=0.05), Send(b"end")], check=False)
    response = await transport.send(ask(upstream.url))
    pieces = [piece async for piece in response.chunks()]
    assert pieces[:2] == [b"data: 1\n\n", b"data: 2\n\n"]
    assert b"".join(pieces) == b"data: 1\n\ndata: 2\n\ndata: 3\n\nend"


async def test_pieces_that_arrived_together_are_one(transport: HttpTransport, upstream: FakeUpstream) -> None:
    many = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [b"data: x\n\n"] * 50)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.script("", [Raw(head + many + b"0\r\n\r\n")], check=False)
    response = await transport.send(ask(upstream.url))
    assert [len(piece) async for piece in response.chunks()] == [50 * 9]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_u30_a_body_may_end_with_its_connection(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream, version: str
) -> None:
    head = SendHead(200, framing="none", version=version)
    upstream.script("", [head, Send(FRAMES), Wait(0.02), Send(FRAMES), Close()], check=False)
    assert await fetch(transport, ask(upstream.url)) == FRAMES * 2
    await until(lambda: inner.pool.size == 0)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_at_once(
    transport: HttpTransport, upstream: FakeUpstream, status: int
) -> None:
    upstream.script("", [SendHead(status, framing="none"), Stall()], check=False)
    assert await fetch(transport, ask(upstream.url)) == b""


async def test_interim_answers_are_passed_over(transport: HttpTransport, upstream: FakeUpstream) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    upstream.script("", [Raw(interim), Wait(0.02), Raw(interim), Json(200, {"a": 1})], check=False)
    response = await transport.send(ask(upstream.url))
    assert (response.status, "link" in response.headers) == (200, False)
    assert await response.read(100) == b'{"a":1}'
    await fetch(transport, ask(upstream.url))
    assert upstream.last.turn == 2


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"data: more\n\n", b"\0"], ids=repr
)
async def test_u32_a_connection_with_bytes_left_over_is_not_used_again(
    transport: HttpTransport, upstream: FakeUpstream, surplus: bytes
) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    upstream.script("", [Raw(answer + surplus), Stall()], check=False)
    for _ in range(2):
        assert await fetch(transport, ask(upstream.url)) == b"{}"
        assert upstream.last.turn == 1


async def test_bytes_that_come_while_idle_close_the_connection(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    upstream.script("", [Raw(answer), Wait(0.05), Raw(answer), Stall()], check=False)
    assert await fetch(transport, ask(upstream.url)) == b"{}"
    await until(lambda: inner.pool.size == 0)


async def test_connection_close_is_honoured(
    transport: HttpTransport, inner: PooledTransport, upstream: FakeUpstream
) -> None:
    upstream.script("", [Json(200, {}, {"connection": "close"})], check=False)
    await fetch(transport, ask(upstream.url))
    await until(lambda: inner.pool.size == 0)


async def test_idle_connections_are_closed_after_a_while(
    transport: HttpTransport,
    inner: PooledTransport,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers.pool, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(providers.pool, "_SWEEP_SECONDS", 0.01)
    await asyncio.gather(*(fetch(transport, ask(upstream.openai_url + "/models")) for _ in range(5)))
    await until(lambda: inner.pool.size == 0 and upstream.open_connections == 0)


async def test_closing_the_transport_closes_every_connection(
    transport: HttpTransport, upstream: FakeUpstream
) -> None:
    upstream.script(Match(path="/stall"), [SendHead(200), Send(b"x"), Stall()], check=False)
    await fetch(transport, ask(upstream.openai_url + "/models"))
    await transport.send(ask(upstream.url + "/stall"))
    await transport.aclose()
    await until(lambda: upstream.open_connections == 0)


def test_it_may_be_built_before_any_loop_runs(upstream: FakeUpstream) -> None:
    transport = HttpTransport()

    async def use() -> bytes:
        try:
            return await fetch(transport, ask(upstream.openai_url + "/chat/completions"))
        finally:
            await transport.aclose()

    assert asyncio.run(use()).startswith(b"{")


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(FRAMES)),
        ("X-GZIP", gzip.compress(FRAMES[:100]) + gzip.compress(FRAMES[100:])),
        ("deflate", zlib.compress(FRAMES)),
        ("deflate", _raw_deflate(FRAMES)),
        ("br", brotli.compress(FRAMES)),
        ("zstd", zstd.compress(FRAMES)),
        ("zstd", zstd.compress(FRAMES[:100]) + zstd.compress(FRAMES[100:])),
        ("identity", FRAMES),
    ],
)
async def test_u27_a_compressed_stream_is_decoded(
    transport: HttpTransport, upstream: FakeUpstream, encoding: str, packed: bytes
) -> None:
    head = SendHead(200, {"content-encoding": encoding})
    upstream.script(Match(path="/bytes"), [head, OneByteSegments(packed)], check=False)
    upstream.script(Match(path="/whole"), [head, Send(packed)], check=False)
    assert await fetch(transport, ask(upstream.url + "/bytes")) == FRAMES
    assert await fetch(transport, ask(upstream.url + "/whole")) == FRAMES


def _begun(encoding: str, data: bytes) -> bytes:
    """A compressed stream up to where it was flushed."""
    if encoding == "gzip":
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    if encoding == "br":
        rolling = brotli.Compressor()
        return bytes(rolling.process(data) + rolling.flush())
    framing = zstd.ZstdCompressor()
    return framing.compress(data) + framing.flush(framing.FLUSH_BLOCK)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_u27_decoding_is_incremental(
    transport: HttpTransport, upstream: FakeUpstream, encoding: str
) -> None:
    first = _begun(encoding, b"data: 1\n\n")
    upstream.script("", [SendHead(200, {"content-encoding": encoding}), Send(first), Stall()], check=False)
    response = await transport.send(ask(upstream.url))
    assert await anext(response.chunks()) == b"data: 1\n\n"
    await response.aclose()


async def test_anything_with_httpx_interface_can_stand_behind_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, headers={"x-path": request.url.path}, stream=httpx.ByteStream(b"ok"))

    transport = HttpTransport(httpx.MockTransport(answer))
    response = await transport.send(ask("https://provider.example/v1/x"))
    assert (response.status, response.headers["x-path"]) == (201, "/v1/x")
    assert await response.read(10) == b"ok"


@pytest.mark.parametrize(
    ("error", "reason", "sent"),
    [
        (httpx.ConnectTimeout, "connect_timeout", False),
        (httpx.PoolTimeout, "connect_timeout", False),
        (httpx.ConnectError, "refused", False),
        (httpx.ReadTimeout, "first_byte_timeout", True),
        (httpx.RemoteProtocolError, "truncated", True),
        (httpx.ReadError, "reset", True),
    ],
)
async def test_httpx_errors_from_behind_it_become_ours(
    error: type[httpx.TransportError], reason: str, sent: bool
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("no")

    with pytest.raises(UpstreamError) as raised:
        await HttpTransport(httpx.MockTransport(fail)).send(ask("https://provider.example/"))
    assert (raised.value.reason, raised.value.sent) == (reason, sent)
