"""However a network cuts a provider's stream, and however its lines end, the client gets the same bytes:
through framer, tap and translator together, for every pair of the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from dialects.as_stream import AS_STREAM
from dialects.table import DIALECTS, TRANSLATORS
from dialects.tests import golden_files
from dialects.tests.pair_support import asked, carried, lines, say

Body = dict[str, Any]

ASKED: dict[str, Body] = {
    "chat": {"messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}},
    "completions": {"prompt": "x", "stream_options": {"include_usage": True}},
    "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2000},
    "responses": {"input": "x"},
}
MODELS = {"messages": "claude-sonnet-4-5", "responses": "gpt-4o", "chat": "gpt-4o"}
TEXT = "Ž\u2028\u0085🐎 data: [DONE]\r\n\r\nevent: x\n\n"
WRITTEN = '{"city":"Ž\u2028🐎"}'

CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": WRITTEN}}]
CHAT: Body = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": TEXT,
                "reasoning_content": "Hm.",
                "tool_calls": CALLS,
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
MESSAGES: Body = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": TEXT},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": orjson.loads(WRITTEN)},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}
RESPONSES: Body = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o",
    "status": "completed",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "gAAA",
        },
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "f",
            "arguments": WRITTEN,
        },
    ],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    },
}
COMPLETIONS: Body = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
COUNTS = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}
CALLED = {"tool_calls": [{"function": {"name": "f", "arguments": orjson.loads(WRITTEN)}}]}
GIVEN: dict[str, bytes] = {
    "chat": AS_STREAM["chat"](CHAT),
    "messages": AS_STREAM["messages"](MESSAGES),
    "responses": AS_STREAM["responses"](RESPONSES),
    "completions": AS_STREAM["completions"](COMPLETIONS),
    "ollama_chat": lines(say(thinking="Hm."), say(content=TEXT), say(**CALLED), {**say(), **COUNTS}),
    "ollama_generate": lines({"response": TEXT}, {"response": "", **COUNTS}),
}
# Embeddings do not stream.
PAIRS = sorted(pair for pair in TRANSLATORS if pair[1] in GIVEN)
SAME = sorted(GIVEN)

_MADE_UP = re.compile(rb"(chatcmpl-|cmpl-|msg_|call_|toolu_|resp_|rs_|fc_|ctc_)[0-9a-f]{24}")
_TIMES = re.compile(rb'("(?:created|created_at|completed_at)":)\d+')
_DATA = re.compile(rb"(?m)^data: ")
# The places at which a stream is cut in two: about as many of each, evenly.
_CUTS = 40


def steady(out: bytes) -> bytes:
    return _TIMES.sub(rb"\g<1>0", _MADE_UP.sub(rb"\g<1>ID", out))


def variants(upstream: str, stream: bytes) -> dict[str, bytes]:
    """The same stream as other servers would write it."""
    if DIALECTS[upstream].framing == "ndjson":
        return {
            "LF": stream,
            "CRLF": stream.replace(b"\n", b"\r\n"),
            "BOM": b"\xef\xbb\xbf" + stream,
            "empty lines": stream.replace(b"\n", b"\n\n"),
        }
    # A separator of lines in Unicode is none on the wire, and legal within JSON.
    stream = stream.replace(b"\\u2028", b"\xe2\x80\xa8")
    noted = b": hello\n\n" + _DATA.sub(b"id: 7\n: note\nretry: 10\ndata: ", stream)
    noted = noted.replace(b"\n\n", b"\n\n: ping\n\n")
    spaceless = _DATA.sub(b"data:", stream)
    return {
        "LF": stream,
        "CRLF": stream.replace(b"\n", b"\r\n"),
        "CR": stream.replace(b"\n", b"\r"),
        "BOM": b"\xef\xbb\xbf" + stream,
        "comments": noted,
        "no space": spaceless,
        "all of them": b"\xef\xbb\xbf" + noted.replace(b"\n", b"\r\n"),
    }


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """A byte at a time, then in two."""
    yield [stream[i : i + 1] for i in range(len(stream))]
    for at in range(1, len(stream), max(1, len(stream) // _CUTS)):
        yield [stream[:at], stream[at:]]


def told(client: str, upstream: str, pieces: list[bytes]) -> bytes:
    body = {**ASKED[client], "stream": True}
    if upstream == "ollama_generate":
        body["suffix"] = "y"
    translator, _ = asked(client, upstream, body, MODELS.get(upstream, "qwen3"))
    out, finished = carried(translator, upstream, pieces)
    assert finished
    return steady(out)


def test_every_pair_that_streams_is_here() -> None:
    assert set(TRANSLATORS) - set(PAIRS) == {("embeddings", "ollama_embed")}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_cut_anywhere_with_any_line_end(client: str, upstream: str) -> None:
    expected = told(client, upstream, [GIVEN[upstream]])
    assert b"\xf0\x9f\x90\x8e" in expected
    for name, stream in variants(upstream, GIVEN[upstream]).items():
        assert told(client, upstream, [stream]) == expected, name
        for pieces in cuts(stream):
            assert told(client, upstream, pieces) == expected, (name, len(pieces[0]))


def _passed(upstream: str, pieces: list[bytes]) -> bytes:
    """What passes where client and provider speak the same."""
    framer, tap = DIALECTS[upstream].framer(), DIALECTS[upstream].tap(strip_usage=False)
    out = b""
    for piece in pieces:
        for event in framer.feed(piece):
            if not tap.finished:
                tap.see(event)
                out += event.raw if tap.keep(event) else b""
    assert tap.finished
    return out


@pytest.mark.parametrize("upstream", SAME)
def test_what_passes_untouched_is_untouched(upstream: str) -> None:
    for name, stream in variants(upstream, GIVEN[upstream]).items():
        expected = _passed(upstream, [stream])
        assert expected
        assert stream.removeprefix(b"\xef\xbb\xbf").startswith(expected.removeprefix(b"\xef\xbb\xbf")), name
        for pieces in cuts(stream):
            # The line feed after a last CR may still be on its way when the event goes out.
            assert _passed(upstream, pieces).rstrip() == expected.rstrip(), (name, len(pieces[0]))


GOLDEN = [
    pytest.param(pair, case, id=f"{pair}: {case['id']}")
    for pair in golden_files.PAIRS
    for case in golden_files.load(pair, "streams")
    if "error" not in case["expect"]
]


@pytest.mark.parametrize(("pair", "case"), GOLDEN)
def test_a_golden_stream_a_byte_at_a_time(pair: str, case: Body) -> None:
    upstream = pair.rpartition("_")[2]
    events = [golden_files.as_event(given) for given in case["upstream"]]
    named = [b"event: %b\n%b" % (e.name.encode(), e.raw) if e.name else e.raw for e in events]
    stream = b"".join(named)
    expected, finished = carried(golden_files.prepared(pair, case), upstream, [stream])
    for end in (b"\n", b"\r\n", b"\r"):
        given = stream.replace(b"\n", end)
        pieces = [given[i : i + 1] for i in range(len(given))]
        out = carried(golden_files.prepared(pair, case), upstream, pieces)
        assert (steady(out[0]), out[1]) == (steady(expected), finished)
