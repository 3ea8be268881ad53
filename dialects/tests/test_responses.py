"""The dialect of responses, and properties of its pairs: only our own errors, and one response both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState

from dialects.errors import UPSTREAM_BAD, GatewayError
from dialects.parts import sealed, unsealed
from dialects.responses import RESPONSES
from dialects.responses_via_chat import ResponsesViaChat
from dialects.sse import SseFramer
from dialects.table import TRANSLATORS
from dialects.tests import judges
from dialects.tests.hostile import ANSWERS, MODELS, TREES
from dialects.types import Event, JsonObject, ModelFacts, StreamTap, Translator, Usage
from tests.support.upstream import openai_responses_answers
from tests.support.upstream.memory import Memory
from tests.support.upstream.wire import Received

WHOLE: JsonObject = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5",
    "output": [],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 16,
    },
}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
COUNTED = Usage(input_tokens=10, output_tokens=6, cache_read=4, cache_write=3, reasoning=2)


# --- The dialect


def test_facts() -> None:
    facts = RESPONSES.facts(
        {
            "model": "m",
            "stream": True,
            "instructions": "1234",
            "max_output_tokens": 50,
            "safety_identifier": "u",
            "input": [
                {"role": "user", "content": "12"},
                {"role": "user", "content": [{"type": "input_text", "text": "123"}]},
                {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
                {"role": "user", "content": [{"type": "input_file"}, {"type": "input_audio"}]},
                {"type": "function_call", "call_id": "c", "name": "ff", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "1"},
                {"type": "surprise"},
            ],
            "tools": [{"type": "web_search"}],
            "text": {"format": {"type": "json_schema"}},
        }
    )
    assert (facts.model, facts.stream, facts.max_tokens, facts.end_user) == ("m", True, 50, "u")
    assert facts.include_usage
    assert facts.needs == {"vision", "documents", "audio", "tools", "json_schema"}
    media = 4000 + 12000 + 12000
    texts = 4 + 2 + 3 + len("c" + "ff" + "{}") + 1
    assert facts.prompt_chars == media + texts + len('{"type":"surprise"}') + len('[{"type":"web_search"}]')


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_a_provider_may_hold_the_conversation(name: str) -> None:
    assert RESPONSES.facts({"model": "m", name: "x_1"}).prompt_chars == 0
    assert RESPONSES.facts({"model": "m", "prompt": {"id": "pmpt_1"}}).needs == frozenset()


def test_answers() -> None:
    assert RESPONSES.is_answer(WHOLE)
    assert RESPONSES.usage(WHOLE) == COUNTED
    for broken in ({}, {**WHOLE, "object": "chat.completion"}, {**WHOLE, "output": ["x"]}):
        assert not RESPONSES.is_answer(broken)
    for usage in (None, {}, {"input_tokens": 1}, {"input_tokens": "1", "output_tokens": 1}):
        assert RESPONSES.usage({"usage": usage}) is None


def _event(body: Any, name: str = "") -> Event:
    return Event(name, body if isinstance(body, bytes) else orjson.dumps(body), b"")


def _tapped(*events: Any) -> StreamTap:
    tap = RESPONSES.tap(strip_usage=True)
    for event in events:
        assert tap.keep(_event(event))
        tap.see(_event(event))
    return tap


OPENING = (
    {"type": "response.created", "response": {**WHOLE, "status": "in_progress", "usage": None}},
    {"type": "response.in_progress", "response": {**WHOLE, "status": "in_progress", "usage": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}},
)


def test_nothing_is_content_before_the_model_speaks() -> None:
    tap = _tapped(*OPENING, b"", {"type": "response.queued"}, {"type": "surprise"})
    assert (tap.content, tap.finished, tap.output_chars, tap.usage) == (False, False, 0, None)


@pytest.mark.parametrize(
    ("event", "chars"),
    [
        ({"type": "response.output_text.delta", "delta": "abc"}, 3),
        ({"type": "response.refusal.delta", "delta": "abc"}, 3),
        ({"type": "response.function_call_arguments.delta", "delta": "{}"}, 2),
        ({"type": "response.reasoning_summary_text.delta", "delta": "hm"}, 2),
        ({"type": "response.audio.delta", "delta": "AAAA"}, 0),
        ({"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}, 1),
        ({"type": "response.output_item.added", "item": {"type": "web_search_call"}}, 0),
        ({"type": "response.output_item.done", "item": {"type": "message"}}, 0),
    ],
)
def test_content(event: JsonObject, chars: int) -> None:
    tap = _tapped(*OPENING, event)
    assert (tap.content, tap.output_chars, tap.finished) == (True, chars, False)


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
def test_the_end_has_the_usage(kind: str) -> None:
    tap = _tapped(*OPENING, {"type": f"response.{kind}", "response": WHOLE})
    assert (tap.finished, tap.usage) == (True, COUNTED)


def test_chats_terminator_is_no_end() -> None:
    assert not _tapped(*OPENING, b"[DONE]").finished


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (
            {
                "type": "response.failed",
                "response": {**WHOLE, "error": {"code": "rate_limit_exceeded", "message": "x"}},
            },
            "rate_limit_exceeded",
        ),
        ({"type": "response.failed", "response": {**WHOLE, "error": None}}, "upstream_error"),
        ({"type": "error", "code": "server_error", "message": "x", "param": None}, "upstream_error"),
        ({"type": "error", "error": {"type": "tokens", "code": None, "message": "x"}}, "rate_limit_exceeded"),
        ({"type": 5}, "upstream_invalid_response"),
        ({"type": "response.completed"}, "upstream_invalid_response"),
        ([], "upstream_invalid_response"),
        (b"{", "upstream_invalid_response"),
    ],
)
def test_failures(event: Any, code: str) -> None:
    tap = RESPONSES.tap(strip_usage=False)
    with pytest.raises(GatewayError) as failed:
        tap.see(_event(event))
    assert failed.value.code == code
    assert not tap.finished


def test_a_failed_response_is_counted() -> None:
    tap = RESPONSES.tap(strip_usage=False)
    with pytest.raises(GatewayError):
        tap.see(_event({"type": "response.failed", "response": WHOLE}))
    assert tap.usage == COUNTED


def test_the_error_event_is_the_apis_own() -> None:
    (event,) = SseFramer().feed(RESPONSES.error_event(GatewayError(UPSTREAM_BAD, "Broke off."), "req_1"))
    body = event.json()
    assert event.name == body["type"] == "error"
    judges.is_response_event(body)
    assert body["error"] == {
        "message": "Broke off.",
        "type": "upstream_error",
        "param": None,
        "code": "upstream_error",
    }
    assert body["request_id"] == "req_1"


# --- A provider of its own dialect


@pytest.mark.parametrize("text", ["say:hi \u2028 there", "call:f {}", "refuse:No.", "count:50"])
def test_a_stream_of_openai_passes_as_it_is(text: str) -> None:
    body = {"model": "gpt-5", "input": text, "stream": True, "tools": [FUNCTION], "max_output_tokens": 40}
    headers = [("authorization", "Bearer sk-x"), ("content-type", "application/json")]
    request = Received(1, 1, 1, "POST", "/", "1.1", headers, orjson.dumps(body), 0.0, json=body)
    reply = openai_responses_answers.answer(request, "responses", Memory())
    stream = b"".join(reply.frames or ())
    framer, tap = RESPONSES.framer(), RESPONSES.tap(strip_usage=True)
    passed = b""
    for at in range(len(stream)):
        for event in framer.feed(stream[at : at + 1]):
            assert not tap.finished
            tap.see(event)
            assert tap.keep(event)
            passed += event.raw
    assert passed == stream
    assert (tap.finished, tap.content, framer.pending()) == (True, True, False)
    whole = openai_responses_answers.answer(replace(request, json={**body, "stream": False}), "", Memory())
    answer = orjson.loads(whole.body)
    assert RESPONSES.is_answer(answer)
    assert tap.usage == RESPONSES.usage(answer)
    assert tap.usage is not None
    assert tap.usage.reasoning > 0


# --- Seals


@given(TREES)
def test_what_is_sealed_comes_back(value: JsonObject) -> None:
    assert unsealed(sealed(value)) == value


@given(st.none() | st.text() | st.text(alphabet="gw1.=AeyJ").map(lambda text: "gw1." + text) | st.integers())
def test_what_others_sealed_stays_closed(text: Any) -> None:
    assert unsealed(text) is None or isinstance(unsealed(text), dict)


# --- Hostile bodies

_WORDS = st.sampled_from(
    [
        "",
        "x",
        "c1",
        "{}",
        '{"a":1}',
        "{",
        "https://e.com/a.png",
        "data:image/png;base64,AAAA",
        "gw1.e30=",
        "a b",
    ]
)
_KINDS = st.sampled_from(
    [
        "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
        "reasoning", "item_reference", "web_search_call", "additional_tools", "tool_search_output", "x",
    ]
)  # fmt: skip
_PART = st.builds(
    lambda tree, kind, text: {**tree, "type": kind, "text": text},
    TREES,
    st.sampled_from(["input_text", "output_text", "refusal", "input_image", "input_file", "input_audio"]),
    _WORDS,
) | st.fixed_dictionaries(
    {"type": st.sampled_from(["input_image", "input_file", "input_audio"])},
    optional={
        "image_url": _WORDS,
        "file_data": _WORDS,
        "file_url": _WORDS,
        "filename": _WORDS,
        "input_audio": TREES,
        "detail": _WORDS,
        "prompt_cache_breakpoint": TREES,
    },
)
_CONTENT = _WORDS | st.lists(_PART, max_size=2)
_TOOL = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "custom", "web_search", "namespace"])},
    optional={
        "name": _WORDS,
        "parameters": TREES,
        "description": _WORDS | st.integers(-5, 5),
        "strict": st.booleans(),
        "format": TREES,
        "tools": st.lists(st.just({"type": "custom", "name": "x"}) | TREES, max_size=2) | st.none(),
    },
)
_ITEM = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer"]), "content": _CONTENT},
        optional={"type": st.just("message"), "phase": _WORDS},
    ),
    st.fixed_dictionaries(
        {"type": _KINDS},
        optional={
            "call_id": st.sampled_from(["c1", "c2", "c" * 50]),
            "name": _WORDS,
            "namespace": _WORDS | st.integers(-5, 5),
            "arguments": _WORDS,
            "input": _WORDS,
            "output": _CONTENT,
            "encrypted_content": _WORDS | st.builds(sealed, TREES) | st.none(),
            "summary": st.lists(TREES, max_size=2),
            "content": _CONTENT | st.none(),
            "tools": st.lists(_TOOL, max_size=2) | TREES,
        },
    ),
    st.just({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}),
    st.just({"type": "function_call_output", "call_id": "c1", "output": "x"}),
    st.builds(
        lambda tree, kind: {
            "type": "reasoning",
            "encrypted_content": sealed({**tree, "type": kind, "signature": "s"}),
        },
        TREES,
        st.sampled_from(["thinking", "redacted_thinking", "x"]),
    ),
)
_VALUES = TREES | _WORDS | st.integers(-5, 50) | st.floats(-3, 3) | st.booleans() | st.none()
BODIES: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {"model": st.just("m"), "input": _WORDS | st.lists(_ITEM, max_size=4)},
    optional={
        "instructions": _WORDS,
        "stream": st.booleans(),
        "tools": st.lists(_TOOL, max_size=3),
        "tool_choice": st.sampled_from(["auto", "none", "required", "x"])
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["function", "custom", "allowed_tools", "web_search"])},
            optional={"name": _WORDS, "tools": st.lists(_TOOL | TREES, max_size=2), "mode": st.just("auto")},
        )
        | TREES,
        "text": st.fixed_dictionaries({}, optional={"format": TREES, "verbosity": _VALUES, "x": _VALUES}),
        "reasoning": st.fixed_dictionaries(
            {}, optional={"effort": st.sampled_from(["none", "high"]) | _VALUES, "x": _VALUES}
        ),
        "temperature": st.floats(-1, 3),
        "top_logprobs": st.integers(-1, 30),
        "max_output_tokens": st.integers(1, 99999),
        "parallel_tool_calls": st.booleans(),
        "metadata": st.dictionaries(_WORDS, _WORDS, max_size=2),
        "include": st.lists(_WORDS | st.just("message.output_text.logprobs"), max_size=2),
        "user": _WORDS,
        "safety_identifier": st.text(max_size=70),
        "store": st.booleans(),
        "truncation": _WORDS,
        "a\r\nb": _VALUES,
    },
)
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
UPSTREAMS = ["chat", "messages", "ollama_chat"]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@FUZZ
@given(body=BODIES, model=MODELS)
def test_any_body_is_translated_or_refused_with_a_400(
    upstream: str, body: JsonObject, model: ModelFacts
) -> None:
    before = orjson.dumps(body)
    translator = TRANSLATORS["responses", upstream]()
    status = None
    said = ""
    try:
        RESPONSES.facts(body)
        sent = translator.request(body, model)
    except GatewayError as error:
        status = error.status("openai")
        said = error.message
    else:
        orjson.dumps(sent)
        assert sent["model"] == model.name
    assert status in (None, 400)
    assert "messages[" not in said
    assert orjson.dumps(body) == before
    assert all(name.isascii() and name.isprintable() and "," not in name for name in translator.dropped)


@pytest.mark.parametrize("between", [True, False])
@FUZZ
@given(answer=ANSWERS)
def test_any_answer_is_translated_or_refused(between: bool, answer: JsonObject) -> None:
    code = None
    try:
        orjson.dumps(ResponsesViaChat(between=between).response(answer))
    except GatewayError as error:
        code = error.code
    assert code in (None, "upstream_invalid_response", "upstream_truncated")


@pytest.mark.parametrize("between", [True, False])
@FUZZ
@given(events=st.lists(ANSWERS, max_size=5))
def test_any_stream_is_translated_or_refused(between: bool, events: list[JsonObject]) -> None:
    translator = ResponsesViaChat(between=between)
    out = b""
    code = None
    try:
        for one in events:
            out += translator.event(_event(one))
        out += translator.finish()
    except GatewayError as error:
        code = error.code
    assert code in (None, "upstream_invalid_response", "upstream_truncated")
    # Whatever came out before is whole events, numbered one by one.
    framer = SseFramer()
    numbers = [event.json()["sequence_number"] for event in framer.feed(out)]
    assert numbers == list(range(len(numbers)))
    assert not framer.pending()


# --- One response both ways

_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_ARGUMENTS = st.dictionaries(_TEXT, st.integers(0, 9) | _TEXT, max_size=3).map(
    lambda d: json.dumps(d)
) | st.just("")
_NAMES = st.sampled_from(["f", "g", "patch"])
_THOUGHT = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature}, _TEXT, _TEXT
) | st.builds(lambda text: {"type": "redacted_thinking", "data": text}, _TEXT)


@st.composite
def _messages(draw: st.DrawFn) -> JsonObject:
    """What a model says: thinking, text, a refusal, calls, each perhaps."""
    message: JsonObject = {"role": "assistant", "content": draw(st.none() | _TEXT)}
    blocks = draw(st.lists(_THOUGHT, max_size=2))
    if blocks:
        message["thinking_blocks"] = blocks
        message["reasoning_content"] = "".join(b.get("thinking", "") for b in blocks)
    if draw(st.booleans()):
        message["refusal"] = draw(_TEXT)
    calls = draw(st.lists(st.tuples(_NAMES, _ARGUMENTS), max_size=3))
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": n, "arguments": a}}
            for i, (n, a) in enumerate(calls)
        ]
    return message


def _cut(text: str, sizes: list[int]) -> list[str]:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


def _deltas(message: JsonObject, sizes: list[int], *, in_turns: bool) -> list[JsonObject]:
    """The message as a provider streams it; the pieces of several calls one after the other or in turns."""
    deltas: list[JsonObject] = [{"role": "assistant", "content": ""}]
    for block in message.get("thinking_blocks", ()):
        deltas += [{"reasoning_content": p, "reasoning": p} for p in _cut(block.get("thinking", ""), sizes)]
        deltas.append({"thinking_blocks": [block]})
    deltas += [{"content": p} for p in _cut(message["content"] or "", sizes)]
    deltas += [{"refusal": p} for p in _cut(message.get("refusal", ""), sizes)]
    calls: list[list[JsonObject]] = []
    for index, call in enumerate(message.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        pieces = [{"index": index, "id": call["id"], "type": "function", "function": function}]
        arguments = _cut(call["function"]["arguments"], sizes)
        calls.append([*pieces, *({"index": index, "function": {"arguments": p}} for p in arguments)])
    if in_turns:
        longest = max(map(len, calls), default=0)
        turns = [call[i] for i in range(longest) for call in calls if i < len(call)]
    else:
        turns = [piece for call in calls for piece in call]
    return deltas + [{"tool_calls": [piece]} for piece in turns]


def _asked(translator: Translator) -> Translator:
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "patch"}]
    translator.request({"model": "m", "input": "hi", "tools": tools}, ModelFacts("gpt-4o"))
    return translator


def _steady(value: Any) -> Any:
    """Without ids and times that are made up, but for the ids that must match others'."""
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if k not in ("id", "created_at", "completed_at")}
    return [_steady(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=150, deadline=None)
@given(
    message=_messages(),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    in_turns=st.booleans(),
    finish=st.sampled_from(["stop", "tool_calls", "length", "content_filter"]),
)
def test_the_sdk_accumulates_a_stream_to_the_whole_response(
    message: JsonObject, sizes: list[int], in_turns: bool, finish: str
) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    whole = _asked(ResponsesViaChat(between=True)).response(
        {"model": "m", "choices": [{"message": message, "finish_reason": finish}], "usage": usage}
    )
    judges.is_response(whole)

    streaming = _asked(ResponsesViaChat(between=True))
    chunks: list[JsonObject] = [
        {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in _deltas(message, sizes, in_turns=in_turns)
    ]
    chunks.append({"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({"model": "m", "choices": [], "usage": usage})
    out = b"".join(streaming.event(_event(chunk)) for chunk in chunks) + streaming.finish()

    accumulator: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    tap = RESPONSES.tap(strip_usage=False)
    last: JsonObject = {}
    added = 0
    for event in SseFramer().feed(out):
        last = event.json()
        assert event.name == last["type"]
        if last["type"] == "response.output_item.added":
            # Some readers append items and then look them up by their place.
            assert last["output_index"] == added
            added += 1
        tap.see(event)
        accumulator.handle_event(judges.is_response_event(last))
    assert tap.finished
    assert tap.usage == Usage(input_tokens=3, output_tokens=2)
    assert _steady(last["response"]) == _steady(whole)
    final = accumulator._completed_response
    if finish in ("stop", "tool_calls"):
        assert final is not None
        assert [item.type for item in final.output] == [item["type"] for item in whole["output"]]
    else:
        # The SDK knows a final response only of a completed one; the event holds it all the same.
        assert final is None
        assert last["type"] == "response.incomplete"
