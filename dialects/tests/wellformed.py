"""Generators of bodies as real clients send them: every field of the SDKs' types, legal by itself, in any
combination and order of turns that the client's own provider takes."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

from dialects.parts import sealed
from tests.support.upstream.signing import redacted, signature

Body = dict[str, Any]

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n").decode()
_NOTE = base64.b64encode(b"a note").decode()
_WORDS = st.sampled_from(["hello", "two\nlines ", "ž \u2028 🐎", "json", " ", ""])
_SAID = st.sampled_from(["hello", "two\nlines ", "ž \u2028 🐎"])
# Names and ids that only some providers take.
NAMES = ("weather", "a" * 60, "get-time")
LONG_NAMES = (*NAMES, "mcp__" + "b" * 100)
_IDS = ("call_1", "toolu_01AbC", "functions.weather:0", "x" * 63, "y" * 45)
_ARGUMENTS = st.sampled_from(['{"city": "Ulm"}', "{}", "", '{"a": [1, {"b": null}]}', "not JSON", "[1]"])
_INPUTS: st.SearchStrategy[Body] = st.sampled_from([{}, {"city": "Ulm"}, {"a": [1, {"b": None}]}])
_ANY: Body = {"type": "object"}
_SCHEMAS: st.SearchStrategy[Body] = st.sampled_from(
    [
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 1}, "at": {"$ref": "#/$defs/at"}},
            "$defs": {"at": {"oneOf": [{"type": "string", "pattern": "x"}, {"type": "null"}]}},
        },
        {"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}]},
        {
            "type": "object",
            "properties": {"l": {"type": "array", "items": {"type": "object"}, "maxItems": 3}},
        },
    ]
)
_STRICT: Body = {
    "type": "object",
    "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "required": ["a"],
    "additionalProperties": False,
}
_LOOSE: Body = {"type": "object", "properties": {"n": {"minimum": 1}}}
_EMPTY: Body = {"type": "object", "properties": {}, "additionalProperties": False}
_MARK = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
_EFFORT = st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])
_USERS = st.sampled_from(["u-1", "me@example.com", "+49 731 123456", '{"device_id":"' + "d" * 170 + '"}'])


def _maybe(draw: st.DrawFn, made: Body, name: str, values: st.SearchStrategy[Any]) -> None:
    if draw(st.integers(0, 3)) == 0:
        made[name] = draw(values)


def _url(kind: str, data: str) -> str:
    return f"data:{kind};base64,{data}"


# --- Chat completions

_CHAT_PARTS = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, _WORDS),
    st.builds(lambda t, m: {"type": "text", "text": t, "cache_control": m}, _SAID, _MARK),
    st.sampled_from(
        [
            {"type": "image_url", "image_url": {"url": _url("image/jpg", _PNG), "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": _url("application/pdf", _PDF)}},
            {"type": "file", "file": {"filename": "a.txt", "file_data": _url("text/markdown", _NOTE)}},
        ]
    ),
)
_CHAT_CONTENT = _WORDS | st.lists(_CHAT_PARTS, min_size=1, max_size=3)
_TEXTS = st.lists(st.builds(lambda t: {"type": "text", "text": t}, _WORDS), min_size=1, max_size=3)


@st.composite
def _chat_turn(draw: st.DrawFn, number: int) -> list[Body]:
    """A turn of the assistant with the results of its calls."""
    said: Body = {"role": "assistant", "content": draw(_WORDS | _TEXTS)}
    _maybe(draw, said, "refusal", _SAID | st.none())
    _maybe(draw, said, "name", st.just("bot"))
    _maybe(draw, said, "reasoning_content", _SAID)
    thought = draw(_SAID)
    blocks: list[Body] = [
        {"type": "thinking", "thinking": thought, "signature": signature(thought)},
        {"type": "redacted_thinking", "data": redacted(thought)},
        {"type": "thinking", "thinking": thought, "signature": ""},
        {"type": "thinking", "thinking": thought, "signature": sealed({"type": "x"})},
    ]
    _maybe(draw, said, "thinking_blocks", st.lists(st.sampled_from(blocks), max_size=2))
    ids = draw(st.lists(st.sampled_from(_IDS), max_size=2, unique=True))
    calls = [
        {
            "id": f"{call_id}{number}"[-64:],
            "type": "function",
            "function": {"name": draw(st.sampled_from(NAMES)), "arguments": draw(_ARGUMENTS)},
        }
        for call_id in ids
    ]
    if not calls:
        return [said]
    said["tool_calls"] = calls
    if draw(st.booleans()):
        said["content"] = None
    results = [{"role": "tool", "tool_call_id": c["id"], "content": draw(_WORDS | _TEXTS)} for c in calls]
    return [said, *draw(st.permutations(results))]


@st.composite
def chat(draw: st.DrawFn) -> Body:
    """A body of chat completions."""
    messages: list[Body] = []
    instructor = st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "developer"]),
        _WORDS | _TEXTS,
    )
    messages += draw(st.lists(instructor, max_size=2))
    for number in range(draw(st.integers(0, 3))):
        if draw(st.integers(0, 4)):
            messages.append({"role": "user", "content": draw(_CHAT_CONTENT)})
        messages += draw(_chat_turn(number))
        messages += draw(st.lists(instructor, max_size=1))
    if draw(st.integers(0, 3)) or not messages:
        messages.append({"role": "user", "content": draw(_CHAT_CONTENT)})
    body: Body = {"model": "alias", "messages": messages}
    names = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    if names:
        body["tools"] = [draw(_chat_tool(name)) for name in names]
        named = {"type": "function", "function": {"name": names[0]}}
        choices: list[Any] = ["none", "auto", "required", named]
        choices.append({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}})
        _maybe(draw, body, "tool_choice", st.sampled_from(choices))
        _maybe(draw, body, "parallel_tool_calls", st.booleans())
    for name, values in _CHAT_FIELDS.items():
        _maybe(draw, body, name, values)
    if body.get("response_format") == {"type": "json_object"}:
        # As the API itself demands.
        messages.append({"role": "user", "content": "json"})
    if body.get("stream"):
        _maybe(draw, body, "stream_options", st.builds(lambda u: {"include_usage": u}, st.booleans()))
    return body


@st.composite
def _chat_tool(draw: st.DrawFn, name: str) -> Body:
    function: Body = {"name": name}
    _maybe(draw, function, "description", _WORDS)
    if draw(st.integers(0, 3)):
        function["parameters"] = draw(_SCHEMAS)
    if draw(st.integers(0, 3)) == 0:
        function |= {"strict": True, "parameters": _STRICT}
    tool: Body = {"type": "function", "function": function}
    _maybe(draw, tool, "cache_control", _MARK)
    return tool


_CHAT_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.sampled_from([1, 500, 1024, 1025, 9000, 200000]),
    "max_completion_tokens": st.sampled_from([1, 500, 1025, 200000]),
    "temperature": st.sampled_from([0, 0.3, 1, 1.7]),
    "top_p": st.sampled_from([0, 0.5, 0.97, 1]),
    "stop": st.sampled_from(["END", ["\n", "x"], [], ["a", "b", "c", "d"], " "]),
    "stream": st.booleans(),
    "reasoning_effort": _EFFORT,
    "response_format": st.sampled_from(
        [
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "x", "schema": _STRICT, "strict": True}},
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "x",
                    "schema": _LOOSE,
                },
            },
        ]
    ),
    "user": _USERS,
    "safety_identifier": st.just("s"),
    "metadata": st.sampled_from([{}, {"a": "b"}, {"user_id": "u"}]),
    "service_tier": st.sampled_from(["auto", "default", "flex", "priority"]),
    "seed": st.just(7),
    "n": st.just(1),
    "frequency_penalty": st.sampled_from([0, 0.5]),
    "presence_penalty": st.sampled_from([0, -0.5]),
    "logit_bias": st.sampled_from([{}, {"50256": -100}]),
    "logprobs": st.booleans(),
    "store": st.booleans(),
    "verbosity": st.sampled_from(["low", "medium"]),
    "prompt_cache_key": st.just("k"),
    "modalities": st.just(["text"]),
    "web_search_options": st.just({}),
    "shiny_new_knob": st.just({"a": 1}),
}


# --- Messages

_CLAUDE_BLOCKS = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, _SAID),
    st.builds(lambda t, m: {"type": "text", "text": t, "cache_control": m}, _SAID, _MARK),
    st.sampled_from(
        [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "note"}},
            {
                "type": "document",
                "title": "A",
                "context": "c",
                "citations": {"enabled": True},
                "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF},
            },
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "text", "text": "inside"}]},
            },
            {
                "type": "search_result",
                "title": "T",
                "source": "https://e.com",
                "content": [{"type": "text", "text": "found"}],
            },
        ]
    ),
)
_CLAUDE_CONTENT = _SAID | st.lists(_CLAUDE_BLOCKS, min_size=1, max_size=3)
_RESULTS = st.one_of(
    _WORDS,
    st.lists(_CLAUDE_BLOCKS, max_size=3),
    st.just([{"type": "tool_reference", "tool_name": "weather"}]),
)


@st.composite
def _claude_turn(draw: st.DrawFn, number: int) -> list[Body]:
    thought = draw(_SAID)
    blocks = draw(
        st.lists(
            st.sampled_from(
                [
                    {"type": "thinking", "thinking": thought, "signature": signature(thought)},
                    {"type": "redacted_thinking", "data": redacted(thought)},
                    {"type": "thinking", "thinking": thought, "signature": ""},
                    {
                        "type": "server_tool_use",
                        "id": "srvtoolu_1",
                        "name": "web_search",
                        "input": {"query": "x"},
                    },
                    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                    {"type": "text", "text": "hello"},
                ]
            ),
            max_size=3,
        )
    )
    ids = draw(st.lists(st.sampled_from(("toolu_01AbC", "x" * 90, "call_1")), max_size=2, unique=True))
    uses = [
        {
            "type": "tool_use",
            "id": f"{call_id}{number}",
            "name": draw(st.sampled_from(LONG_NAMES)),
            "input": draw(_INPUTS),
        }
        for call_id in ids
    ]
    said: Body = {"role": "assistant", "content": [*blocks, *uses] or "hello"}
    if not uses:
        return [said]
    results: list[Body] = []
    for use in uses:
        result: Body = {"type": "tool_result", "tool_use_id": use["id"]}
        _maybe(draw, result, "is_error", st.booleans())
        _maybe(draw, result, "cache_control", _MARK)
        if draw(st.integers(0, 4)):
            result["content"] = draw(_RESULTS)
        results.append(result)
    rest = draw(st.lists(_CLAUDE_BLOCKS, max_size=2))
    return [said, {"role": "user", "content": [*results, *rest]}]


@st.composite
def messages(draw: st.DrawFn) -> Body:
    """A body of messages."""
    turns: list[Body] = []
    for number in range(draw(st.integers(0, 3))):
        if not turns or turns[-1]["role"] == "assistant" or draw(st.booleans()):
            turns.append({"role": "user", "content": draw(_CLAUDE_CONTENT)})
        turns += draw(_claude_turn(number))
    if draw(st.integers(0, 3)) or not turns:
        turns.append({"role": "user", "content": draw(_CLAUDE_CONTENT)})
    body: Body = {
        "model": "alias",
        "messages": turns,
        "max_tokens": draw(st.sampled_from([0, 1, 1025, 9000, 200000])),
    }
    texts = st.lists(
        st.builds(
            lambda t, m: {"type": "text", "text": t, **m},
            _SAID,
            st.just({}) | st.builds(lambda m: {"cache_control": m}, _MARK),
        ),
        max_size=2,
    )
    _maybe(draw, body, "system", _SAID | texts)
    names = draw(st.lists(st.sampled_from(LONG_NAMES), max_size=3, unique=True))
    if names:
        body["tools"] = [draw(_claude_tool(name)) for name in names]
        if draw(st.integers(0, 5)) == 0:
            body["tools"].append({"type": "web_search_20250305", "name": "web_search", "max_uses": 2})
        single = st.booleans()
        choice = st.one_of(
            st.just({"type": "none"}),
            st.builds(
                lambda kind, one: {"type": kind, "disable_parallel_tool_use": one},
                st.sampled_from(["auto", "any"]),
                single,
            ),
            st.builds(
                lambda one: {"type": "tool", "name": names[0], "disable_parallel_tool_use": one}, single
            ),
        )
        _maybe(draw, body, "tool_choice", choice)
    for name, values in _MESSAGE_FIELDS.items():
        _maybe(draw, body, name, values)
    return body


@st.composite
def _claude_tool(draw: st.DrawFn, name: str) -> Body:
    tool: Body = {"name": name, "input_schema": draw(_SCHEMAS)}
    _maybe(draw, tool, "description", _SAID)
    _maybe(draw, tool, "cache_control", _MARK)
    _maybe(draw, tool, "strict", st.booleans())
    _maybe(draw, tool, "type", st.just("custom"))
    _maybe(draw, tool, "eager_input_streaming", st.just(True))
    return tool


_MESSAGE_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "temperature": st.sampled_from([0, 0.5, 1]),
    "top_p": st.sampled_from([0.5, 1]),
    "top_k": st.just(5),
    "stop_sequences": st.sampled_from([[], ["END"], ["a", "b", "c", "d", "e"]]),
    "thinking": st.sampled_from(
        [
            {"type": "enabled", "budget_tokens": 1024},
            {"type": "enabled", "budget_tokens": 31999, "display": "omitted"},
            {"type": "disabled"},
            {"type": "adaptive"},
            {"type": "adaptive", "display": "summarized"},
            {"type": "between_tools"},
        ]
    ),
    "output_config": st.sampled_from(
        [
            {"effort": "max"},
            {"effort": "xhigh", "format": {"type": "json_schema", "schema": _STRICT}},
            {
                "format": {
                    "type": "json_schema",
                    "schema": {"type": "object", "properties": {}, "additionalProperties": False},
                }
            },
        ]
    ),
    "metadata": st.builds(lambda user: {"user_id": user}, _USERS),
    "service_tier": st.sampled_from(["auto", "standard_only"]),
    "cache_control": _MARK,
    "container": st.just("c"),
    "context_management": st.just({"edits": [{"type": "clear_thinking_20251015"}]}),
    "mcp_servers": st.just([]),
    "speed": st.just("fast"),
    "inference_geo": st.just("eu"),
    "shiny_new_knob": st.just({"a": 1}),
}


# --- Responses

_INPUT_PARTS = st.one_of(
    st.builds(lambda t: {"type": "input_text", "text": t}, _WORDS),
    st.sampled_from(
        [
            {"type": "input_image", "image_url": _url("image/png", _PNG), "detail": "auto"},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": _url("application/pdf", _PDF)},
            {"type": "input_file", "filename": "a.txt", "file_data": _url("text/plain", _NOTE)},
        ]
    ),
)


_OUTPUTS = _WORDS | st.lists(_INPUT_PARTS, min_size=1, max_size=2)


@st.composite
def _response_turn(draw: st.DrawFn, number: int) -> list[Body]:
    items: list[Body] = []
    thought = draw(_SAID)
    claude = {"type": "thinking", "thinking": thought, "signature": signature(thought)}
    unsigned = {"type": "thinking", "thinking": thought, "signature": ""}
    seals = [
        sealed(claude),
        sealed({"type": "redacted_thinking", "data": redacted(thought)}),
        sealed(unsigned),
    ]
    if draw(st.booleans()):
        item: Body = {"type": "reasoning", "id": f"rs_{number}", "summary": []}
        if draw(st.booleans()):
            item["summary"] = [{"type": "summary_text", "text": thought}]
        _maybe(draw, item, "encrypted_content", st.sampled_from([*seals, "gAAAAforeign"]) | st.none())
        items.append(item)
    if draw(st.booleans()):
        parts = [
            {"type": "output_text", "text": draw(_SAID), "annotations": []},
            {"type": "refusal", "refusal": "no"},
        ]
        content = draw(st.sampled_from([parts, parts[:1], parts[1:]]))
        items.append(
            {
                "type": "message",
                "id": f"msg_{number}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )
    calls: list[Body] = []
    for at, call_id in enumerate(draw(st.lists(st.sampled_from(_IDS), max_size=2, unique=True))):
        call: Body = {"call_id": f"{call_id}{number}"[-64:], "name": draw(st.sampled_from(NAMES))}
        if draw(st.integers(0, 3)) == 0:
            calls.append(
                {"type": "custom_tool_call", "id": f"ctc_{number}{at}", **call, "input": draw(_WORDS)}
            )
        else:
            arguments = draw(_ARGUMENTS)
            calls.append({"type": "function_call", "id": f"fc_{number}{at}", **call, "arguments": arguments})
    outputs = [
        {
            "type": f"{call['type']}_output",
            "call_id": call["call_id"],
            "output": draw(_WORDS | st.lists(_INPUT_PARTS, min_size=1, max_size=2)),
        }
        for call in calls
    ]
    items += calls
    items += draw(st.permutations(outputs))
    return items


@st.composite
def responses(draw: st.DrawFn) -> Body:
    """A body of responses."""
    items: list[Body] = []
    user = st.builds(
        lambda role, content: {"role": role, "content": content},
        st.just("user"),
        _WORDS | st.lists(_INPUT_PARTS, min_size=1, max_size=3),
    )
    instruction = st.builds(
        lambda role, text: {
            "type": "message",
            "role": role,
            "content": [{"type": "input_text", "text": text}],
        },
        st.sampled_from(["system", "developer"]),
        _WORDS,
    )
    for number in range(draw(st.integers(0, 3))):
        items += draw(st.lists(instruction, max_size=1))
        items += draw(st.lists(user, max_size=2))
        items += draw(_response_turn(number))
    items.append(draw(user))
    body: Body = {"model": "alias", "input": draw(st.just(items) | st.just("hello json"))}
    names = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    if names:
        body["tools"] = [draw(_response_tool(name)) for name in names]
        if draw(st.integers(0, 3)) == 0:
            inner = {"type": "function", "name": "fetch", "parameters": {"type": "object", "properties": {}}}
            body["tools"] += [
                {"type": "namespace", "name": "mcp", "description": "d", "tools": [inner]},
                {"type": "web_search"},
                {"type": "tool_search"},
            ]
        kind = body["tools"][0]["type"]
        named = {"type": kind, "name": names[0]}
        choices = ["none", "auto", "required", named]
        choices.append({"type": "allowed_tools", "mode": "auto", "tools": [named]})
        _maybe(draw, body, "tool_choice", st.sampled_from(choices))
        _maybe(draw, body, "parallel_tool_calls", st.booleans())
    for name, values in _RESPONSE_FIELDS.items():
        _maybe(draw, body, name, values)
    return body


@st.composite
def _response_tool(draw: st.DrawFn, name: str) -> Body:
    if draw(st.integers(0, 3)) == 0:
        form = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
        return {
            "type": "custom",
            "name": name,
            "description": "d",
            "format": draw(st.sampled_from([form, {"type": "text"}])),
        }
    strict = draw(st.booleans())
    return {
        "type": "function",
        "name": name,
        "strict": strict,
        "parameters": _STRICT if strict else draw(_SCHEMAS),
    }


_RESPONSE_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "instructions": _WORDS,
    "max_output_tokens": st.sampled_from([16, 1025, 9000, 200000]),
    "temperature": st.sampled_from([0, 0.3, 1, 1.7]),
    "top_p": st.sampled_from([0.5, 1]),
    "top_logprobs": st.sampled_from([0, 3]),
    "reasoning": st.builds(lambda effort: {"effort": effort, "summary": "auto"}, _EFFORT),
    "text": st.sampled_from(
        [
            {"format": {"type": "text"}, "verbosity": "low"},
            {"format": {"type": "json_schema", "name": "x", "schema": _STRICT, "strict": True}},
            {
                "format": {
                    "type": "json_schema",
                    "name": "x",
                    "schema": _LOOSE,
                }
            },
        ]
    ),
    "metadata": st.just({"a": "b"}),
    "user": _USERS,
    "safety_identifier": st.just("s" * 70),
    "service_tier": st.sampled_from(["auto", "flex"]),
    "prompt_cache_key": st.just("k"),
    "include": st.just(["reasoning.encrypted_content", "message.output_text.logprobs"]),
    "store": st.booleans(),
    "truncation": st.sampled_from(["disabled", "auto"]),
    "client_metadata": st.just({"a": "b"}),
    "shiny_new_knob": st.just(1),
}

BODIES: dict[str, st.SearchStrategy[Body]] = {
    "chat": chat(),
    "messages": messages(),
    "responses": responses(),
}
