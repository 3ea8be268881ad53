"""Providers that are odd but right: their answers arrive whole, identical and counted."""

from __future__ import annotations

import gzip
import re
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import brotli
import orjson
import pytest
from backports import zstd

from pipeline.tests import faults
from pipeline.tests.faults import BAD
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_ANTHROPIC,
    CHAT_OLLAMA,
    CHAT_OPENAI,
    MESSAGES_ANTHROPIC,
    PAIRS,
    TEXT,
    Pair,
    ask,
)
from tests.support.upstream.script import (
    Answer,
    Close,
    Json,
    OneByteSegments,
    Reset,
    Send,
    SendHead,
    Sse,
    Stall,
    Step,
    Wait,
    WaitFor,
    sse,
)

SSE = {"content-type": "text/event-stream"}
# Not ASCII, beyond the basic plane, and with the separators that text decoders take for ends of lines.
ODD = "žluťoučký 🐎\u2028next\u2029and\u0085last"


def check_good(live: LiveGateway, answer: Any, *, source: str = "provider") -> None:
    assert answer.status == 200
    assert answer.failures == []
    assert answer.complete
    record = live.wait_record()
    assert (record.outcome, record.code) == ("ok", "")
    assert [attempt.outcome for attempt in record.attempts] == ["ok"]
    assert record.usage is not None
    assert record.usage.source == source


def chat_stream(*deltas: str, usage: Any = None) -> list[Any]:
    """Events of a chat stream that says this."""
    events: list[Any] = [
        {"id": "x", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": text}}]}
        for text in deltas
    ]
    events.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage is not None:
        events.append({"id": "x", "choices": [], "usage": usage})
    return [*events, "[DONE]"]


def raw_stream(events: Sequence[Any], ending: bytes = b"\n", prefix: bytes = b"data: ") -> bytes:
    payloads = (event.encode() if type(event) is str else orjson.dumps(event) for event in events)
    return b"".join(prefix + payload + ending + ending for payload in payloads)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_stream_as_it_should_be(live: LiveGateway, pair: Pair) -> None:
    answer = ask(live, pair, stream=True)
    check_good(live, answer)
    assert answer.text == TEXT
    assert len(answer.finishes) == 1
    assert live.records[0].first_content


def test_the_same_dialect_goes_through_byte_for_byte(live: LiveGateway, fake: FakeUpstream) -> None:
    """But for the usage chunk that only the gateway asked for."""
    events = chat_stream("Hel", ODD, usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    fake.script("", [Sse(events)])
    answer = ask(live, CHAT_OPENAI, stream=True)
    without = [event for event in events if event == "[DONE]" or event["choices"]]
    assert answer.raw == b"".join(map(sse, without))
    wished = ask(live, CHAT_OPENAI, stream=True, stream_options={"include_usage": True})
    assert wished.raw == b"".join(map(sse, events))


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, CHAT_OLLAMA], ids=str)
def test_u17_segments_of_one_byte(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    expected = ask(live, pair, stream=True)
    live.records.clear()
    fake.script("", lambda request: [_Slowly(request)])
    answer = ask(live, pair, stream=True)
    check_good(live, answer)
    assert _without_ids(answer.raw) == _without_ids(expected.raw)


def _without_ids(raw: bytes) -> bytes:
    """Translators give each answer an id and a time of its own."""
    return re.sub(rb'"(id|created)":("[^"]*"|\d+)', b"", raw)


class _Slowly:
    """The provider's own stream, a byte at a time."""

    def __init__(self, request: Any) -> None:
        self._request = request

    async def run(self, stage: Any) -> None:
        reply = stage.default()
        await stage.head(SendHead(reply.status, reply.headers))
        for frame in reply.frames:
            await OneByteSegments(frame).run(stage)


FORMS = {
    "LF": raw_stream(chat_stream("a", ODD)),
    "CR": raw_stream(chat_stream("a", ODD), b"\r"),
    "CRLF": raw_stream(chat_stream("a", ODD), b"\r\n"),
    "no-space": raw_stream(chat_stream("a", ODD), prefix=b"data:"),
    "BOM": b"\xef\xbb\xbf" + raw_stream(chat_stream("a", ODD)),
    "comments": b": hello\n\n" + raw_stream(chat_stream("a", ODD)).replace(b"\n\n", b"\n\n: ping\n\n", 2),
    "other-fields": b"retry: 5\n\n" + raw_stream(chat_stream("a", ODD), prefix=b"id: 1\ndata: "),
}


@pytest.mark.parametrize("surface", ["chat", "messages"])
@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize("form", FORMS)
def test_u18_every_legal_form_of_a_stream(
    live: LiveGateway, fake: FakeUpstream, form: str, cut: str, surface: str
) -> None:
    pair = next(p for p in PAIRS if p.surface == surface and p.upstream == "chat")
    send: Step = OneByteSegments(FORMS[form]) if cut == "bytes" else Send(FORMS[form])
    fake.script("", [SendHead(200, SSE), send])
    answer = ask(live, pair, stream=True)
    check_good(live, answer, source="estimated")
    assert answer.text == "a" + ODD


ENCODED: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, CHAT_ANTHROPIC], ids=str)
@pytest.mark.parametrize("encoding", ENCODED)
def test_u27_a_compressed_stream(live: LiveGateway, fake: FakeUpstream, encoding: str, pair: Pair) -> None:
    plain = _recorded(live, fake, pair)
    fake.script("", [SendHead(200, SSE | {"content-encoding": encoding}), Send(ENCODED[encoding](plain))])
    answer = ask(live, pair, stream=True)
    assert answer.text == TEXT
    assert answer.complete
    assert answer.header("content-encoding") is None
    assert fake.last.header("accept-encoding") == "identity"


def _recorded(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> bytes:
    """The bytes of the provider's own stream."""
    frames: list[bytes] = []

    class Keep:
        async def run(self, stage: Any) -> None:
            frames.extend(stage.default().frames)
            await Answer().run(stage)

    fake.script("", [Keep()], times=1)
    ask(live, pair, stream=True)
    return b"".join(frames)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_u28_a_bomb_ends_at_the_cap(live: LiveGateway, fake: FakeUpstream, stream: bool) -> None:
    """And nobody else is asked for a second one."""
    size, code = (20, "upstream_event_too_large") if stream else (140, "upstream_invalid_response")
    packed = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    bomb = packed.compress(b'data: {"x":"') + packed.compress(b"a" * (size << 20)) + packed.flush()
    headers = {"content-type": "text/event-stream" if stream else "application/json"}
    fake.script("", [SendHead(200, headers | {"content-encoding": "gzip"}), Send(bomb)])
    faults.two(live, CHAT_OPENAI)
    answer = ask(live, CHAT_OPENAI, stream=stream)
    faults.check_refused(answer, BAD, code)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC], ids=str)
def test_u30_a_stream_that_ends_with_its_connection(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, version: str
) -> None:
    plain = _recorded(live, fake, pair)
    live.records.clear()
    fake.script("", [SendHead(200, SSE, "none", version), Send(plain), Close()])
    answer = ask(live, pair, stream=True)
    check_good(live, answer)
    assert answer.text == TEXT


USAGES: Mapping[str, tuple[Any, tuple[int, int] | None]] = {
    "missing": (None, None),
    "null": ("null", None),
    "zero": ({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0)),
    "negative": ({"prompt_tokens": -5, "completion_tokens": 7}, None),
    "huge": ({"prompt_tokens": 1 << 60, "completion_tokens": 1}, (1 << 53, 1)),
    "string": ({"prompt_tokens": "5", "completion_tokens": "7"}, None),
    "list": ([5, 7], None),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", ["chat", "messages"])
@pytest.mark.parametrize("name", USAGES)
def test_u31_whatever_a_provider_says_of_usage(
    live: LiveGateway, fake: FakeUpstream, name: str, surface: str, stream: bool
) -> None:
    """The answer is not harmed by it, and what is written down is a number or a marked estimate."""
    pair = next(p for p in PAIRS if p.surface == surface and p.upstream == "chat")
    usage, counted = USAGES[name]
    usage = None if usage == "null" else usage
    if stream:
        fake.script("", [Sse(chat_stream("hello ", "there", usage=usage))])
    else:
        message = {"role": "assistant", "content": "hello there"}
        body = {"id": "x", "object": "chat.completion", "model": "gpt-4o", "usage": usage}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        fake.script("", [Json(200, body | {"choices": choices})])
    answer = ask(live, pair, stream=stream)
    assert answer.text == "hello there"
    record = live.wait_record()
    assert record.outcome == "ok"
    assert record.usage is not None
    if counted is None:
        assert record.usage.source == "estimated"
        assert record.usage.input_tokens == 2
        assert 3 <= record.usage.output_tokens <= 8
    else:
        assert record.usage.source == "provider"
        assert (record.usage.input_tokens, record.usage.output_tokens) == counted


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC], ids=str)
def test_u32_what_follows_the_end_is_ignored(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    more = (
        b'data: {"choices":[{"index":0,"delta":{"content":"MORE"}}]}\n\ndata: {"error":{"message":"x"}}\n\n'
    )
    fake.script("", [Answer(), Send(more), Send(b"data: no json\n\n")])
    answer = ask(live, pair, stream=True)
    check_good(live, answer)
    assert answer.text == TEXT
    assert b"MORE" not in answer.raw


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_body_that_ends_after_its_last_event_keeps_its_connection(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    fake.script("", [Answer(), Wait(0.03)])
    for _ in range(3):
        assert ask(live, pair, stream=True).text == TEXT
        # The record is closed, and the client gone, before the provider is done.
        live.idle()
    assert len({request.connection for request in fake.requests}) == 1


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_body_that_does_not_end_keeps_nobody(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    fake.script("", [Answer(), Stall()])
    answer = ask(live, pair, stream=True)
    assert answer.text == TEXT
    assert answer.complete
    assert fake.wait_closed(fake.last)
    record = live.wait_record()
    assert record.outcome == "ok"
    # What was waited for afterwards is no part of the call.
    assert fake.last.closed_at is not None
    assert record.ended < fake.last.closed_at


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_u34_a_stale_connection_costs_one_silent_resend(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    assert ask(live, pair).status == 200
    stale = fake.script(Match(where=lambda request: request.turn > 1), [Reset()], times=1)
    answer = ask(live, pair)
    assert answer.text == TEXT
    assert stale.used == 1
    assert len(fake.requests) == 3
    assert [attempt.outcome for attempt in live.wait_record(2).attempts] == ["ok"]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_nothing_goes_out_before_the_first_content(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    """So that until then every failure can still become a status, or another attempt."""
    go_on = threading.Event()
    fake.script("", [Answer(events=pair.leading), WaitFor(go_on), Reset()], times=1)
    targets = [faults.named(live, pair, name) for name in ("first", "second")]
    live.use(live.snapshot([live.route("*", *targets)]))
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(live, pair, stream=True)))
    asking.start()
    fake.wait_for(1)
    go_on.set()
    asking.join()
    assert answers[0].text == TEXT
    record = live.wait_record()
    # What the client waited for the first target is not counted as content.
    assert [attempt.provider for attempt in record.attempts] == ["first", "second"]
    assert record.first_content > record.attempts[1].started


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_stream_counts_as_much_as_the_same_answer_whole(live: LiveGateway, pair: Pair) -> None:
    whole, stream = ask(live, pair), ask(live, pair, stream=True)
    assert whole.text == stream.text == TEXT
    first, second = live.wait_record(1), live.wait_record(2)
    assert first.usage is not None
    assert second.usage == first.usage
    assert first.usage.source == "provider"
