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
from dialects.tests.hostile import ANSWERS, BODIES, MODELS
from dialects.types import Event, ModelFacts, Translator

_CLAUDE = ModelFacts("claude-sonnet-4-5")
_GPT = ModelFacts("gpt-4o")


@pytest.mark.parametrize(("client", "make"), [("chat", ChatViaMessages), ("messages", MessagesViaChat)])
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), model=MODELS)
def test_any_body_is_translated_or_refused_with_a_400(
    client: str, make: type[Translator], data: st.DataObject, model: ModelFacts
) -> None:
    body = data.draw(BODIES[client])
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


# --- Hostile providers ---


@pytest.mark.parametrize("make", [ChatViaMessages, MessagesViaChat])
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(answer=ANSWERS)
def test_any_answer_is_translated_or_refused(make: type[Translator], answer: dict[str, Any]) -> None:
    code = None
    try:
        orjson.dumps(make().response(answer))
    except GatewayError as error:
        code = error.code
    assert code in (None, "upstream_invalid_response", "upstream_truncated")


@pytest.mark.parametrize("make", [ChatViaMessages, MessagesViaChat])
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(ANSWERS, max_size=5))
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
