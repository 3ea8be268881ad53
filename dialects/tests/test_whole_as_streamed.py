"""An answer says the same whole and as a stream, in every pair: no part, count or order exists in one of the
two only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.as_stream import AS_STREAM
from dialects.sse import SseFramer
from dialects.table import DIALECTS, TRANSLATORS
from dialects.tests import judges
from dialects.tests.pair_support import asked, carried
from dialects.tests.wellformed_answers import ANSWERS

Body = dict[str, Any]

ASKED: dict[str, Body] = {
    "chat": {"messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}},
    "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 50},
    "responses": {"input": "x"},
}
MODELS = {"chat": "gpt-4o", "messages": "claude-sonnet-4-5", "responses": "gpt-4o", "ollama_chat": "qwen3"}
PAIRS = sorted(pair for pair in TRANSLATORS if pair[0] in ASKED and pair[1] in ANSWERS)
_MADE_UP = re.compile(r"(chatcmpl-|msg_|toolu_|call_|resp_|rs_|fc_)[0-9a-f]{24}")
_OF_THE_WAY = ("id", "object", "created", "created_at", "completed_at")


def whole(client: str, upstream: str, answer: Body) -> Body:
    translator, _ = asked(client, upstream, ASKED[client], MODELS[upstream])
    made = translator.response(orjson.loads(orjson.dumps(answer)))
    _JUDGES[client](made)
    return made


def streamed(client: str, upstream: str, answer: Body) -> Body:
    translator, _ = asked(client, upstream, {**ASKED[client], "stream": True}, MODELS[upstream])
    stream = AS_STREAM[upstream](answer) if upstream in AS_STREAM else orjson.dumps(answer) + b"\n"
    frames, finished = carried(translator, upstream, [stream])
    assert finished
    return _READERS[client]([event.json() for event in SseFramer().feed(frames) if event.data != b"[DONE]"])


def same(answer: Body) -> Any:
    """What has to be the same: all but ids, times, and that something is empty."""
    steady = orjson.loads(_MADE_UP.sub(r"\1made", orjson.dumps(answer).decode()))
    return _told({name: value for name, value in steady.items() if name not in _OF_THE_WAY})


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _told(v) for name, v in value.items() if v is not None and v not in ([], "")}
    return [_told(v) for v in value] if isinstance(value, list) else value


# --- What clients make of streams


def _completion(chunks: list[Body]) -> Body:
    made: Body = {}
    said: Body = {}
    choice: Body = {"index": 0}
    for chunk in chunks:
        judges.is_chunk(chunk)
        made |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for one in chunk["choices"]:
            choice |= {n: one[n] for n in ("logprobs", "finish_reason") if one[n] is not None}
            for name, value in one["delta"].items():
                _add(said, name, value)
    return {**made, "choices": [{**choice, "message": said}]}


def _add(said: Body, name: str, value: Any) -> None:
    if name == "tool_calls":
        for piece in value:
            calls = said.setdefault(name, [])
            if piece["index"] == len(calls):
                calls.append({**piece, "function": {**piece["function"], "arguments": ""}})
                del calls[-1]["index"]
            calls[piece["index"]]["function"]["arguments"] += piece["function"].get("arguments", "")
    elif value is not None:
        said[name] = said[name] + value if name in said else value


def _message(events: list[Body]) -> Body:
    made: Body = {}
    inputs: dict[int, str] = {}
    for event in events:
        judges.is_event(event)
        kind = event["type"]
        if kind == "message_start":
            made = event["message"]
        elif kind == "content_block_start":
            assert event["index"] == len(made["content"])
            made["content"].append(event["content_block"])
        elif kind == "content_block_delta":
            ((name, value),) = ((n, v) for n, v in event["delta"].items() if n != "type")
            if name == "partial_json":
                inputs[event["index"]] = inputs.get(event["index"], "") + value
            else:
                made["content"][event["index"]][name] += value
        elif kind == "message_delta":
            made |= {**event["delta"], "usage": event["usage"]}
    for index, text in inputs.items():
        made["content"][index]["input"] = orjson.loads(text)
    return made


def _response(events: list[Body]) -> Body:
    done: list[Body] = []
    for number, event in enumerate(events):
        judges.is_response_event(event)
        assert event["sequence_number"] == number
        if event["type"] == "response.output_item.done":
            done.append(event)
    response: Body = events[-1]["response"]
    assert response["output"] == [e["item"] for e in sorted(done, key=lambda e: int(e["output_index"]))]
    return response


_READERS: dict[str, Callable[[list[Body]], Body]] = {
    "chat": _completion,
    "messages": _message,
    "responses": _response,
}
_JUDGES: dict[str, Callable[[Body], Any]] = {
    "chat": judges.is_completion,
    "messages": judges.is_message,
    "responses": judges.is_response,
}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whole_as_streamed(client: str, upstream: str, data: st.DataObject) -> None:
    answer = data.draw(ANSWERS[upstream])
    assert DIALECTS[upstream].is_answer(answer)
    assert same(whole(client, upstream, answer)) == same(streamed(client, upstream, answer))


# --- The order of parts


def test_thinking_between_texts_stays_there_in_a_whole_answer() -> None:
    content = [
        {"type": "thinking", "thinking": "one", "signature": "s1"},
        {"type": "text", "text": "First."},
        {"type": "thinking", "thinking": "two", "signature": "s2"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        {"type": "text", "text": "Last."},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_sequence": None}
    answer = {**head, "content": content, "stop_reason": "tool_use", "usage": usage}
    made = whole("responses", "messages", answer)
    kinds = [item["type"] for item in made["output"]]
    assert kinds == ["reasoning", "message", "reasoning", "function_call", "message"]


def test_items_of_openai_stay_in_order_in_a_whole_message() -> None:
    def reasoning(number: int) -> Body:
        summary = [{"type": "summary_text", "text": f"thought {number}"}]
        sealed = f"gAAAA{number}"
        return {"id": f"rs_{number}", "type": "reasoning", "summary": summary, "encrypted_content": sealed}

    text = {"type": "output_text", "text": "First.", "annotations": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    call = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    output = [reasoning(1), message, reasoning(2), call]
    answer = {"id": "resp_1", "object": "response", "status": "completed", "model": "g", "output": output}
    made = whole("messages", "responses", answer)
    assert [block["type"] for block in made["content"]] == ["thinking", "text", "thinking", "tool_use"]
    assert [block["thinking"] for block in made["content"][::2]] == ["thought 1", "thought 2"]


# --- Ids and tiers


def _calling(*ids: Any) -> Body:
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


@pytest.mark.parametrize("way", [whole, streamed])
def test_ids_of_calls_are_such_as_anthropic_takes_back(way: Callable[[str, str, Body], Body]) -> None:
    made = way("messages", "chat", _calling("functions.f:0", "functions.f:0", "call_ok", "", None))
    ids = [block["id"] for block in made["content"]]
    assert len(set(ids)) == 5
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", call_id) for call_id in ids)
    assert ids[2] == "call_ok"


@pytest.mark.parametrize("way", [whole, streamed])
@pytest.mark.parametrize(
    ("tier", "said"), [("default", "standard"), ("priority", "priority"), ("flex", None)]
)
def test_the_tier_that_served(way: Callable[[str, str, Body], Body], tier: str, said: str | None) -> None:
    made = way("messages", "chat", {**_calling("call_1"), "service_tier": tier})
    assert made["usage"].get("service_tier") == said
