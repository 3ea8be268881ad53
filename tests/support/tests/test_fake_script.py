"""Scripts do on the wire what they say: each fault an upstream can show, seen from a raw socket."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.tests.samples import call
from tests.support.upstream.script import (
    Answer,
    Close,
    Json,
    Ndjson,
    OneByteSegments,
    Raw,
    Reset,
    Send,
    SendHead,
    Sse,
    Stall,
    Wait,
    WaitFor,
)

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"


def request(body: Any = BODY, path: str = CHAT, *extra: str) -> bytes:
    """A request's bytes, with a content-length and a key."""
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1", "Host: x", "Authorization: Bearer sk-x", "Content-Type: application/json",
        f"Content-Length: {len(data)}", *extra, "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + data


@contextmanager
def connected(fake: FakeUpstream) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", fake.port), 5) as sock:
        yield sock


def read_all(sock: socket.socket) -> bytes:
    """Until the other side closes."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = sock.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    return data


def exchange(fake: FakeUpstream, body: Any = BODY) -> bytes:
    """One request on a connection that ends with it."""
    with connected(fake) as sock:
        sock.sendall(request(body, CHAT, "Connection: close"))
        return read_all(sock)


def unchunked(wire: bytes) -> bytes:
    """The body of a chunked answer that must be whole."""
    body, rest = b"", wire.partition(b"\r\n\r\n")[2]
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest == b"\r\n"
            return body
        body += rest[: int(size, 16)]
        assert rest[int(size, 16) :].startswith(b"\r\n")
        rest = rest[int(size, 16) + 2 :]


# -- what each step writes


def test_json_has_a_length_and_its_status(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Json(503, {"error": "busy"}, {"retry-after": "2"})])
    assert exchange(fake_upstream) == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n"
        b'content-length: 16\r\n\r\n{"error":"busy"}'
    )
    assert fake_upstream.last.status == 503


def test_odd_statuses_and_bodies(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Json(529, b"<html>", {"Content-Type": "text/html"})])
    wire = exchange(fake_upstream)
    assert wire.startswith(b"HTTP/1.1 529 Unknown\r\nContent-Type: text/html\r\n")
    assert wire.endswith(b"<html>")


def test_sse_frames_and_their_end(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Sse([{"a": 1}, ("ping", {"b": "ü"}), "[DONE]"])])
    wire = exchange(fake_upstream)
    assert b"content-type: text/event-stream" in wire
    body = 'data: {"a":1}\n\nevent: ping\ndata: {"b":"ü"}\n\ndata: [DONE]\n\n'
    assert unchunked(wire) == body.encode()


def test_ndjson_lines(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Ndjson([{"a": 1}, '{"half'])])
    assert unchunked(exchange(fake_upstream)) == b'{"a":1}\n{"half\n'


def test_bytes_after_done_are_one_more_chunk(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Sse(["[DONE]"]), Send(b"data: more\n\n")])
    assert unchunked(exchange(fake_upstream)) == b"data: [DONE]\n\ndata: more\n\n"


def test_raw_bytes_are_not_framed(fake_upstream: FakeUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"
    fake_upstream.script(CHAT, [Raw(head), Raw(b"a")])
    assert exchange(fake_upstream) == head + b"a"


def test_old_http_that_ends_with_the_connection(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [SendHead(200, {}, "none", version="1.0"), Send(b"text")])
    with connected(fake_upstream) as sock:
        sock.sendall(request())
        assert read_all(sock) == b"HTTP/1.0 200 OK\r\n\r\ntext"


def test_encoded_bodies_go_out_as_given(fake_upstream: FakeUpstream) -> None:
    packed = gzip.compress(b"data: x\n\n")
    fake_upstream.script(CHAT, [SendHead(200, {"content-encoding": "gzip"}), Send(packed)])
    assert gzip.decompress(unchunked(exchange(fake_upstream))) == b"data: x\n\n"


def test_one_byte_segments_lose_nothing(fake_upstream: FakeUpstream) -> None:
    text = 'data: {"c":"\u2028ü"}\r\n\r\n'.encode()
    fake_upstream.script(CHAT, [SendHead(), OneByteSegments(text)])
    with connected(fake_upstream) as sock:
        sock.sendall(request(BODY, CHAT, "Connection: close"))
        wire = read_all(sock)
        assert unchunked(wire) == text
        if sys.platform == "linux":
            counted = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
            assert int.from_bytes(counted[152:156], sys.byteorder) >= len(text)  # tcpi_data_segs_in


# -- how an answer ends


def test_close_is_a_fin_without_the_promised_end(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [SendHead(200, {"content-length": "90"}, "none"), Send(b'{"id":'), Close()])
    with connected(fake_upstream) as sock:
        sock.sendall(request())
        assert read_all(sock) == b'HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{"id":'
    fake_upstream.reset()
    fake_upstream.script(CHAT, [Sse([{"a": 1}]), Close()])
    assert exchange(fake_upstream).endswith(b'data: {"a":1}\n\n\r\n')


def test_reset_is_a_rst(fake_upstream: FakeUpstream) -> None:
    sent = threading.Event()
    fake_upstream.script(CHAT, [Sse([{"a": 1}]), WaitFor(sent), Reset()])
    with connected(fake_upstream) as sock:
        sock.sendall(request())
        assert read_until(sock, b"\n\n").endswith(b'data: {"a":1}\n\n\r\n')
        sent.set()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert fake_upstream.last.closed_at is None
    assert not fake_upstream.last.aborted


def test_reset_before_any_byte(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Reset()], times=1)
    with connected(fake_upstream) as sock:
        sock.sendall(request())
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert exchange(fake_upstream).startswith(b"HTTP/1.1 200 OK")


def test_stall_lasts_until_the_client_leaves(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Answer(events=2), Stall()])
    with connected(fake_upstream) as sock:
        sock.sendall(request({**BODY, "stream": True}))
        read_until(sock, b'"content":"H"')
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        record = fake_upstream.last
        assert not fake_upstream.wait_closed(record, 0.05)
    assert fake_upstream.wait_closed(record)
    assert record.aborted
    assert record.sent > 0


def test_wait_for_holds_until_the_flag(fake_upstream: FakeUpstream) -> None:
    go = threading.Event()
    fake_upstream.script(CHAT, [SendHead(), WaitFor(go), Send(b"x")])
    with connected(fake_upstream) as sock:
        sock.sendall(request(BODY, CHAT, "Connection: close"))
        read_until(sock, b"\r\n\r\n")
        assert not fake_upstream.last.finished
        go.set()
        assert read_all(sock) == b"1\r\nx\r\n0\r\n\r\n"


def test_wait_is_a_pause(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Wait(0.15), Answer()])
    begun = time.monotonic()
    assert exchange(fake_upstream).startswith(b"HTTP/1.1 200 OK")
    assert time.monotonic() - begun >= 0.15


# -- the default answer, bent


def test_a_part_of_the_default_stream(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Answer(events=3, headers={"x-more": "1"})])
    wire = exchange(fake_upstream, {**BODY, "stream": True})
    assert b"x-more: 1\r\n" in wire
    assert unchunked(wire).count(b"data: ") == 3
    assert b"[DONE]" not in wire


def test_pauses_between_the_events_of_the_default_stream(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(CHAT, [Answer(events=4, pause=0.03)])
    begun = time.monotonic()
    exchange(fake_upstream, {**BODY, "stream": True})
    assert time.monotonic() - begun >= 0.09


# -- which requests a script answers


def test_scripts_are_used_in_order_and_used_up(fake_upstream: FakeUpstream) -> None:
    first = fake_upstream.script(CHAT, [Json(500)], times=2)
    fake_upstream.script(CHAT, [Json(503)], times=1)
    statuses = [call(fake_upstream.url + CHAT, BODY, raw=True)[0] for _ in range(4)]
    assert statuses == [500, 500, 503, 200]
    assert first.used == 2


def test_matching_by_model_number_path_and_condition(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(Match(model="gpt-4o-mini"), [Json(501)])
    fake_upstream.script(Match(path="/b/"), [Json(502)])
    fake_upstream.script(Match(where=lambda one: one.header("x-odd") == "1"), [Json(503)])
    fake_upstream.script(Match(CHAT, nth=2), [Json(504)])
    url = fake_upstream.url + CHAT
    assert call(url, {**BODY, "model": "gpt-4o-mini"}, raw=True)[0] == 501
    assert call(fake_upstream.named("b") + CHAT, BODY, raw=True)[0] == 502
    assert call(url, BODY, headers={"authorization": "Bearer sk-x", "x-odd": "1"}, raw=True)[0] == 503
    assert [call(url, BODY, raw=True)[0] for _ in range(3)] == [200, 504, 200]
    assert call(fake_upstream.named("a") + CHAT, BODY)[0] == 200


def test_steps_may_depend_on_the_request(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script("", lambda one: [Json(200, {"number": one.number})])
    assert [call(fake_upstream.url + CHAT, BODY)[1]["number"] for _ in range(2)] == [1, 2]


def test_a_stale_connection_is_reset_on_reuse(fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(Match(turn=2), [Reset()])
    with connected(fake_upstream) as sock:
        sock.sendall(request({**BODY, "stream": True}))
        read_until(sock, b"0\r\n\r\n")
        sock.sendall(request())
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_request_that_breaks_a_rule_is_refused_in_spite_of_a_script(fake_upstream: FakeUpstream) -> None:
    script = fake_upstream.script(CHAT, [Json(200, {"fine": True})])
    status, answer = call(fake_upstream.url + CHAT, {**BODY, "foo": 1})
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    fake_upstream.reset()
    fake_upstream.script(CHAT, [Json(200, {"fine": True})], check=False)
    assert call(fake_upstream.url + CHAT, {**BODY, "foo": 1}) == (200, {"fine": True})
    assert script.steps


def test_paths_of_later_can_be_scripted_now(fake_upstream: FakeUpstream) -> None:
    assert call(fake_upstream.url + "/v1/unheard-of", {})[0] == 404
    fake_upstream.script("/v1/unheard-of", [Json(200, {"id": "x_1"})], check=False)
    assert call(fake_upstream.url + "/v1/unheard-of", {}) == (200, {"id": "x_1"})
