"""The marks show every way in which a stream can be wrong, wherever it is cut, and only those."""

import json

import pytest

from bench.marks import MARK_LENGTH, Order, StreamCheck, mark, read_order, reply_fault

ORDER = Order(stream_id=7, chunks=4, rate=50)
END = b"[DONE]"


def event(payload: bytes) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": payload.decode()}}]}).encode() + b"\n\n"


def stream(*numbers: int, stream_id: int = 7, end: bool = True) -> bytes:
    body = b"".join(event(mark(stream_id, number)) for number in numbers)
    return body + b"data: [DONE]\n\n" if end else body


def faults_of(body: bytes, size: int = 1 << 20, *, complete: bool = True) -> dict[str, int]:
    check = StreamCheck(ORDER, END)
    for start in range(0, len(body), size):
        check.feed(body[start : start + size])
    check.close(complete=complete)
    return dict(check.faults)


def test_an_order_survives_its_prompt() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": f"{ORDER.text()} hello"}]}).encode()
    assert read_order(body) == ORDER


def test_a_prompt_without_an_order_has_none() -> None:
    assert read_order(b'{"messages":[{"role":"user","content":"bench: hello"}]}') is None


def test_a_mark_has_one_length_and_needs_no_escape() -> None:
    for number in (0, 1, 255, 2**32 - 1):
        text = mark(number, number).decode()
        assert len(text) == MARK_LENGTH
        assert json.dumps(text) == f'"{text}"'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 29, 64, 1 << 20])
def test_a_right_stream_has_no_fault_wherever_it_is_cut(size: int) -> None:
    assert faults_of(stream(0, 1, 2, 3), size) == {}


def test_two_chunks_in_one_event_are_two_chunks() -> None:
    body = event(mark(7, 0) + b" word" + mark(7, 1)) + stream(2, 3)
    assert faults_of(body) == {}


def test_every_good_chunk_is_counted_once() -> None:
    check = StreamCheck(ORDER, END)
    assert check.feed(stream(0, 1, end=False)) == 2
    assert check.feed(stream(1, 2, end=False)) == 1
    assert check.seen == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(stream(0, 1, 3), {"lost chunk": 1}, id="lost in the middle"),
        pytest.param(stream(0, 1), {"lost chunk": 2}, id="lost at the end"),
        pytest.param(stream(1, 2, 3), {"lost chunk": 1}, id="lost at the start"),
        pytest.param(stream(0, 1, 1, 2, 3), {"duplicated chunk": 1}, id="duplicated"),
        pytest.param(stream(0, 2, 1, 3), {"reordered chunk": 1}, id="reordered"),
        pytest.param(stream(0, 2, 1, 1, 3), {"reordered chunk": 1, "duplicated chunk": 1}, id="both"),
        pytest.param(stream(0, 1, 2, 3, 4), {"more chunks than ordered": 1}, id="too many"),
        pytest.param(stream(0, 1, 2, 3, end=False), {"ended without its terminator": 1}, id="no terminator"),
        pytest.param(b"", {"lost chunk": 4, "ended without its terminator": 1}, id="empty"),
        pytest.param(
            stream(0, 1, 2, 3).replace(mark(7, 2), mark(7, 2)[:-2] + b"g~"), {"lost chunk": 1}, id="mangled"
        ),
        pytest.param(
            stream(0, 1, 2, 3).replace(b"00000007.00000002", b"00000007.00000005"),
            {"wrong checksum": 1, "lost chunk": 1},
            id="damaged",
        ),
        pytest.param(
            stream(0, 1, end=False) + stream(2, stream_id=8, end=False) + stream(2, 3),
            {"another stream's chunk": 1},
            id="foreign",
        ),
        pytest.param(
            stream(0, 1, 2, 3, end=False) + b'data: {"error": {"message": "gone"}}\n\ndata: [DONE]\n\n',
            {"error inside the stream": 1},
            id="error inside",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_each_fault_is_named(body: bytes, expected: dict[str, int], size: int) -> None:
    assert faults_of(body, size) == expected


def test_a_stream_that_the_bench_cut_has_lost_only_what_it_skipped() -> None:
    assert faults_of(stream(0, 1, end=False), complete=False) == {}
    assert faults_of(stream(0, 2, end=False), complete=False) == {"lost chunk": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (mark(7, 0), None),
        (b"hello", "no mark in the reply"),
        (mark(7, 0) * 2, "duplicated mark in the reply"),
        (mark(8, 0), "another request's reply"),
        (mark(7, 1), "another request's reply"),
        (mark(7, 0).replace(b"~00000007", b"~00000009"), "wrong checksum"),
    ],
)
def test_a_reply_carries_its_own_mark(content: bytes, expected: str | None) -> None:
    assert reply_fault(ORDER, b'{"content":"' + content + b'"}') == expected
