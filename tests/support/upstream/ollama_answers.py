"""What Ollama answers natively: chat and generate as JSON or NDJSON, embeddings, tags, show, version, and
its errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from tests.support.upstream import mind
from tests.support.upstream.memory import Memory
from tests.support.upstream.mind import Prompt, Thought, pieces
from tests.support.upstream.models import OLLAMA_LIST, OLLAMA_WIDTH, ollama_capabilities
from tests.support.upstream.ollama_rules import (
    check_chat,
    check_embed,
    check_generate,
    check_show,
    wants_thinking,
)
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply, encoded
from tests.support.upstream.wire import Received

VERSION = "0.13.5"
_AT = "2026-01-01T00:00:00.000000000Z"
_JSON = [("content-type", "application/json; charset=utf-8")]
_LINES = [("content-type", "application/x-ndjson")]
_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def refusal(error: RefusedError) -> Reply:
    return Reply(error.status, _JSON, encoded({"error": error.message}))


def answer(request: Received, endpoint: str, memory: Memory) -> Reply:
    """Check the request against the rules and answer it. RefusedError: the provider would refuse it."""
    if endpoint == "version":
        return Reply(200, _JSON, encoded({"version": VERSION}))
    if endpoint == "tags":
        return Reply(200, _JSON, encoded({"models": [_card(name) for name in OLLAMA_LIST]}))
    makers: dict[str, Callable[[Received, dict[str, Any], Memory], Reply]] = {
        "chat": _chat,
        "generate": _generate,
        "embed": _embed,
        "show": _show,
    }
    if not request.body:
        raise RefusedError("missing request body")
    if not isinstance(request.json, dict):
        raise RefusedError("invalid character looking for beginning of value")
    return makers[endpoint](request, request.json, memory)


def _durations(said: Thought) -> dict[str, Any]:
    return {
        "total_duration": 5_000_000 + said.output_tokens,
        "load_duration": 1_000_000,
        "prompt_eval_count": said.input_tokens,
        "prompt_eval_duration": 1_000_000,
        "eval_count": said.output_tokens,
        "eval_duration": 3_000_000,
    }


def _options(body: dict[str, Any]) -> tuple[int | None, list[str]]:
    options = body.get("options") or {}
    cap = options.get("num_predict")
    return (cap if cap is not None and cap >= 0 else None), options.get("stop") or []


def _schema(form: Any) -> Any:
    if form == "json":
        return _OBJECT
    return form if isinstance(form, dict) else None


def _finish(said: Thought) -> str:
    return "length" if said.finish == "length" else "stop"


def _reply(body: dict[str, Any], lines: list[dict[str, Any]], whole: dict[str, Any]) -> Reply:
    """Ollama streams unless it is told not to."""
    if body.get("stream", True) is False:
        return Reply(200, _JSON, encoded(whole))
    return Reply(200, _LINES, frames=[encoded(line) + b"\n" for line in lines])


def _chat(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_chat(request, body, memory.extra_models)
    messages = body.get("messages") or []
    frame = {"model": body["model"], "created_at": _AT}
    if not messages:
        empty = {"role": "assistant", "content": ""}
        loaded = {**frame, "message": empty, "done": True, "done_reason": "load"}
        return _reply(body, [loaded], loaded)
    said = mind.answer(_chat_prompt(body, messages))
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.thinking:
        message["thinking"] = said.thinking
    calls = [
        {
            "id": f"call_{call.id[:8]}",
            "function": {"index": index, "name": call.name, "arguments": call.parsed()},
        }
        for index, call in enumerate(said.calls)
    ]
    if calls:
        message["tool_calls"] = calls
    end = {"done": True, "done_reason": _finish(said), **_durations(said)}
    parts: list[dict[str, Any]] = [{"content": "", "thinking": piece} for piece in pieces(said.thinking)]
    parts += [{"content": piece} for piece in pieces(said.text)]
    parts += [{"content": "", "tool_calls": [call]} for call in calls]
    lines = [
        {
            **frame,
            "message": {"role": "assistant", **part},
            "done": False,
            **_logprobs(body, part["content"]),
        }
        for part in parts
    ]
    last = {**frame, "message": {"role": "assistant", "content": ""}, **end}
    return _reply(body, [*lines, last], {**frame, "message": message, **_logprobs(body, said.text), **end})


def _chat_prompt(body: dict[str, Any], messages: list[dict[str, Any]]) -> Prompt:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, message.get("content") or "")
    users = [message.get("content") or "" for message in messages if message["role"] == "user"]
    cap, stop = _options(body)
    return Prompt(
        model=body["model"],
        user=users[-1] if users else "",
        text=encoded([messages, body.get("tools") or ""]).decode(),
        results=results,
        tools={
            tool["function"].get("name") or "": tool["function"].get("parameters")
            for tool in body.get("tools") or ()
        },
        schema=_schema(body.get("format")),
        think=wants_thinking(body),
        max_tokens=cap,
        stop=stop,
    )


def _generate(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_generate(request, body, memory.extra_models)
    frame = {"model": body["model"], "created_at": _AT}
    text = body.get("prompt") or ""
    if not text:
        loaded = {**frame, "response": "", "done": True, "done_reason": "load"}
        return _reply(body, [loaded], loaded)
    cap, stop = _options(body)
    schema = _schema(body.get("format"))
    whole = (body.get("system") or "") + text + (body.get("suffix") or "")
    asked = Prompt(
        body["model"], text, whole, schema=schema, think=wants_thinking(body), max_tokens=cap, stop=stop
    )
    said = mind.answer(asked)
    end = {"done": True, "done_reason": _finish(said), "context": [1, 2, 3], **_durations(said)}
    thinking = {"thinking": said.thinking} if said.thinking else {}
    lines = [{**frame, "response": "", "thinking": piece, "done": False} for piece in pieces(said.thinking)]
    lines += [
        {**frame, "response": piece, "done": False, **_logprobs(body, piece)} for piece in pieces(said.text)
    ]
    answered = {**frame, "response": said.text, **thinking, **_logprobs(body, said.text), **end}
    return _reply(body, [*lines, {**frame, "response": "", **end}], answered)


def _logprobs(body: dict[str, Any], text: str) -> dict[str, Any]:
    """Every piece counts as a token that was nearly sure."""
    if not body.get("logprobs") or not text:
        return {}
    other = {"token": "?", "logprob": -2.5, "bytes": [63]}
    tokens = [{"token": piece, "logprob": -0.1, "bytes": list(piece.encode())} for piece in pieces(text)]
    top = body.get("top_logprobs") or 0
    return {"logprobs": [{**token, "top_logprobs": [token, other][:top]} for token in tokens]}


def _embed(request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    check_embed(request, body, memory.extra_models)
    given = body.get("input", [])
    inputs = [given] if isinstance(given, str) else given
    width = OLLAMA_WIDTH.get(body["model"].partition(":")[0], 8)
    width = min(width, body.get("dimensions") or width)
    document = {
        "model": body["model"],
        "embeddings": [mind.vector(one, width) for one in inputs],
        "total_duration": 5_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": sum(mind.tokens(one) for one in inputs),
    }
    return Reply(200, _JSON, encoded(document))


def _details(name: str) -> dict[str, Any]:
    family = name.partition(":")[0]
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": "8B",
        "quantization_level": "Q4_K_M",
    }


def _card(name: str) -> dict[str, Any]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "name": name,
        "model": name,
        "modified_at": _AT,
        "size": 2_000_000_000,
        "digest": digest,
        "details": _details(name),
    }


def _show(_request: Received, body: dict[str, Any], memory: Memory) -> Reply:
    name = check_show(body, memory.extra_models)
    capabilities = ollama_capabilities(name) or ("completion", "tools")
    document = {
        "modelfile": f"FROM {name}",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": _details(name),
        "model_info": {"general.architecture": "llama", "llama.context_length": 131_072},
        "capabilities": list(capabilities),
        "modified_at": _AT,
    }
    return Reply(200, _JSON, encoded(document))
