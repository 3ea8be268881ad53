"""What the server says to a request, on a real socket: bodies, caps, deadlines, and who is cut off."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest

from gateway_project.tests.daphne_wire import (
    PATIENCE,
    BrokenReplyError,
    Served,
    Wire,
    ask,
    events,
    serving,
    until,
)

CAP = 1_000_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(max_body=CAP) as server:
        yield server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Served]:
    """A server without patience."""
    with serving(head_seconds=1, body_seconds=1, idle_seconds=1) as server:
        yield server


async def test_an_ordinary_request(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /echo?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.header("content-length") == "5"
    assert answer.header("server") is None
    assert answer.header("connection") is None
    assert (answer.header("date") or "").endswith("GMT")


async def test_the_scope(served: Served) -> None:
    answer = await ask(served, "/scope?q=%31", "X-Name: Value", "Daphne-Root-Path: /scope", "X_Name: spoofed")
    scope = json.loads(answer.body)
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == ["127.0.0.1", served.port]
    assert scope["headers"] == [["host", "gateway.test"], ["x-name", "Value"]]
    assert (scope["root_path"], scope["path"], scope["query_string"]) == ("", "/scope", "q=%31")
    assert (scope["method"], scope["scheme"], scope["http_version"]) == ("GET", "http", "1.1")
    assert scope["asgi"]["version"] == "3.0"


async def test_small_replies_leave_without_delay(served: Served) -> None:
    assert (await ask(served, "/nodelay")).body == b"1"


@pytest.mark.parametrize("size", [0, 1, 70_000, 300_000, CAP])
async def test_bodies_of_every_size(served: Served, size: int) -> None:
    body = b"b" * size
    async with await Wire.open(served) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size, body)
        assert (await wire.answer()).body == body
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, size, 50_000):
            piece = body[start : start + 50_000]
            wire.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\nX-Trailer: ignored\r\n\r\n")
        assert (await wire.answer()).body == body


async def test_a_request_byte_by_byte(served: Served) -> None:
    raw = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with await Wire.open(served) as wire:
        for byte in raw:
            wire.send(bytes([byte]))
            await wire.writer.drain()
            await asyncio.sleep(0.001)
        assert (await wire.answer()).body == b"abc"


async def test_c17_pipelined_requests_are_answered_in_order_one_after_the_other(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        assert (await wire.answer()).body == b"slow"
        assert (await wire.answer()).body == b"abc"
        seen = json.loads((await wire.answer()).body)
    # The second was not begun before the first was done.
    assert seen[-5:-1] == ["GET /slow", "slow done", "POST /echo", "body 3"]


async def test_a_pipeline_longer_than_the_server_reads_ahead(served: Served) -> None:
    padding = b"X-Padding: " + b"p" * 1000
    async with await Wire.open(served) as wire:
        for number in range(200):
            wire.send(
                b"POST /echo HTTP/1.1\r\nHost: a\r\n%b\r\nContent-Length: 3\r\n\r\n%03d" % (padding, number)
            )
        for number in range(200):
            assert (await wire.answer()).body == b"%03d" % number


async def test_an_error_behind_a_pipelined_request_waits_for_its_reply(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert (await wire.answer()).body == b"slow"
        assert (await wire.answer()).status == 400
        assert await wire.ends() == b""
    assert "GET /after" not in await events(served)


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"GET http://other.test/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (405, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (405, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            400,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\nHost: a\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 17_000 + b"\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n"),
    ],
)
async def test_c20_what_is_ambiguous_is_refused_and_nothing_after_it_is_read(
    served: Served, status: int, raw: bytes
) -> None:
    async with await Wire.open(served) as wire:
        wire.send(raw, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await wire.answer()
        assert answer.status == status
        assert answer.header("connection") == "close"
        assert answer.error["message"]
        assert answer.header("x-request-id") == json.loads(answer.body)["request_id"]
        assert await wire.ends() == b""
    assert "GET /smuggled" not in await events(served)


async def test_a_refusal_is_said_in_the_clients_dialect(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (CAP + 1))
        answer = await wire.answer()
    body = json.loads(answer.body)
    assert (answer.status, body["type"], body["error"]["type"]) == (413, "error", "request_too_large")
    async with await Wire.open(served) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (CAP + 1))
        assert (await wire.answer()).error["code"] == "request_too_large"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_refused_head_gets_no_body(served: Served, method: bytes) -> None:
    async with await Wire.open(served) as wire:
        wire.send(method + b" / HTTP/1.1\r\n\r\n")
        raw = await wire.ends()
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.endswith(b"\r\n\r\n") is (method == b"HEAD")


async def test_c7_a_body_over_the_cap_is_refused_before_it_comes(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        )
        # The first thing that comes is the refusal: it was not told to go on.
        assert (await wire.answer()).status == 413
        assert await wire.ends() == b""


async def test_a_client_that_sends_all_the_same_can_read_its_refusal(served: Served) -> None:
    size = 30 * CAP
    loop = asyncio.get_running_loop()
    with socket.socket() as stubborn:
        stubborn.setblocking(False)
        await loop.sock_connect(stubborn, ("127.0.0.1", served.port))
        async with asyncio.timeout(PATIENCE):
            # More than the kernels' buffers hold: a connection closed over it would be reset here.
            await loop.sock_sendall(
                stubborn, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"b" * size
            )
            assert (await loop.sock_recv(stubborn, 65536)).startswith(b"HTTP/1.1 413 ")


async def test_c8_chunks_over_the_cap_are_refused_at_the_cap(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(CAP // 10_000 + 1):
            wire.send(b"2710\r\n" + b"b" * 10_000 + b"\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert await wire.ends() == b""


async def test_c18_a_client_that_asks_before_it_sends_is_told_to_when_the_application_reads(
    served: Served,
) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await wire.head()).status == 100
        wire.send(b"abc")
        assert (await wire.answer()).body == b"abc"
        wire.get("/scope")
        assert (await wire.answer()).status == 200


async def test_c18_and_is_not_told_to_when_it_does_not(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.header("connection")) == (401, "close")
        assert await wire.ends() == b""


async def test_the_application_answers_before_the_body_has_come(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % CAP, b"b" * 1000)
        answer = await wire.answer()
        assert (answer.status, answer.header("connection")) == (401, "close")
        wire.send(b"b" * (CAP - 1000), b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await wire.ends() == b""
    assert "GET /smuggled" not in await events(served)


@pytest.mark.parametrize(
    "start",
    [
        b"G",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    ],
)
async def test_c16_a_client_that_drips_is_refused_at_its_deadline(hasty: Served, start: bytes) -> None:
    async with await Wire.open(hasty) as wire:
        wire.send(start)
        first = asyncio.ensure_future(wire.answer())
        while not first.done():
            wire.send(b"x")
            await asyncio.sleep(0.1)
        answer = await first
        assert (answer.status, answer.header("connection")) == (408, "close")
        assert answer.error["code"] == "request_timeout"
    assert [408, "request_timeout"] in json.loads((await ask(hasty, "/refused")).body)


async def test_a_kept_connection_has_no_more_time_for_its_next_head() -> None:
    with serving(head_seconds=1, idle_seconds=600) as served:
        async with await Wire.open(served) as wire:
            wire.get("/ready")
            assert (await wire.answer()).status == 200
            wire.send(b"GET /read")
            assert (await wire.answer()).status == 408


async def test_the_application_hears_that_the_body_will_not_come(hasty: Served) -> None:
    async with await Wire.open(hasty) as wire:
        wire.send(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123")
        assert (await wire.answer()).status == 408
    await until(hasty, "disconnected")


@pytest.mark.parametrize("before", [0, 1])
async def test_an_idle_connection_is_closed_without_a_word(hasty: Served, before: int) -> None:
    async with await Wire.open(hasty) as wire:
        for _ in range(before):
            wire.get("/ready")
            assert (await wire.answer()).status == 200
        assert await wire.ends() == b""


async def test_a_slow_application_has_no_deadline(hasty: Served) -> None:
    async with await Wire.open(hasty) as wire:
        wire.get("/stream?60")
        assert (await wire.answer()).body.endswith(b"piece 59\nend\n")


async def test_connections_over_the_limit_wait_for_a_place() -> None:
    with serving(max_connections=3) as served:
        held = [await Wire.open(served) for _ in range(2)]
        for wire in held:
            wire.get("/slow")
            assert (await wire.answer()).status == 200
        # Two idle connections have the places; they are given to who has something to say.
        answers = await asyncio.wait_for(asyncio.gather(*(ask(served, "/slow") for _ in range(4))), PATIENCE)
        assert [answer.status for answer in answers] == [200] * 4
        for wire in held:
            wire.writer.transport.abort()


@pytest.mark.parametrize("path", ["/fail/before", "/fail/started", "/silent", "/inject"])
async def test_x7_a_failure_before_the_first_byte_is_a_500(served: Served, path: str) -> None:
    answer = await ask(served, path)
    assert (answer.status, answer.header("connection")) == (500, "close")
    assert answer.error["code"] == "internal_error"
    assert b"secret" not in answer.body
    assert b"stolen" not in answer.head


@pytest.mark.parametrize("path", ["/fail/middle", "/short"])
async def test_d1_a_failure_after_it_breaks_the_reply(served: Served, path: str) -> None:
    for _ in range(3):
        with pytest.raises(BrokenReplyError):
            await ask(served, path)
    # And what cleans up after connections goes on: a deaf application is still found.
    assert (await ask(served, "/ready")).status == 200


async def test_d1_it_breaks_for_a_client_that_reads_to_the_end_too(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"GET /fail/middle HTTP/1.0\r\n\r\n")
        await wire.head()
        # An orderly end of the connection would make half of the reply a whole one.
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(wire.reader.read(), PATIENCE)


async def test_more_than_was_promised_never_comes(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/long")
        assert (await wire.answer()).body == b"four"
        assert await wire.ends() == b""


async def test_what_failed_is_logged_without_its_words() -> None:
    with serving() as served:
        assert (await ask(served, "/fail/before")).status == 500
        served.process.terminate()
        _, log = served.said()
    assert "application_failed" in log
    assert "ValueError" in log
    assert "fail_before" in log
    assert "secret" not in log


@pytest.mark.parametrize("path", ["/echo", "/stream?2", "/empty?204", "/empty?200"])
async def test_c19_a_head_request_has_no_body(served: Served, path: str) -> None:
    async with await Wire.open(served) as wire:
        wire.get(path, method="HEAD")
        await wire.answer(to_head=True)
        wire.get("/ready")
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_replies_that_have_no_body(served: Served, status: int) -> None:
    async with await Wire.open(served) as wire:
        wire.get(f"/empty?{status}")
        answer = await wire.answer()
        assert (answer.status, answer.header("content-length")) == (status, None)
        wire.get("/ready")
        assert (await wire.answer()).status == 200


async def test_an_informational_status_is_no_reply(served: Served) -> None:
    assert (await ask(served, "/empty?101")).status == 500


async def test_an_old_client_reads_to_the_end(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.send(b"GET /stream?2 HTTP/1.0\r\n\r\n")
        answer = await wire.answer()
        assert (answer.body, answer.header("transfer-encoding")) == (b"piece 0\npiece 1\nend\n", None)


async def test_a_client_may_ask_to_close(served: Served) -> None:
    async with await Wire.open(served) as wire:
        wire.get("/stream?1", "Connection: close")
        assert (await wire.answer()).header("connection") == "close"
        assert await wire.ends() == b""
