"""A reply's bytes: one write, marked so that its end can be told from a break."""

from __future__ import annotations

import pytest

from gateway_project.daphne.response import Response, date_line

DATE = b"date: today\r\n"


def made(*, head_only: bool = False, close: bool = False) -> Response:
    return Response(head_only=head_only, close=close)


def test_a_small_reply_is_one_piece_with_a_length() -> None:
    response = made()
    response.start(200, [(b"Content-Type", b"application/json")])
    assert response.body(b"{}", DATE, more=False, chunks=True) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ndate: today\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_a_stream_is_chunks_each_in_one_piece() -> None:
    response = made()
    response.start(200, [])
    assert response.body(b"one", DATE, more=True, chunks=True) == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    )
    assert response.body(b"", DATE, more=True, chunks=True) == b""
    assert response.body(b"x" * 17, DATE, more=True, chunks=True) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert response.body(b"end", DATE, more=False, chunks=True) == b"3\r\nend\r\n0\r\n\r\n"


def test_a_stream_may_end_without_a_word() -> None:
    response = made()
    response.start(200, [])
    response.body(b"one", DATE, more=True, chunks=True)
    assert response.body(b"", DATE, more=False, chunks=True) == b"0\r\n\r\n"


def test_who_knows_no_chunks_reads_to_the_connections_end() -> None:
    response = made()
    response.start(200, [])
    first = response.body(b"one", DATE, more=True, chunks=False)
    assert first == b"HTTP/1.1 200 OK\r\ndate: today\r\nconnection: close\r\n\r\none"
    assert response.close
    assert response.body(b"two", DATE, more=False, chunks=False) == b"two"


def test_the_application_may_close_the_connection_and_say_nothing_else_about_it() -> None:
    response = made()
    ours = [
        (b"Connection", b"Close"),
        (b"Transfer-Encoding", b"chunked"),
        (b"server", b"x"),
        (b"keep-alive", b"1"),
    ]
    response.start(200, ours)
    assert response.body(b"", DATE, more=False, chunks=True) == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )


@pytest.mark.parametrize("status", [204, 304])
def test_some_replies_have_no_body(status: int) -> None:
    response = made()
    response.start(status, [])
    raw = response.body(b"not sent", DATE, more=False, chunks=True)
    assert raw.endswith(b"date: today\r\n\r\n")
    assert b"length" not in raw


def test_a_204_has_no_length_and_a_304_may() -> None:
    for status, told in ((204, False), (304, True)):
        response = made()
        response.start(status, [(b"content-length", b"5")])
        assert (b"content-length: 5" in response.body(b"", DATE, more=False, chunks=True)) is told


@pytest.mark.parametrize("more", [True, False])
def test_a_head_has_the_headers_alone(more: bool) -> None:
    response = made(head_only=True)
    response.start(200, [])
    raw = response.body(b"12345", DATE, more=more, chunks=True)
    assert raw.endswith(b"\r\n\r\n")
    assert (b"content-length: 5" in raw) is not more
    assert response.body(b"", DATE, more=False, chunks=True) == b""


@pytest.mark.parametrize("status", [99, 100, 101, 103, 199, 1000])
def test_what_is_not_a_final_reply_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="final reply"):
        made().start(status, [])


def test_a_status_without_a_name() -> None:
    response = made()
    response.start(529, [])
    assert response.body(b"", DATE, more=False, chunks=True).startswith(b"HTTP/1.1 529 \r\n")


@pytest.mark.parametrize(
    "header", [(b"x", b"a\r\nb: c"), (b"x", b"a\nb: c"), (b"x\r\ny", b"a"), (b"x", b"a\0"), (b"x", b"a\r")]
)
def test_data_cannot_write_headers(header: tuple[bytes, bytes]) -> None:
    response = made()
    response.start(200, [header])
    with pytest.raises(ValueError, match="control character"):
        response.body(b"", DATE, more=False, chunks=True)
    assert not response.begun


@pytest.mark.parametrize("pieces", [[b"12345"], [b"12", b"345"], [b"123"], [b"1", b"2"], [b""]])
def test_a_body_that_breaks_its_heads_promise(pieces: list[bytes]) -> None:
    response = made()
    response.start(200, [(b"content-length", b"4")])
    *first, last = pieces
    for piece in first:
        response.body(piece, DATE, more=True, chunks=True)
    with pytest.raises(RuntimeError, match="length"):
        response.body(last, DATE, more=False, chunks=True)


def test_messages_in_the_wrong_order() -> None:
    response = made()
    with pytest.raises(RuntimeError, match="before"):
        response.body(b"", DATE, more=False, chunks=True)
    response.start(200, [])
    with pytest.raises(RuntimeError, match="twice"):
        response.start(200, [])


def test_the_date_is_as_http_wants_it() -> None:
    assert date_line().endswith(b" GMT\r\n")
