"""Heads that two servers could read in two ways are refused; whatever arrives, nothing else comes out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.errors import GatewayError
from gateway_project.daphne.head import family_of, find_end, parse_head

HOST = b"Host: gateway.test"


def head(*lines: bytes) -> bytes:
    """The head as it stands before its empty line."""
    return b"\r\n".join(lines)


def test_a_head_is_read() -> None:
    read = parse_head(
        head(
            b"POST /v1/chat%20s/completions?a=%31&b HTTP/1.1",
            b"HOST: gateway.test:8080",
            b"X-Name:  two words \t",
            b"x-name: again",
            b"X_Name: would pass for X-Name",
            b"Daphne-Root-Path: /v1",
            b"Content-Length: 12",
        ),
        100,
    )
    assert (read.method, read.path, read.raw_path) == (
        "POST",
        "/v1/chat s/completions",
        b"/v1/chat%20s/completions",
    )
    assert (read.query, read.version, read.length) == (b"a=%31&b", "1.1", 12)
    assert read.headers == [
        (b"host", b"gateway.test:8080"),
        (b"x-name", b"two words"),
        (b"x-name", b"again"),
        (b"content-length", b"12"),
    ]
    assert read.keep_alive
    assert not read.expects_continue
    assert not read.websocket


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([], True),
        ([b"Connection: keep-alive"], True),
        ([b"Connection: close"], False),
        ([b"Connection: keep-alive, Close"], False),
        ([b"Connection: x-close"], True),
        ([b"Connection: keep-alive", b"Connection: close"], False),
    ],
)
def test_the_connection_is_kept_unless_it_is_to_close(lines: list[bytes], kept: bool) -> None:
    assert parse_head(head(b"GET / HTTP/1.1", HOST, *lines), 100).keep_alive is kept


def test_an_old_client_needs_no_host_and_gets_one_reply() -> None:
    read = parse_head(head(b"GET /health HTTP/1.0", b"Connection: keep-alive"), 100)
    assert not read.keep_alive
    assert read.version == "1.0"


def test_chunks_have_no_length() -> None:
    assert parse_head(head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: Chunked"), 100).length is None


def test_a_websocket_is_known() -> None:
    assert parse_head(head(b"GET /ws HTTP/1.1", HOST, b"Upgrade: WebSocket"), 100).websocket
    assert not parse_head(head(b"GET /ws HTTP/1.1", HOST, b"Upgrade: h2c"), 100).websocket
    assert not parse_head(head(b"GET /ws HTTP/1.0", HOST, b"Upgrade: websocket"), 100).websocket


@pytest.mark.parametrize(
    "host", [b"a", b"a.test:8080", b"10.0.0.1", b"[::1]", b"[::1]:8080", b"under_score.test"]
)
def test_hosts(host: bytes) -> None:
    assert parse_head(head(b"GET / HTTP/1.1", b"Host: " + host), 100).headers == [(b"host", host)]


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, [b""]),
        (400, [b"GET /"]),
        (400, [b"GET  / HTTP/1.1", HOST]),
        (400, [b"GET / HTTP/1.1 ", HOST]),
        (400, [b" GET / HTTP/1.1", HOST]),
        (400, [b"GET / http/1.1", HOST]),
        (400, [b"G@T / HTTP/1.1", HOST]),
        (400, [b"GET /a b HTTP/1.1", HOST]),
        (400, [b"GET /\xc3\xbc HTTP/1.1", HOST]),
        (400, [b"GET /\x7f HTTP/1.1", HOST]),
        (400, [b"GET /#fragment HTTP/1.1", HOST]),
        (400, [b"GET http://gateway.test/ HTTP/1.1", HOST]),
        (400, [b"GET gateway.test HTTP/1.1", HOST]),
        (400, [b"OPTIONS * HTTP/1.1", HOST]),
        (505, [b"GET / HTTP/2.0", HOST]),
        (505, [b"GET / HTTP/0.9", HOST]),
        (505, [b"GET / HTTP/1.2", HOST]),
        (405, [b"TRACE / HTTP/1.1", HOST]),
        (405, [b"CONNECT gateway.test:443 HTTP/1.1", HOST]),
        (400, [b"GET / HTTP/1.1"]),
        (400, [b"GET / HTTP/1.1", HOST, HOST]),
        (400, [b"GET / HTTP/1.0", HOST, b"Host: other.test"]),
        (400, [b"GET / HTTP/1.1", b"Host:"]),
        (400, [b"GET / HTTP/1.1", b"Host: localhost/#@x"]),
        (400, [b"GET / HTTP/1.1", b"Host: a@b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a, b"]),
        (400, [b"GET / HTTP/1.1", HOST, b"No colon"]),
        (400, [b"GET / HTTP/1.1", HOST, b": no name"]),
        (400, [b"GET / HTTP/1.1", HOST, b"Space : before the colon"]),
        (400, [b"GET / HTTP/1.1", HOST, b"X-Folded: one", b" two"]),
        (400, [b"GET / HTTP/1.1", b" Host: first"]),
        (400, [b"GET / HTTP/1.1", HOST, b"X-Null: a\x00b"]),
        (400, [b"GET / HTTP/1.1", HOST, b"X-Bare: a\nInjected: b"]),
        (400, [b"GET / HTTP/1.1", HOST, b"X-Bare: a\rInjected: b"]),
        (400, [b"GET / HTTP/1.1", HOST, b"X-Line: a\x85b"]),
        (400, [b"GET / HTTP/1.1", HOST, b"X-\xc3\xbc: name"]),
        (400, [b"GET / HTTP/1.1", HOST, b"", b"X-After: the end"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: 3", b"Transfer-Encoding: chunked"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: 3", b"Content-Length: 3"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: 3, 3"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: +3"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: -3"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: 0x3"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: \xb2"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: 3 3"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length:"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Content-Length: " + b"9" * 5000]),
        (400, [b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: xchunked"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: gzip, chunked"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: identity"]),
        (400, [b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"]),
        (400, [b"POST / HTTP/1.0", HOST, b"Transfer-Encoding: chunked"]),
        (417, [b"POST / HTTP/1.1", HOST, b"Expect: 200-ok"]),
        (400, [b"GET /ws HTTP/1.1", HOST, b"Upgrade: websocket", b"Content-Length: 3"]),
        (431, [b"GET / HTTP/1.1", HOST, *[b"X: y"] * 100]),
    ],
)
def test_what_is_ambiguous_is_refused(status: int, lines: list[bytes]) -> None:
    with pytest.raises(GatewayError) as refused:
        parse_head(head(*lines), 100)
    assert refused.value.status("openai") == status


def test_as_many_headers_as_are_allowed() -> None:
    assert len(parse_head(head(b"GET / HTTP/1.1", HOST, *[b"X: y"] * 99), 100).headers) == 100


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\nHost: a\n\n", b"GET /\n", b"GET / HTTP/1.1\rHost", b"\n", b"\r\r"]
)
def test_a_line_that_ends_otherwise_is_noticed_at_once(data: bytes) -> None:
    with pytest.raises(GatewayError):
        find_end(data)


@pytest.mark.parametrize("cut", range(37))
def test_a_head_may_come_in_any_two_parts(cut: int) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
    assert find_end(whole[:cut]) == -1
    assert find_end(whole) == len(whole) - 4


def test_whose_client_speaks() -> None:
    assert family_of(b"POST /v1/messages HTTP/1.1\r\nHost: a") == "anthropic"
    assert family_of(b"POST /v1/chat/completions HTTP/1.1\r\nX: /v1/messages") == "openai"
    assert family_of(b"GARBAGE") == "openai"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        find_end(data)
        parse_head(data, 100)


_NAMES = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map("x-{}".format)
_VALUES = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=20))
def test_what_is_well_formed_comes_out_as_it_went_in(fields: list[tuple[str, str]]) -> None:
    sent = [(name.encode(), value.encode()) for name, value in fields]
    lines = [b"%b: %b" % pair for pair in sent]
    assert parse_head(head(b"GET / HTTP/1.1", HOST, *lines), 100).headers[1:] == sent


@given(
    st.lists(
        st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b":", b"a", b"Host: a", b"GET / HTTP/1.1"]), max_size=30
    )
)
def test_no_line_break_survives_in_a_value(parts: list[bytes]) -> None:
    try:
        read = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(parts), 100)
    except GatewayError:
        return
    for name, value in read.headers:
        assert not set(name + value) & set(b"\r\n\0")
    assert [name for name, _ in read.headers].count(b"host") == 1
