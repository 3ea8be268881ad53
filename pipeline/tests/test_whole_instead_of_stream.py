"""U13: a provider that answers one object where a stream was asked, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from dialects.tests import judges
from pipeline.tests import faults
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, Pair, ask, parse_events, send
from tests.support.upstream.memory import Memory
from tests.support.upstream.providers import default_reply
from tests.support.upstream.script import Json, Send, SendHead, Step
from tests.support.upstream.wire import Received

TOOL: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": TOOL}}
FIELDS: dict[str, dict[str, Any]] = {
    "chat": {"tools": [CHAT_TOOL], "stream_options": {"include_usage": True}},
    "messages": {"tools": [{"name": "weather", "input_schema": TOOL}], "max_tokens": 4000},
    "responses": {"tools": [{"type": "function", "name": "weather", "parameters": TOOL, "strict": False}]},
    "completions": {"stream_options": {"include_usage": True}},
}
THINKING: dict[str, dict[str, Any]] = {
    "chat": {"reasoning_effort": "low"},
    "messages": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "responses": {"reasoning": {"effort": "low", "summary": "auto"}},
}
PATHS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
}
PROMPTS = {
    "text": "say:two  words\u2028 and more",
    "calls": 'call:weather {"city": "Oslo"}\ncall:weather {"city": "Rome"}',
    "refusal": "refuse:I will not.",
    "thinking": "think:hm, well\nsay:so it is",
}
MODELS = {"openai": "gpt-4o", "reasons": "gpt-5", "anthropic": "claude-opus-4-5", "ollama": "qwen3:8b"}


def _cases() -> list[Any]:
    return [
        pytest.param(surface, kind, said, id=f"{surface}-{kind}-{said}")
        for surface in FIELDS
        for kind in MODELS
        for said in PROMPTS
        if not (surface == "completions" and said in ("calls", "thinking"))
        and not (kind == "openai" and said == "thinking")
    ]


def _ask(live: LiveGateway, surface: str, kind: str, said: str) -> list[tuple[str, Any]]:
    """The events of a streamed answer."""
    prompt = PROMPTS[said]
    fields = dict(FIELDS[surface])
    if said == "thinking":
        fields |= THINKING[surface]
    if said != "calls":
        fields.pop("tools", None)
    given: Any = prompt if surface in ("responses", "completions") else [{"role": "user", "content": prompt}]
    where = {"responses": "input", "completions": "prompt"}.get(surface, "messages")
    body = {"model": MODELS[kind], "stream": True, where: given, **fields}
    status, headers, raw = send(live, "POST", PATHS[surface], orjson.dumps(body))
    assert status == 200, raw
    assert dict(headers)["content-type"].startswith("text/event-stream")
    return parse_events(raw)


def _whole(request: Received) -> Sequence[Step]:
    """The provider's answer as if no stream had been asked for."""
    body = {name: value for name, value in request.json.items() if name != "stream_options"}
    reply = default_reply(replace(request, json={**body, "stream": False}), Memory())
    assert reply.frames is None
    return [Json(reply.status, reply.body)]


def _told(surface: str, events: list[tuple[str, Any]]) -> Any:
    """What a stream says in the end, without ids and times, its events checked on the way."""
    if surface == "messages":
        return _message(events)
    if surface == "responses":
        return _response(events)
    return _completion(surface, events)


def _completion(surface: str, events: list[tuple[str, Any]]) -> Any:
    assert events[-1] == ("", "[DONE]")
    told: dict[str, Any] = {"finish": [], "usage": []}
    for name, chunk in events[:-1]:
        assert name == ""
        if surface == "chat":
            judges.is_chunk({key: value for key, value in chunk.items() if key != "usage" or value})
        if chunk.get("usage"):
            told["usage"].append(chunk["usage"])
        for choice in chunk["choices"]:
            assert choice["index"] == 0
            for key, value in (choice.get("delta") or {"text": choice.get("text")}).items():
                if key == "tool_calls":
                    _add_calls(told.setdefault(key, {}), value)
                elif type(value) is str and key != "role":
                    told[key] = told.get(key, "") + value
                elif type(value) is list:
                    told.setdefault(key, []).extend(value)
            if choice["finish_reason"]:
                told["finish"].append(choice["finish_reason"])
    assert len(told["usage"]) == 1
    assert len(told["finish"]) == 1
    return told


def _add_calls(calls: dict[int, list[str]], pieces: Any) -> None:
    for piece in pieces:
        call = calls.setdefault(piece["index"], ["", ""])
        call[0] += piece["function"].get("name") or ""
        call[1] += piece["function"].get("arguments") or ""


def _message(events: list[tuple[str, Any]]) -> Any:
    blocks: list[dict[str, Any]] = []
    kinds = []
    for name, event in events:
        if name == "ping":
            continue
        assert name == event["type"]
        judges.is_event(event)
        kinds.append(name)
        if name == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"], id=None, json=""))
        elif name == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            (field,) = set(event["delta"]) - {"type"}
            into = "json" if field == "partial_json" else field
            blocks[-1][into] = (blocks[-1].get(into) or "") + event["delta"][field]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    last = events[-2][1]
    return blocks, last["delta"]["stop_reason"], last["usage"]["output_tokens"]


def _response(events: list[tuple[str, Any]]) -> Any:
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    done = {}
    for name, event in events:
        assert name == event["type"]
        judges.is_response_event(event)
        if name == "response.output_item.done":
            done[event["output_index"]] = event["item"]
    last = events[-1][1]["response"]
    assert [done[index] for index in sorted(done)] == last["output"]
    output = [
        {key: value for key, value in item.items() if key not in ("id", "call_id")} for item in last["output"]
    ]
    return output, last["status"], last["usage"]


@pytest.mark.parametrize(("surface", "kind", "said"), _cases())
def test_a_whole_answer_becomes_the_stream_that_was_asked_for(
    live: LiveGateway, fake: FakeUpstream, surface: str, kind: str, said: str
) -> None:
    expected = _told(surface, _ask(live, surface, kind, said))
    fake.script("", _whole)
    assert _told(surface, _ask(live, surface, kind, said)) == expected
    first, second = live.wait_record(1), live.wait_record(2)
    assert (second.outcome, second.status, second.usage) == ("ok", 200, first.usage)
    assert second.usage is not None
    assert second.usage.source == "provider"
    assert [attempt.outcome for attempt in second.attempts] == ["ok"]
    assert bool(second.first_content) == bool(first.first_content)
    assert len(fake.requests) == 2


@pytest.mark.parametrize("surface", ["chat", "completions"])
def test_usage_is_told_only_to_who_asked(live: LiveGateway, fake: FakeUpstream, surface: str) -> None:
    fake.script("", _whole)
    model = "gpt-4o" if surface == "chat" else "gpt-3.5-turbo-instruct"
    given: Any = {"messages": [{"role": "user", "content": "hi"}]} if surface == "chat" else {"prompt": "hi"}
    _, _, raw = send(live, "POST", PATHS[surface], orjson.dumps({"model": model, "stream": True, **given}))
    events = parse_events(raw)
    assert events[-1] == ("", "[DONE]")
    assert all(chunk["choices"] and not chunk.get("usage") for _, chunk in events[:-1])
    assert live.wait_record().usage is not None


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.upstream == "chat"], ids=str)
@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "data": []},
        {"choices": [{"message": {"content": "hi"}, "tool_calls": 5}, {"message": None}]},
        {"choices": [{"index": 0, "message": {"content": "hi", "tool_calls": [5]}}]},
        [],
        "null",
        '{"choices": [',
    ],
)
def test_what_is_no_answer_is_refused(live: LiveGateway, fake: FakeUpstream, pair: Pair, body: Any) -> None:
    faults.answers(fake, pair, lambda _: [Json(200, body)])
    answer = ask(live, pair, stream=True)
    faults.check_refused(answer, faults.BAD, "upstream_not_a_stream")


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_an_error_object_is_an_error(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    faults.answers(fake, pair, lambda pair: [Json(200, faults.error_json(pair))])
    faults.check_refused(ask(live, pair, stream=True), faults.BAD, "upstream_error")


def test_a_response_that_failed_is_an_error(live: LiveGateway, fake: FakeUpstream) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    failed = {"id": "resp_1", "object": "response", "status": "failed", "output": [], "error": error}
    fake.script("/responses", [Json(200, failed)])
    body = orjson.dumps({"model": "gpt-4o", "stream": True, "input": "hi"})
    status, _, raw = send(live, "POST", PATHS["responses"], body)
    assert (status, orjson.loads(raw)["error"]["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize("media", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.upstream == "ollama"], ids=str)
def test_ollamas_last_line_needs_no_line_end(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, media: str
) -> None:
    line = {"model": "m", "message": {"role": "assistant", "content": "all of it"}, "done": True}
    data = orjson.dumps({**line, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2})
    faults.answers(fake, pair, lambda _: [SendHead(200, {"content-type": media}), Send(data)])
    answer = ask(live, pair, stream=True)
    assert (answer.text, answer.complete) == ("all of it", True)
    usage = live.wait_record().usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.source) == (3, 2, "provider")


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_stream_instead_of_a_whole_answer_is_refused(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    frames = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
    if pair.upstream == "ollama":
        frames = b'{"message":{"content":"hi"},"done":false}\n{"message":{"content":""},"done":true}\n'
    head = SendHead(200, {"content-type": "text/event-stream"})
    faults.answers(fake, pair, lambda _: [head, Send(frames)])
    faults.check_refused(ask(live, pair), faults.BAD, "upstream_invalid_response")
