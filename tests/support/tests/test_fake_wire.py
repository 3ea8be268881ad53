"""The fake as a server: how it reads requests, what it records, how it lives and dies."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.tests.samples import call
from tests.support.tests.test_fake_script import (
    BODY,
    CHAT,
    connected,
    exchange,
    read_all,
    read_until,
    request,
)
from tests.support.tls import server_context
from tests.support.upstream.script import Answer, Send, SendHead, Stall, WaitFor


def test_a_request_is_recorded_as_it_came(fake_upstream: FakeUpstream) -> None:
    data = b'{"model": "gpt-4o",  "messages": [{"role":"user","content":"\\u00fc"}]}'
    with connected(fake_upstream) as sock:
        sock.sendall(
            b"POST /v1/chat/completions?beta=true&x= HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n"
            b"AUTHORIZATION: Bearer sk-x\r\nx-one: 2\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
        )
        wire = read_all(sock)
    record = fake_upstream.last
    assert (record.method, record.path, record.query) == ("POST", CHAT, {"beta": ["true"], "x": [""]})
    assert [name for name, _ in record.headers][:3] == ["Host", "X-One", "AUTHORIZATION"]
    assert record.values("x-one") == ["1", "2"]
    assert record.body == data
    assert record.json["messages"][0]["content"] == "ü"
    assert (record.number, record.turn, record.status, record.finished) == (1, 1, 200, True)
    assert record.sent == len(wire)
    assert not record.aborted


def test_chunked_bodies_are_read(fake_upstream: FakeUpstream) -> None:
    data = json.dumps(BODY).encode()
    with connected(fake_upstream) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer sk-x\r\n"
            b"Connection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for byte in data[:5]:
            sock.sendall(b"1\r\n%c\r\n" % byte)
        sock.sendall(b"%X;x=y\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (len(data) - 5, data[5:]))
        assert read_all(sock).startswith(b"HTTP/1.1 200 OK")
    assert fake_upstream.last.body == data


def test_connections_are_kept_and_counted(fake_upstream: FakeUpstream) -> None:
    with connected(fake_upstream) as sock:
        for _ in range(2):
            sock.sendall(request({**BODY, "stream": True}))
            read_until(sock, b"0\r\n\r\n")
    exchange(fake_upstream)
    one, two, three = fake_upstream.requests
    assert one.connection == two.connection != three.connection
    assert [record.turn for record in fake_upstream.requests] == [1, 2, 1]
    assert fake_upstream.wait_closed(two)
    assert not two.aborted


@pytest.mark.parametrize(
    "wire",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_400_and_not_recorded(
    fake_upstream: FakeUpstream, wire: bytes
) -> None:
    with connected(fake_upstream) as sock:
        sock.sendall(wire)
        assert read_all(sock).startswith(b"HTTP/1.1 400 Bad Request")
    assert fake_upstream.requests == []


def test_expect_100(fake_upstream: FakeUpstream) -> None:
    head, _, body = request(BODY, CHAT, "Expect: 100-continue", "Connection: close").partition(b"\r\n\r\n")
    with connected(fake_upstream) as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_all(sock).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_leaves_early_is_seen_at_once(fake_upstream: FakeUpstream) -> None:
    never = threading.Event()
    fake_upstream.script(CHAT, [WaitFor(never), Answer()])
    with connected(fake_upstream) as sock:
        sock.sendall(request())
        record = fake_upstream.wait_for(1)[0]
    assert fake_upstream.wait_closed(record)
    assert (record.aborted, record.sent, record.status) == (True, 0, None)


def test_a_client_that_does_not_read_holds_the_writing(fake_upstream: FakeUpstream) -> None:
    size = 64 * 1024 * 1024
    fake_upstream.script(CHAT, [SendHead(200, {"content-length": str(size)}, "none"), Send(b"x" * size)])
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", fake_upstream.port))
        sock.sendall(request())
        record = fake_upstream.wait_for(1)[0]
        assert not fake_upstream.wait_finished(record, 0.2)
    assert fake_upstream.wait_closed(record)
    assert record.aborted
    assert 0 < record.sent < size


def test_reset_forgets_and_ends_answers_under_way_but_keeps_idle_connections(
    fake_upstream: FakeUpstream,
) -> None:
    fake_upstream.script(CHAT, [Stall()], times=1)
    with connected(fake_upstream) as stalled, connected(fake_upstream) as idle:
        stalled.sendall(request())
        fake_upstream.wait_for(1)
        idle.sendall(request({**BODY, "stream": True}))
        read_until(idle, b"0\r\n\r\n")
        fake_upstream.reset()
        with pytest.raises(ConnectionResetError):
            stalled.recv(1)
        assert fake_upstream.requests == []
        idle.sendall(request({**BODY, "stream": True}))
        read_until(idle, b"0\r\n\r\n")
    assert len(fake_upstream.requests) == 1


async def test_it_serves_a_loop_of_another_thread(fake_upstream: FakeUpstream) -> None:
    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", fake_upstream.port)
        writer.write(request(BODY, CHAT, "Connection: close"))
        wire = await reader.read()
        writer.close()
        await writer.wait_closed()
        return wire

    wires = await asyncio.gather(*(one() for _ in range(50)))
    assert all(wire.startswith(b"HTTP/1.1 200 OK") for wire in wires)
    assert len(fake_upstream.requests) == 50


def test_headers_of_the_provider_that_must_not_travel_are_there_to_be_caught(
    fake_upstream: FakeUpstream,
) -> None:
    head = exchange(fake_upstream).partition(b"\r\n\r\n")[0]
    for name in (b"set-cookie", b"openai-organization", b"x-request-id", b"x-ratelimit-limit-requests"):
        assert b"\r\n" + name + b": " in head


def test_a_stopped_fake_refuses_connections_and_frees_its_port() -> None:
    fake = FakeUpstream().start()
    fake.stop()
    with pytest.raises(ConnectionRefusedError):
        call(fake.url + CHAT, BODY)
    again = FakeUpstream().start(fake.port)
    try:
        assert call(again.url + CHAT, BODY)[0] == 200
        with pytest.raises(OSError, match="in use"):
            FakeUpstream().start(fake.port)
    finally:
        again.stop()


def test_tls_with_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    context, certificate = server_context(tmp_path)
    fake = FakeUpstream(tls=context).start()
    try:
        assert fake.url.startswith("https://")
        with (
            socket.create_connection(("127.0.0.1", fake.port)) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(sock, server_hostname="127.0.0.1")
        trusting = ssl.create_default_context(cafile=certificate)
        with (
            socket.create_connection(("127.0.0.1", fake.port)) as sock,
            trusting.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
        ):
            tls.sendall(request(BODY, CHAT, "Connection: close"))
            assert read_until(tls, b"Hello from gpt-4o").startswith(b"HTTP/1.1 200 OK")
    finally:
        fake.stop()


def test_it_runs_alone_as_a_program() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.support.fake_upstream", "--port", "0"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert call(url + CHAT, BODY)[0] == 200
            assert call(url + CHAT, {**BODY, "foo": 1})[0] == 400
            assert process.stdout.readline() == f"POST {CHAT} gpt-4o 200 ok\n"
            assert process.stdout.readline().startswith(f"POST {CHAT} gpt-4o 400 refused: Unrecognized")
        finally:
            process.terminate()
    assert process.returncode is not None
