"""What OpenAI answers to a responses request: the response, its stream, and what it keeps of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.upstream import mind
from tests.support.upstream.memory import Memory
from tests.support.upstream.mind import Prompt, Thought, pieces, stable_id
from tests.support.upstream.models import openai_model
from tests.support.upstream.openai_answers import CREATED, headers, json_body
from tests.support.upstream.openai_responses_items import check_order
from tests.support.upstream.openai_responses_rules import check_responses
from tests.support.upstream.openai_rules import check_key
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply, encoded, sse
from tests.support.upstream.signing import redacted
from tests.support.upstream.wire import Received

_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def answer(request: Received, endpoint: str, memory: Memory) -> Reply:
    """Check the request against the rules and answer it. RefusedError: the provider would refuse it."""
    check_key(request, memory.refused_keys)
    body = json_body(request)
    check_responses(body, memory.extra_models)
    items = _conversation(body, memory)
    check_order(items)
    said = mind.answer(responses_prompt(body, items))
    response = _response(request, body, said, memory)
    if body.get("store") is not False:
        memory.responses[response["id"]] = [*items, *response["output"]]
    if not body.get("stream"):
        pairs = [("content-type", "application/json"), *headers(request)]
        return Reply(200, pairs, encoded(response))
    pairs = [("content-type", "text/event-stream; charset=utf-8"), *headers(request)]
    events = [{**event, "sequence_number": number} for number, event in enumerate(_events(response))]
    return Reply(200, pairs, frames=[sse((event["type"], event)) for event in events])


def _conversation(body: dict[str, Any], memory: Memory) -> list[dict[str, Any]]:
    """The items of a stored response, then the request's own."""
    given = body.get("input") or []
    items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given)
    before = body.get("previous_response_id")
    if before is None:
        return items
    if before not in memory.responses:
        raise RefusedError(
            f"Previous response with id '{before}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return [*memory.responses[before], *items]


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part.get("type", "").endswith("_text"))


def responses_prompt(body: dict[str, Any], items: list[dict[str, Any]]) -> Prompt:
    """What the model is asked."""
    results: list[str] = []
    for item in reversed(items):
        if item.get("type") not in ("function_call_output", "custom_tool_call_output"):
            break
        results.insert(0, _text_of(item["output"]))
    users = [_text_of(item.get("content")) for item in items if item.get("role") == "user"]
    model = openai_model(body["model"])
    effort = (body.get("reasoning") or {}).get("effort") or "medium"
    form = (body.get("text") or {}).get("format") or {}
    return Prompt(
        model=body["model"],
        user=users[-1] if users else "",
        text="\n".join(
            encoded(part).decode()
            for part in (body.get("instructions") or "", items, body.get("tools") or "")
        ),
        results=results,
        tools={tool["name"]: tool.get("parameters") for tool in _named_tools(body)},
        choice=_choice(body.get("tool_choice") or "auto"),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=_schema(form),
        think=model is not None and model.reasons and effort not in ("none", "minimal"),
        max_tokens=body.get("max_output_tokens"),
    )


def _named_tools(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tool in body.get("tools") or ():
        yield from tool.get("tools") or ([tool] if "name" in tool else [])


def _choice(choice: Any) -> str:
    if isinstance(choice, str):
        return {"required": "any"}.get(choice, choice)
    if choice["type"] == "allowed_tools":
        return {"required": "any"}.get(choice["mode"], "auto")
    return f"tool:{choice['name']}" if "name" in choice else "auto"


def _schema(form: dict[str, Any]) -> Any:
    if form.get("type") == "json_schema":
        return form["schema"]
    plain = {"type": "object", "properties": {"answer": {"type": "string"}}}
    return plain if form.get("type") == "json_object" else None


def _response(request: Received, body: dict[str, Any], said: Thought, memory: Memory) -> dict[str, Any]:
    known = memory.remember(("openai", body["model"], body.get("instructions"), repr(body.get("input"))[:60]))
    cached = said.input_tokens // 128 * 128 if known and said.input_tokens >= 1024 else 0
    cut = said.finish == "length"
    return {
        "id": stable_id("resp_", request.number, request.body, length=48),
        "object": "response",
        "created_at": CREATED,
        "completed_at": None if cut else CREATED,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": body["model"],
        **{key: body[key] if body.get(key) is not None else usual for key, usual in _ECHOED.items()},
        "output": list(_output(body, said)),
        "service_tier": "default",
        "usage": {
            "input_tokens": said.input_tokens,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
            "total_tokens": said.input_tokens + said.output_tokens,
        },
    }


def _output(body: dict[str, Any], said: Thought) -> Iterator[dict[str, Any]]:
    if said.thinking:
        shown = (body.get("reasoning") or {}).get("summary") is not None
        yield {
            "id": stable_id("rs_", said.thinking),
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": said.thinking}] if shown else [],
            "encrypted_content": "gAAAA" + redacted(said.thinking),
        }
    tools = {tool["name"]: tool["type"] for tool in _named_tools(body)}
    for call in said.calls:
        same = {"status": "completed", "call_id": f"call_{call.id}", "name": call.name}
        if tools[call.name] == "custom":
            yield {"id": f"ctc_{call.id}", "type": "custom_tool_call", **same, "input": call.arguments}
        else:
            yield {"id": f"fc_{call.id}", "type": "function_call", **same, "arguments": call.arguments}
    if said.text or not said.calls:
        part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
        if said.finish == "refusal":
            part = {"type": "refusal", "refusal": said.text}
        status = "incomplete" if said.finish == "length" else "completed"
        message = {"id": stable_id("msg_", said.text), "type": "message", "status": status}
        yield {**message, "role": "assistant", "content": [part]}


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    opening = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
        "completed_at": None,
    }
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    for index, item in enumerate(response["output"]):
        yield from _item_events(item, index)
    yield {"type": f"response.{response['status']}", "response": response}


def _item_events(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": [], "status": "in_progress"},
        "reasoning": {"summary": [], "encrypted_content": "gAAAA"},
        "function_call": {"arguments": "", "status": "in_progress"},
        "custom_tool_call": {"input": "", "status": "in_progress"},
    }
    at = {"item_id": item["id"], "output_index": index}
    yield {
        "type": "response.output_item.added",
        "output_index": index,
        "item": {**item, **empty[item["type"]]},
    }
    if item["type"] == "message":
        yield from _part_events(item["content"][0], {**at, "content_index": 0})
    elif item["type"] == "reasoning":
        for part in item["summary"]:
            yield from _summary_events(part, {**at, "summary_index": 0})
    else:
        name, key = ("function_call_arguments", "arguments")
        if item["type"] == "custom_tool_call":
            name, key = ("custom_tool_call_input", "input")
        for piece in pieces(item[key]):
            yield {"type": f"response.{name}.delta", **at, "delta": piece}
        yield {"type": f"response.{name}.done", **at, key: item[key]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(part: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    key = "refusal" if part["type"] == "refusal" else "text"
    name = "refusal" if key == "refusal" else "output_text"
    extra: dict[str, Any] = {} if key == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **at, "part": {**part, key: ""}}
    for piece in pieces(part[key]):
        yield {"type": f"response.{name}.delta", **at, "delta": piece, **extra}
    yield {"type": f"response.{name}.done", **at, key: part[key], **extra}
    yield {"type": "response.content_part.done", **at, "part": part}


def _summary_events(part: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **at, "part": part}
