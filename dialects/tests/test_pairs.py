"""Properties of the pairs of chat and messages: only our own errors, meaning kept there and back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.chat_via_messages import ChatViaMessages
from dialects.errors import GatewayError
from dialects.messages_via_chat import MessagesViaChat
from dialects.sse import SseFramer
from dialects.table import DIALECTS
from dialects.tests import golden_files, judges
from dialects.types import Event, ModelFacts, Translator

_CLAUDE = ModelFacts("claude-sonnet-4-5")
_GPT = ModelFacts("gpt-4o")
_MODELS = st.sampled_from(
    [
        *(ModelFacts(n) for n in ("claude-opus-4-7", "claude-sonnet-4-6", "gpt-5.4", "o3", "gemma")),
        _CLAUDE,
        _GPT,
    ]
)

# --- Fuzz: bodies made of the words that the translators look for, in places where they do not belong ---

_WORDS = st.sampled_from(
    [
        "text",
        "image_url",
        "file",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "tool",
        "user",
        "assistant",
        "system",
        "function",
        "custom",
        "auto",
        "any",
        "none",
        "required",
        "enabled",
        "adaptive",
        "disabled",
        "json_schema",
        "json_object",
        "high",
        "base64",
        "url",
        "https://e.com/a.png",
        "data:image/png;base64,AA==",
        "application/pdf",
        "thinking",
        "redacted_thinking",
        "content",
        "ephemeral",
        "\n",
        "",
        "call_1",
        "{}",
        "{",
    ]
)
_SCALARS = st.none() | st.booleans() | st.integers(-2, 40000) | st.floats(-2, 3) | _WORDS
_KEYS = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "image_url",
        "url",
        "file",
        "file_data",
        "filename",
        "source",
        "data",
        "media_type",
        "id",
        "name",
        "input",
        "tool_use_id",
        "tool_call_id",
        "tool_calls",
        "function",
        "arguments",
        "function_call",
        "thinking_blocks",
        "reasoning_details",
        "signature",
        "thinking",
        "cache_control",
        "budget_tokens",
        "effort",
        "format",
        "schema",
        "json_schema",
        "user_id",
        "include_usage",
        "strict",
        "parameters",
        "input_schema",
        "properties",
        "required",
        "anyOf",
        "oneOf",
        "items",
        "$defs",
        "allowed_tools",
        "mode",
        "tools",
        "additionalProperties",
        "description",
        "is_error",
        "title",
        "citations",
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
TREES = st.dictionaries(_KEYS, _VALUES, max_size=5)


def _typed(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """A part or block that says it is `kind`, with a text where it needs one, and anything else in it."""
    return st.builds(
        lambda tree, text: {**tree, "type": kind, **({"text": text} if kind == "text" else {})}, TREES, _WORDS
    )


_PARTS = st.one_of(
    [
        _typed(kind)
        for kind in (
            "text",
            "image_url",
            "file",
            "image",
            "document",
            "tool_use",
            "tool_result",
            "thinking",
            "redacted_thinking",
            "refusal",
            "search_result",
        )
    ]
)
# A few well-formed ones, so that what lies behind them is reached too.
_CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
_RESULT = st.builds(lambda tree: {**tree, "type": "tool_result", "tool_use_id": "call_1"}, TREES)
_CONTENT = _WORDS | st.lists(_PARTS | st.just(_USE) | _RESULT, max_size=3)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]), "content": _CONTENT},
    optional={
        "tool_calls": st.lists(st.just(_CALL) | TREES, max_size=2),
        "tool_call_id": st.sampled_from(["call_1", "call_1", "x", None]),
        "thinking_blocks": st.lists(_PARTS, max_size=2) | _VALUES,
        "reasoning_details": st.lists(TREES, max_size=2) | _VALUES,
        "function_call": st.just(_CALL["function"]) | _VALUES,
        "refusal": _SCALARS,
        "name": _SCALARS,
    },
)
_TOOL = st.builds(
    lambda tree, name: {**tree, "name": name, "type": "function", "function": {**tree, "name": name}},
    TREES,
    _WORDS,
)
# What facts() lets through has these types; whatever else a client sends meets the translator as it is.
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans(), "x": _VALUES}),
    "tools": st.lists(_TOOL | TREES, max_size=2),
    "functions": st.lists(_TOOL | TREES, max_size=2),
    "response_format": _PARTS
    | st.builds(lambda tree: {"type": "json_schema", "json_schema": {"schema": tree}}, TREES),
    "output_config": TREES | st.builds(lambda tree: {"format": {"schema": tree}}, TREES),
    "metadata": st.fixed_dictionaries({}, optional={"user_id": _WORDS, "x": _VALUES}),
    "system": _WORDS | st.lists(_typed("text"), max_size=2),
    "user": st.text(max_size=70),
    "safety_identifier": _WORDS,
    "n": st.sampled_from([1, 1, 1, 2]),
    "audio": st.sampled_from([None, None, None, {"voice": "a"}]),
    "modalities": st.sampled_from([["text"], "x", 5]),
    "top_p": st.floats(0, 1) | st.floats(0, 1) | _VALUES,
    "top_k": st.integers(-1, 9) | _VALUES,
    "output_format": TREES,
    "thinking": _PARTS | st.builds(lambda n: {"type": "enabled", "budget_tokens": n}, _SCALARS) | _VALUES,
    "reasoning_effort": st.sampled_from(["none", "low", "high", "max"]) | _VALUES,
    "temperature": st.floats(0, 1) | _VALUES,
    "stop": st.lists(_WORDS, max_size=6) | _VALUES,
    "stop_sequences": st.lists(_WORDS, max_size=6) | _VALUES,
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "any"}]) | TREES | _VALUES,
    "service_tier": _WORDS | _VALUES,
    "max_completion_tokens": st.integers(1, 50000),
    "a\r\nb": _VALUES,
    "parallel_tool_calls": st.booleans() | _VALUES,
    "function_call": _VALUES,
}
_CHAT: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "max_tokens": st.integers(1, 50000),
        "messages": st.lists(_MESSAGE, min_size=1, max_size=4),
    },
    optional=_FIELDS,
)
# The other dialect has fewer roles; one body in both keeps the fuzz in one place.
_BODIES = {
    "chat": _CHAT,
    "messages": _CHAT.map(
        lambda body: {
            **body,
            "messages": [
                {**m, "role": "user" if m["role"] in ("tool", "developer") else m["role"]}
                for m in body["messages"]
            ],
        }
    ),
}


@pytest.mark.parametrize(("client", "make"), [("chat", ChatViaMessages), ("messages", MessagesViaChat)])
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), model=_MODELS)
def test_any_body_is_translated_or_refused_with_a_400(
    client: str, make: type[Translator], data: st.DataObject, model: ModelFacts
) -> None:
    body = data.draw(_BODIES[client])
    before = orjson.dumps(body)
    translator = make()
    status = None
    try:
        DIALECTS[client].facts(body)
        sent = translator.request(body, model)
    except GatewayError as error:
        status = error.status("openai")
    else:
        orjson.dumps(sent)
        assert sent["model"] == model.name
    assert status in (None, 400)
    assert orjson.dumps(body) == before
    assert all(name.isascii() and name.isprintable() and "," not in name for name in translator.dropped)


# --- Fuzz: hostile providers ---

_BLOCK = st.dictionaries(
    st.sampled_from(["type", "text", "id", "name", "input", "thinking", "citations", "data"]),
    _VALUES,
    max_size=4,
)
_ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.lists(_BLOCK, max_size=3) | _VALUES,
        "stop_reason": _SCALARS,
        "usage": _VALUES,
        "model": _VALUES,
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": _SCALARS,
                    "message": _MESSAGE,
                    "delta": _MESSAGE | _VALUES,
                    "finish_reason": _SCALARS,
                },
            ),
            max_size=2,
        ),
        "type": st.sampled_from(
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
            ]
        ),
        "message": _VALUES,
        "content_block": _BLOCK,
        "delta": st.dictionaries(
            st.sampled_from(["type", "text", "partial_json", "thinking", "signature", "stop_reason"]),
            _VALUES
            | st.sampled_from(["text_delta", "input_json_delta", "thinking_delta", "signature_delta"]),
            max_size=3,
        ),
    },
)


@pytest.mark.parametrize("make", [ChatViaMessages, MessagesViaChat])
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(answer=_ANSWERS)
def test_any_answer_is_translated_or_refused(make: type[Translator], answer: dict[str, Any]) -> None:
    code = None
    try:
        orjson.dumps(make().response(answer))
    except GatewayError as error:
        code = error.code
    assert code in (None, "upstream_invalid_response", "upstream_truncated")


@pytest.mark.parametrize("make", [ChatViaMessages, MessagesViaChat])
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(_ANSWERS, max_size=5))
def test_any_stream_is_translated_or_refused(make: type[Translator], events: list[dict[str, Any]]) -> None:
    translator = make()
    out = b""
    code = None
    try:
        for one in events:
            out += translator.event(Event("", orjson.dumps(one), b""))
        out += translator.finish()
    except GatewayError as error:
        code = error.code
    assert code in (None, "upstream_invalid_response", "upstream_truncated")
    # Whatever came out before is whole events of valid JSON.
    framer = SseFramer()
    for event in framer.feed(out):
        assert event.data == b"[DONE]" or isinstance(event.json(), dict)
    assert not framer.pending()


# --- There and back ---

_PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda t: t.strip() == t and bool(t)
)
_INPUTS = st.dictionaries(_PLAIN, st.integers(0, 9) | _PLAIN, max_size=3)
_IDS = st.uuids().map(lambda u: f"call_{u.hex[:20]}")


@st.composite
def _conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chat conversations of what both dialects can say."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(_PLAIN)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(_PLAIN)})
        calls = draw(st.lists(st.tuples(_IDS, _INPUTS), max_size=2, unique_by=lambda c: c[0]))
        text = draw(_PLAIN if not calls else st.none() | _PLAIN)
        answer: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            answer["tool_calls"] = [
                {
                    "id": i,
                    "type": "function",
                    "function": {"name": "f", "arguments": orjson.dumps(a).decode()},
                }
                for i, a in calls
            ]
        messages.append(answer)
        messages += [{"role": "tool", "tool_call_id": i, "content": draw(_PLAIN)} for i, _ in calls]
    messages.append({"role": "user", "content": draw(_PLAIN)})
    return messages


@given(_conversations())
def test_a_request_there_and_back_keeps_its_meaning(conversation: list[dict[str, Any]]) -> None:
    body = {
        "model": "m",
        "messages": conversation,
        "max_tokens": 100,
        "temperature": 0.5,
        "stop": ["END"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
            }
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "user": "u-1",
    }
    there = ChatViaMessages()
    sent = there.request(body, _CLAUDE)
    judges.anthropic_accepts(sent)
    back = MessagesViaChat()
    again = back.request(sent, _GPT)
    judges.openai_accepts(again)
    assert again == {**body, "model": "gpt-4o"}
    assert not there.dropped
    assert not back.dropped


@st.composite
def _answers(draw: st.DrawFn) -> dict[str, Any]:
    text = draw(st.none() | _PLAIN)
    calls = draw(st.lists(st.tuples(_IDS, _INPUTS), max_size=2))
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [{"type": "tool_use", "id": i, "name": "f", "input": a} for i, a in calls]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": content,
        "stop_reason": "tool_use" if calls else draw(st.sampled_from(["end_turn", "max_tokens", "refusal"])),
        "stop_sequence": None,
        "usage": {
            "input_tokens": draw(st.integers(0, 99)),
            "output_tokens": draw(st.integers(0, 99)),
            "cache_read_input_tokens": draw(st.integers(0, 99)),
            "cache_creation_input_tokens": draw(st.integers(0, 99)),
        },
    }


def _kept(message: dict[str, Any]) -> dict[str, Any]:
    kept = {k: message[k] for k in ("content", "stop_reason", "model")}
    return {**kept, "usage": {k: v for k, v in message["usage"].items() if k != "output_tokens_details"}}


@given(_answers())
def test_an_answer_there_and_back_keeps_its_meaning(answer: dict[str, Any]) -> None:
    completion = ChatViaMessages().response(answer)
    judges.is_completion(completion)
    message = MessagesViaChat().response(completion)
    judges.is_message(message)
    assert _kept(message) == _kept(answer)


def _replayed(answer: dict[str, Any], sizes: list[int]) -> list[dict[str, Any]]:
    """The answer as Anthropic would stream it, its text cut into pieces of the given sizes."""
    start = {**answer, "content": [], "stop_reason": None, "usage": {**answer["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(answer["content"]):
        opened: dict[str, Any]
        if block["type"] == "text":
            opened, kind, name, whole = {"type": "text", "text": ""}, "text_delta", "text", block["text"]
        else:
            opened, kind, name = {**block, "input": {}}, "input_json_delta", "partial_json"
            whole = orjson.dumps(block["input"]).decode()
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        at = 0
        while at < len(whole):
            size = sizes[at % len(sizes)]
            delta = {"type": kind, name: whole[at : at + size]}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
            at += size
        events.append({"type": "content_block_stop", "index": index})
    usage = {"output_tokens": answer["usage"]["output_tokens"]}
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def _gathered(frames: bytes) -> dict[str, Any]:
    """What a client of messages makes of a stream."""
    content: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    message: dict[str, Any] = {}
    for event in SseFramer().feed(frames):
        data = event.json()
        judges.is_event(data)
        kind = data["type"]
        if kind == "message_start":
            message = data["message"]
        elif kind == "content_block_start":
            assert data["index"] == len(content)
            content.append(data["content_block"])
        elif kind == "content_block_delta":
            if data["delta"]["type"] == "text_delta":
                content[data["index"]]["text"] += data["delta"]["text"]
            else:
                inputs[data["index"]] = inputs.get(data["index"], "") + data["delta"]["partial_json"]
        elif kind == "message_delta":
            message = {**message, "usage": data["usage"], "stop_reason": data["delta"]["stop_reason"]}
    for index, text in inputs.items():
        content[index]["input"] = orjson.loads(text)
    return {**message, "content": content}


@given(_answers(), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_stream_there_and_back_keeps_its_meaning(answer: dict[str, Any], sizes: list[int]) -> None:
    there = ChatViaMessages()
    there.request(
        {
            "messages": [{"role": "user", "content": "x"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        _CLAUDE,
    )
    out = (
        b"".join(there.event(Event("", orjson.dumps(e), b"")) for e in _replayed(answer, sizes))
        + there.finish()
    )
    back = MessagesViaChat()
    chunks = SseFramer().feed(out)
    for chunk in chunks[:-1]:
        judges.is_chunk(chunk.json())
    frames = b"".join(back.event(chunk) for chunk in chunks) + back.finish()
    assert _kept(_gathered(frames)) == _kept(answer)


@pytest.mark.parametrize("pair", golden_files.PAIRS)
def test_a_stream_cut_at_every_byte_reads_the_same(pair: str) -> None:
    for case in golden_files.load(pair, "streams"):
        stream = b"".join(golden_files.as_event(given).raw for given in case["upstream"])
        bytewise = SseFramer()
        events = [e for i in range(len(stream)) for e in bytewise.feed(stream[i : i + 1])]
        assert [(e.data, e.raw) for e in events] == [(e.data, e.raw) for e in SseFramer().feed(stream)]
        assert b"".join(e.raw for e in events) == stream
