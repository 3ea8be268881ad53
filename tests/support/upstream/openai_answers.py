"""What OpenAI answers: completions, streams, embeddings, the model list, and its error envelope."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.upstream import mind
from tests.support.upstream.memory import Memory
from tests.support.upstream.mind import Prompt, Thought, pieces, stable_id
from tests.support.upstream.models import OPENAI_LIST, openai_model
from tests.support.upstream.openai_rules import check_chat, check_completions, check_embeddings, check_key
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply, encoded, sse
from tests.support.upstream.wire import Received

CREATED = 1_764_000_000  # one fixed moment, so that answers are the same at any time
_FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool": "tool_calls",
    "refusal": "stop",
}


def headers(request: Received) -> list[tuple[str, str]]:
    """The headers that OpenAI sends along, some of which must not reach a gateway's client."""
    return [
        ("x-request-id", stable_id("req_", request.number, length=32)),
        ("openai-organization", "org-upstream-secret"),
        ("openai-processing-ms", "12"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-reset-requests", "8ms"),
        ("set-cookie", "__cf_bm=upstream; path=/; HttpOnly"),
    ]


def refusal(error: RefusedError) -> Reply:
    body = {
        "message": error.message,
        "type": error.kind or "invalid_request_error",
        "param": error.param,
        "code": error.code,
    }
    return Reply(error.status, [("content-type", "application/json")], encoded({"error": body}))


def answer(request: Received, endpoint: str, memory: Memory) -> Reply:
    """Check the request against the rules and answer it. RefusedError: the provider would refuse it."""
    check_key(request, memory.refused_keys)
    if endpoint.startswith("models"):
        return _models(request, endpoint.partition("/")[2])
    makers: dict[str, Callable[[Received, dict[str, Any], Memory], Reply]] = {
        "chat/completions": _chat,
        "completions": _completions,
        "embeddings": _embeddings,
    }
    body = json_body(request)
    return makers[endpoint](request, body, memory)


def json_body(request: Received) -> dict[str, Any]:
    """The request's JSON object. RefusedError: it has none."""
    if (request.header("content-type") or "").partition(";")[0].strip() != "application/json":
        kind = request.header("content-type")
        raise RefusedError(
            f"Unsupported content type: '{kind}'. This API method only accepts 'application/json' requests, "
            "but you "
            f"specified the header 'Content-Type: {kind}'. Please try again with a supported content type.",
            status=415,
            code="unsupported_content_type",
        )
    if not isinstance(request.json, dict):
        raise RefusedError(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
            "your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    return request.json


def _json(request: Received, document: object) -> Reply:
    return Reply(200, [("content-type", "application/json"), *headers(request)], encoded(document))


def _stream(request: Received, events: Iterator[object]) -> Reply:
    frames = [sse(event) for event in events]
    pairs = [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache"),
        *headers(request),
    ]
    return Reply(200, pairs, frames=[*frames, b"data: [DONE]\n\n"])


# -- chat


def text_of(content: Any) -> str:
    """The text of a message's content, whatever its shape."""
    if isinstance(content, str):
        return content
    return "\n".join(
        part["text"] for part in content or () if isinstance(part, dict) and part.get("type") == "text"
    )


def chat_prompt(body: dict[str, Any]) -> Prompt:
    messages = body["messages"]
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] not in ("tool", "function"):
            break
        results.insert(0, text_of(message["content"]))
    users = [text_of(message.get("content")) for message in messages if message["role"] == "user"]
    tools = {
        tool["function"]["name"]: tool["function"].get("parameters")
        for tool in body.get("tools") or ()
        if "function" in tool
    }
    tools |= {function["name"]: function.get("parameters") for function in body.get("functions") or ()}
    model = openai_model(body["model"])
    effort = body.get("reasoning_effort", "medium")
    return Prompt(
        model=body["model"],
        user=users[-1] if users else "",
        text="\n".join(encoded(part).decode() for part in (messages, body.get("tools") or "")),
        results=results,
        tools=tools,
        choice=_choice(body.get("tool_choice", body.get("function_call", "auto"))),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=_schema(body.get("response_format")),
        think=model is not None and model.reasons and effort not in ("none", "minimal"),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=_stops(body.get("stop")),
    )


def _stops(stop: Any) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop or ())


def _choice(choice: Any) -> str:
    if isinstance(choice, str):
        return {"required": "any"}.get(choice, choice)
    if not isinstance(choice, dict):
        return "auto"
    if choice.get("type") == "allowed_tools":
        return _choice(choice["allowed_tools"]["mode"])
    return "tool:" + str((choice.get("function") or choice).get("name"))


def _schema(wish: Any) -> Any:
    if not isinstance(wish, dict):
        return None
    if wish.get("type") == "json_schema":
        return wish["json_schema"].get("schema", {})
    return (
        {"type": "object", "properties": {"answer": {"type": "string"}}}
        if wish.get("type") == "json_object"
        else None
    )


def usage(said: Thought, choices: int, cached: int) -> dict[str, Any]:
    output = said.output_tokens * choices
    return {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": output,
        "total_tokens": said.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": said.reasoning_tokens * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _cached(body: dict[str, Any], said: Thought, memory: Memory) -> int:
    """OpenAI caches prompts of 1,024 tokens and more, in steps of 128: here when its first message was seen
    before."""
    known = memory.remember(("openai", body["model"], repr(body["messages"][0])))
    return said.input_tokens // 128 * 128 if known and said.input_tokens >= 1024 else 0


def _chat(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_chat(body, memory.extra_models)
    said = mind.answer(chat_prompt(body))
    cached = _cached(body, said, memory)
    count = body.get("n") or 1
    frame = {
        "id": stable_id("chatcmpl-", request.number, request.body, length=29),
        "object": "chat.completion.chunk" if body.get("stream") else "chat.completion",
        "created": CREATED,
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if body.get("stream"):
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        total = usage(said, count, cached) if wants_usage else None
        return _stream(request, _chat_chunks(frame, said, body, total))
    choices = [
        {
            "index": index,
            "message": _message(said, legacy="functions" in body),
            "logprobs": _logprobs(said.text) if body.get("logprobs") else None,
            "finish_reason": _finish(said, body),
        }
        for index in range(count)
    ]
    return _json(request, {**frame, "choices": choices, "usage": usage(said, count, cached)})


def _finish(said: Thought, body: dict[str, Any]) -> str:
    if said.calls and "functions" in body:
        return "function_call"
    return _FINISH[said.finish]


def _message(said: Thought, *, legacy: bool) -> dict[str, Any]:
    refused = said.finish == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if said.calls or refused else said.text,
        "refusal": said.text if refused else None,
        "annotations": [],
    }
    if said.calls and legacy:
        message["function_call"] = {"name": said.calls[0].name, "arguments": said.calls[0].arguments}
    elif said.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{call.id}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in said.calls
        ]
    return message


def _logprobs(text: str) -> dict[str, Any]:
    content = [
        {"token": piece, "logprob": -0.1, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces(text)
    ]
    return {"content": content, "refusal": None}


def _deltas(said: Thought, *, legacy: bool) -> Iterator[dict[str, Any]]:
    """The deltas of one choice in OpenAI's order: the role alone, the content in pieces, each call opened
    and filled."""
    yield {"role": "assistant", "content": None if said.calls else "", "refusal": None}
    for index, call in enumerate(said.calls):
        if legacy:
            yield {"function_call": {"name": call.name, "arguments": ""}}
            yield from ({"function_call": {"arguments": piece}} for piece in pieces(call.arguments))
            return
        opening = {
            "id": f"call_{call.id}",
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield {"tool_calls": [{"index": index, **opening}]}
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    for piece in pieces(said.text):
        yield {"refusal" if said.finish == "refusal" else "content": piece}


def _chat_chunks(
    frame: dict[str, Any], said: Thought, body: dict[str, Any], total: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    pending = {"usage": None} if total is not None else {}
    for index in range(body.get("n") or 1):
        for delta in _deltas(said, legacy="functions" in body):
            piece = delta.get("content")
            logprobs = _logprobs(piece) if body.get("logprobs") and piece else None
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
            yield {**frame, "choices": [choice], **pending}
        last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": _finish(said, body)}
        yield {**frame, "choices": [last], **pending}
    if total is not None:
        yield {**frame, "choices": [], "usage": total}


# -- legacy completions


def _completions(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_completions(body, memory.extra_models)
    prompt = body["prompt"]
    prompts = prompt if isinstance(prompt, list) and all(isinstance(one, str) for one in prompt) else [prompt]
    cap = 16 if body.get("max_tokens") is None else body["max_tokens"]
    said = [
        mind.answer(Prompt(body["model"], text, text, max_tokens=cap, stop=_stops(body.get("stop"))))
        for text in (one if isinstance(one, str) else "tokens" for one in prompts)
        for _ in range(body.get("n") or 1)
    ]
    echo = str(prompt) if body.get("echo") else ""
    frame = {
        "id": stable_id("cmpl-", request.number, request.body, length=29),
        "object": "text_completion",
        "created": CREATED,
        "model": body["model"],
    }
    sums = {
        "prompt_tokens": sum(one.input_tokens for one in said),
        "completion_tokens": sum(one.output_tokens for one in said),
    }
    total = {**sums, "total_tokens": sum(sums.values())}
    if body.get("stream"):
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return _stream(request, _completion_chunks(frame, said, echo, total if wants_usage else None))
    choices = [
        {"text": echo + one.text, "index": index, "logprobs": None, "finish_reason": _FINISH[one.finish]}
        for index, one in enumerate(said)
    ]
    return _json(request, {**frame, "choices": choices, "usage": total})


def _completion_chunks(
    frame: dict[str, Any], said: list[Thought], echo: str, total: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    pending = {"usage": None} if total is not None else {}
    for index, one in enumerate(said):
        for piece in pieces(echo + one.text):
            yield {
                **frame,
                "choices": [{"text": piece, "index": index, "logprobs": None, "finish_reason": None}],
                **pending,
            }
        last = {"text": "", "index": index, "logprobs": None, "finish_reason": _FINISH[one.finish]}
        yield {**frame, "choices": [last], **pending}
    if total is not None:
        yield {**frame, "choices": [], "usage": total}


# -- embeddings and models


def _embeddings(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_embeddings(body, memory.extra_models)
    given = body["input"]
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    model = openai_model(body["model"])
    width = body.get("dimensions") or (model.width if model is not None and model.width else 8)
    data = []
    for index, one in enumerate(inputs):
        vector = mind.vector(str(one), width)
        packed = base64.b64encode(struct.pack(f"<{width}f", *vector)).decode()
        value = packed if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    count = sum(len(one) if isinstance(one, list) else mind.tokens(str(one)) for one in inputs)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return _json(request, {"object": "list", "data": data, "model": body["model"], "usage": usage})


def _models(request: Received, name: str) -> Reply:
    def card(model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": CREATED, "owned_by": "system"}

    if not name:
        return _json(request, {"object": "list", "data": [card(model) for model in OPENAI_LIST]})
    if openai_model(name) is None:
        raise RefusedError(
            f"The model '{name}' does not exist", status=404, param="model", code="model_not_found"
        )
    return _json(request, card(name))
