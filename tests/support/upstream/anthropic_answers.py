"""What Anthropic answers: messages, their stream events in order, the model list, and its error envelope."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from tests.support.upstream import mind
from tests.support.upstream.anthropic_rules import check_headers, check_messages
from tests.support.upstream.memory import Memory
from tests.support.upstream.mind import Prompt, Thought, pieces, stable_id, tokens
from tests.support.upstream.models import CLAUDE_LIST, claude_model
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply, encoded, sse
from tests.support.upstream.signing import redacted, signature
from tests.support.upstream.wire import Received

_FINISH = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool": "tool_use",
    "refusal": "refusal",
}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
}


def headers(request: Received) -> list[tuple[str, str]]:
    """The headers that Anthropic sends along, some of which must not reach a gateway's client."""
    return [
        ("request-id", stable_id("req_", request.number)),
        ("anthropic-organization-id", "upstream-organization-secret"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:00Z"),
        ("set-cookie", "_cfuvid=upstream; path=/; HttpOnly"),
    ]


def refusal(error: RefusedError) -> Reply:
    kind = error.kind or _KINDS.get(error.status, "api_error")
    body = {
        "type": "error",
        "error": {"type": kind, "message": error.message}
        | ({"details": {"error_code": error.code}} if error.code else {}),
        "request_id": stable_id("req_", error.message),
    }
    return Reply(error.status, [("content-type", "application/json")], encoded(body))


def answer(request: Received, endpoint: str, memory: Memory) -> Reply:
    """Check the request against the rules and answer it. RefusedError: the provider would refuse it."""
    check_headers(request, memory.refused_keys)
    if endpoint.startswith("models"):
        return _models(request, endpoint.partition("/")[2])
    if not isinstance(request.json, dict):
        raise RefusedError("The request body is not valid JSON: it must be an object")
    if endpoint == "messages/count_tokens":
        return _count(request, request.json)
    return _messages(request, request.json, memory)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content or () if block["type"] == "text")


def _results(message: dict[str, Any]) -> list[str]:
    if message["role"] != "user" or isinstance(message["content"], str):
        return []
    return [
        ("ERROR: " if block.get("is_error") else "") + _text(block.get("content"))
        for block in message["content"]
        if block["type"] == "tool_result"
    ]


def messages_prompt(body: dict[str, Any]) -> Prompt:
    messages = body["messages"]
    last = messages[-1]
    users = [_text(message["content"]) for message in messages if message["role"] == "user"]
    choice = body.get("tool_choice") or {"type": "auto"}
    form = (body.get("output_config") or {}).get("format")
    tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools") or () if "input_schema" in tool}
    return Prompt(
        model=body["model"],
        user=next((text for text in reversed(users) if text), ""),
        text="\n".join(
            encoded(part).decode() for part in (body.get("system") or "", messages, body.get("tools") or "")
        ),
        results=_results(last),
        tools=tools,
        choice="tool:" + choice["name"] if choice["type"] == "tool" else choice["type"],
        parallel=not choice.get("disable_parallel_tool_use"),
        schema=form["schema"] if form else None,
        think=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
        max_tokens=body["max_tokens"],
        stop=body.get("stop_sequences") or (),
        prefill=_text(last["content"]) if last["role"] == "assistant" else "",
    )


def _shows_thinking(body: dict[str, Any]) -> bool:
    """Adaptive thinking is omitted on the newest models unless the request asks to see it."""
    thinking = body["thinking"]
    model = claude_model(body["model"])
    newest = model is not None and model.generation == "M"
    return bool(thinking.get("display", "omitted" if newest else "summarized") != "omitted")


def blocks(said: Thought, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The content of the answer: thinking, text, tool uses."""
    content: list[dict[str, Any]] = []
    if said.redacted:
        content.append({"type": "redacted_thinking", "data": redacted(said.thinking)})
    elif said.thinking:
        shown = said.thinking if _shows_thinking(body) else ""
        content.append({"type": "thinking", "thinking": shown, "signature": signature(shown)})
    if said.text and said.finish != "refusal":
        content.append({"type": "text", "text": said.text})
    content += [
        {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": call.parsed()}
        for call in said.calls
    ]
    return content


def _usage(said: Thought, body: dict[str, Any], memory: Memory) -> dict[str, Any]:
    """Everything up to the last cache mark is written to the cache the first time and read from it later."""
    text = encoded([body.get("tools"), body.get("system"), body["messages"]]).decode()
    at = text.rfind('"cache_control"')
    prefix = text[:at] if at >= 0 else ""
    share = min(tokens(prefix), said.input_tokens)
    known = (
        memory.remember(
            ("anthropic", body["model"], hashlib.sha256(prefix.encode("utf-8", "replace")).digest())
        )
        if share
        else False
    )
    return {
        "input_tokens": said.input_tokens - share,
        "cache_creation_input_tokens": 0 if known else share,
        "cache_read_input_tokens": share if known else 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if known else share,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": said.output_tokens,
        "output_tokens_details": {"thinking_tokens": said.reasoning_tokens},
        "service_tier": "standard",
    }


def _messages(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_messages(request, body)
    said = mind.answer(messages_prompt(body))
    if body["max_tokens"] == 0:  # warms the cache and writes nothing
        said = Thought(finish="length", input_tokens=said.input_tokens)
    usage = _usage(said, body, memory)
    refused = said.finish == "refusal"
    message: dict[str, Any] = {
        "id": stable_id("msg_", request.number, request.body),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks(said, body),
        "stop_reason": _FINISH[said.finish],
        "stop_sequence": said.stopped_by,
        "usage": usage,
    }
    if refused:
        message["stop_details"] = {"type": "refusal", "category": None, "explanation": said.text}
    pairs = headers(request)
    if body.get("stream"):
        kind = ("content-type", "text/event-stream; charset=utf-8")
        return Reply(200, [kind, ("cache-control", "no-cache"), *pairs], frames=list(_events(message)))
    return Reply(200, [("content-type", "application/json"), *pairs], encoded(message))


def _count(request: Received, body: dict[str, Any]) -> Reply:
    """What /v1/messages would take, without a cap and never as a stream."""
    for name in ("max_tokens", "stream"):
        if name in body:
            raise RefusedError(f"{name}: Extra inputs are not permitted")
    counted = {**body, "max_tokens": 1}
    # Thinking is counted beside an answer of any length.
    if counted.get("thinking"):
        counted["max_tokens"] = 1 + int(counted["thinking"].get("budget_tokens") or 0)
    check_messages(request, counted)
    said = mind.answer(messages_prompt(counted))
    pairs = [("content-type", "application/json"), *headers(request)]
    return Reply(200, pairs, encoded({"input_tokens": said.input_tokens}))


def _event(name: str, **fields: Any) -> bytes:
    return sse((name, {"type": name, **fields}))


def _events(message: dict[str, Any]) -> Iterator[bytes]:
    usage = message["usage"]
    opening = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    opening.pop("stop_details", None)
    yield _event("message_start", message=opening)
    for index, block in enumerate(message["content"]):
        yield _event("content_block_start", index=index, content_block=_empty(block))
        if index == 0:
            yield _event("ping")
        for delta in _deltas(block):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details") if key in message}
    counted = {key: usage[key] for key in usage if key.endswith(("_tokens", "_details"))}
    yield _event("message_delta", delta=delta, usage=counted)
    yield _event("message_stop")


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    blank: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
        "redacted_thinking": {},
    }
    return {**block, **blank[block["type"]]}


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": piece} for piece in pieces(block["text"]))
    elif block["type"] == "thinking":
        yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"]))
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif block["type"] == "tool_use":
        yield {"type": "input_json_delta", "partial_json": ""}
        text = encoded(block["input"]).decode() if block["input"] else ""
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in pieces(text))


def _models(request: Received, name: str) -> Reply:
    def card(model: str) -> dict[str, Any]:
        facts = claude_model(model)
        limits = {"max_tokens": facts.max_output, "max_input_tokens": facts.context} if facts else {}
        line = {
            "type": "model",
            "id": model,
            "display_name": model.replace("-", " ").title(),
            "lifecycle": "active",
        }
        return {**line, "created_at": "2026-01-01T00:00:00Z", **limits}

    if name:
        if claude_model(name) is None:
            raise RefusedError(f"model: {name}", status=404)
        document = card(name)
    else:
        cards = [card(model) for model in CLAUDE_LIST]
        document = {"data": cards, "has_more": False, "first_id": CLAUDE_LIST[0], "last_id": CLAUDE_LIST[-1]}
    return Reply(200, [("content-type", "application/json"), *headers(request)], encoded(document))
