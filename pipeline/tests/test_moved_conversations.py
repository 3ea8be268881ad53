"""Conversations that another provider began: reasoning that is not the new one's own does not reach it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dialects.parts import sealed
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import send
from tests.support.upstream.script import Json
from tests.support.upstream.signing import redacted, signature

OURS = sealed({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA"})
THOUGHT: Any = {"type": "thinking", "thinking": "hm", "signature": signature("hm")}
REDACTED: Any = {"type": "redacted_thinking", "data": redacted("hm")}
TEXT: Any = {"type": "text", "text": "Let me see."}
CALL: Any = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
RESULT: Any = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}],
}
TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
HI: Any = {"role": "user", "content": "hi"}
ON = {"type": "enabled", "budget_tokens": 1024}

FOREIGN = [
    pytest.param({"type": "thinking", "thinking": "hm", "signature": OURS}, id="ours"),
    pytest.param({"type": "thinking", "thinking": "hm", "signature": ""}, id="empty"),
    pytest.param({"type": "thinking", "thinking": "hm"}, id="none"),
    pytest.param({"type": "thinking", "thinking": "hm", "signature": None}, id="null"),
    pytest.param({"type": "redacted_thinking", "data": OURS}, id="redacted"),
]


def post(live: LiveGateway, path: str, body: Any, status: int = 200) -> dict[str, str]:
    """The reply's headers."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    got, headers, reply = send(live, "POST", path, raw)
    assert got == status, reply
    return {name.lower(): value for name, value in headers}


def claude(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "claude-opus-4-5", "max_tokens": 2000, "messages": list(messages), **fields}


@pytest.mark.parametrize("block", FOREIGN)
def test_unsigned_thinking_is_taken_out(live: LiveGateway, fake: FakeUpstream, block: Any) -> None:
    turn = {"role": "assistant", "content": [block, THOUGHT, REDACTED, TEXT]}
    headers = post(live, "/v1/messages", claude(HI, turn, HI))
    assert fake.last.json["messages"] == [
        HI,
        {"role": "assistant", "content": [THOUGHT, REDACTED, TEXT]},
        HI,
    ]
    assert headers["x-gateway-dropped"] == "messages.content.thinking"
    assert live.wait_record().dropped == ["messages.content.thinking"]


def test_the_rest_of_the_body_keeps_its_bytes(live: LiveGateway, fake: FakeUpstream) -> None:
    turn = orjson.dumps({"role": "assistant", "content": [{**THOUGHT, "signature": ""}, TEXT]})
    body = (
        b'{ "temperature":1.0, "messages" : [{"role":"user","content":"caf\\u00e9"}, %b ,{"role":"user",'
        b'"content":"go on"}], "model":"claude-opus-4-5","max_tokens": 2000 }' % turn
    )
    post(live, "/v1/messages", body)
    sent = fake.last.body
    assert b'"temperature":1.0' in sent
    assert fake.last.json["messages"][0] == {"role": "user", "content": "café"}


def test_a_conversation_of_its_own_keeps_every_byte(live: LiveGateway, fake: FakeUpstream) -> None:
    body = orjson.dumps(
        claude(HI, {"role": "assistant", "content": [THOUGHT, TEXT]}, HI), option=orjson.OPT_INDENT_2
    )
    headers = post(live, "/v1/messages", body)
    assert fake.last.body == body
    assert "x-gateway-dropped" not in headers


def test_a_turn_of_nothing_else_is_left_out(live: LiveGateway, fake: FakeUpstream) -> None:
    post(
        live, "/v1/messages", claude(HI, {"role": "assistant", "content": [{**THOUGHT, "signature": ""}]}, HI)
    )
    assert fake.last.json["messages"] == [HI, HI]


def test_tokens_are_counted_without_it(live: LiveGateway, fake: FakeUpstream) -> None:
    turn = {"role": "assistant", "content": [{**THOUGHT, "signature": OURS}, TEXT]}
    body = claude(HI, turn, HI)
    del body["max_tokens"]
    post(live, "/v1/messages/count_tokens", body)
    assert fake.last.json["messages"][1]["content"] == [TEXT]


def test_a_tool_loop_goes_on_without_thinking(live: LiveGateway, fake: FakeUpstream) -> None:
    """With a budget for thinking, the turn that called the tool would have to begin with signed thinking."""
    turn = {"role": "assistant", "content": [{**THOUGHT, "signature": OURS}, CALL]}
    clearing = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}
    fields = {"tools": [TOOL], "thinking": ON}
    headers = post(live, "/v1/messages", claude(HI, turn, RESULT, **fields))
    assert "thinking" not in fake.last.json
    assert headers["x-gateway-dropped"] == "messages.content.thinking, thinking"
    beta = {"authorization": f"Bearer {live.key}", "anthropic-beta": "context-management-2025-06-27"}
    body = orjson.dumps(claude(HI, turn, RESULT, **fields, context_management=clearing))
    assert send(live, "POST", "/v1/messages", body, beta)[0] == 200
    assert fake.last.json["context_management"] == {"edits": clearing["edits"][1:]}
    body = orjson.dumps(
        claude(HI, turn, RESULT, **fields, context_management={"edits": clearing["edits"][:1]})
    )
    assert send(live, "POST", "/v1/messages", body, beta)[0] == 200
    assert "context_management" not in fake.last.json


def test_thinking_goes_on_where_no_turn_needs_it(live: LiveGateway, fake: FakeUpstream) -> None:
    turn = {"role": "assistant", "content": [{**THOUGHT, "signature": OURS}, TEXT]}
    post(live, "/v1/messages", claude(HI, turn, HI, thinking=ON))
    assert fake.last.json["thinking"] == ON
    turn = {"role": "assistant", "content": [{**THOUGHT, "signature": OURS}, THOUGHT, CALL]}
    post(live, "/v1/messages", claude(HI, turn, RESULT, thinking=ON, tools=[TOOL]))
    assert fake.last.json["thinking"] == ON


def test_a_strict_route_refuses_instead(live: LiveGateway, fake: FakeUpstream) -> None:
    live.use(live.snapshot([live.route("*", live.provider("anthropic"), losses="strict")]))
    turn = {"role": "assistant", "content": [{**THOUGHT, "signature": ""}, TEXT]}
    post(live, "/v1/messages", claude(HI, turn, HI), status=400)
    assert not fake.requests


def test_claude_code_moves_from_openai_to_claude_within_a_tool_loop(
    live: LiveGateway, fake: FakeUpstream
) -> None:
    fields = {"tools": [TOOL], "thinking": ON, "max_tokens": 2000}
    asked = {"role": "user", "content": 'think:hm, well\ncall:weather {"city": "Oslo"}'}
    body = orjson.dumps({"model": "gpt-5.5", "messages": [asked], **fields})
    status, _, raw = send(live, "POST", "/v1/messages", body)
    turn = orjson.loads(raw)
    assert status == 200, turn
    assert [block["type"] for block in turn["content"]] == ["thinking", "tool_use"]
    assert turn["content"][0]["signature"].startswith("gw1.")
    result = {"type": "tool_result", "tool_use_id": turn["content"][1]["id"], "content": "rain"}
    answered = {"role": "user", "content": [result]}
    history = [asked, {"role": "assistant", "content": turn["content"]}, answered]
    post(live, "/v1/messages", claude(*history, **fields))
    assert [block["type"] for block in fake.last.json["messages"][1]["content"]] == ["tool_use"]


def test_sealed_blocks_do_not_reach_chat_completions(live: LiveGateway, fake: FakeUpstream) -> None:
    mine = {"type": "thinking", "thinking": "hm", "signature": OURS}
    detail = {"type": "reasoning.text", "text": "hm", "signature": OURS, "format": "unknown"}
    turns = [
        {"role": "assistant", "content": "so", "thinking_blocks": [mine, THOUGHT]},
        {"role": "assistant", "content": "so", "thinking_blocks": [mine], "reasoning_details": [detail]},
    ]
    # OpenAI knows no such fields; services that are compatible with it take blocks that Claude has signed.
    fake.script(
        "/chat/completions",
        [Json(200, {"choices": [{"index": 0, "message": {"content": "so"}, "finish_reason": "stop"}]})],
        check=False,
    )
    headers = post(live, "/v1/chat/completions", {"model": "gpt-4o", "messages": [HI, *turns, HI]})
    assert fake.last.json["messages"] == [
        HI,
        {"role": "assistant", "content": "so", "thinking_blocks": [THOUGHT]},
        {"role": "assistant", "content": "so"},
        HI,
    ]
    assert headers["x-gateway-dropped"] == "messages.thinking_blocks, messages.reasoning_details"


def test_sealed_reasoning_does_not_reach_responses(live: LiveGateway, fake: FakeUpstream) -> None:
    """Thinking that Claude signed comes back to a client of responses as sealed reasoning."""
    item = {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": sealed(THOUGHT)}
    theirs = {"type": "reasoning", "id": "rs_8", "summary": [{"type": "summary_text", "text": "hm"}]}
    said = {"role": "assistant", "content": "so"}
    headers = post(live, "/v1/responses", {"model": "gpt-5", "input": [HI, item, said, HI], "store": False})
    assert fake.last.json["input"] == [HI, said, HI]
    assert headers["x-gateway-dropped"] == "input.reasoning"
    body = orjson.dumps({"model": "gpt-5", "input": [HI, theirs, said, HI], "store": False})
    post(live, "/v1/responses", body)
    assert fake.last.body == body
