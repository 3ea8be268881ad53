"""What clients of each dialect ask in each scenario, and why some scenarios do not exist for some of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import ODD, PNG

Body = dict[str, Any]

PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n").decode()
SHAPE: Body = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ASK_ONE = order(city="Ulm")
ASK_TWO = order(city="Ulm") + "\n" + order(city="Köln", days=2)
ASK_LOOP = "think:Where is it?\n" + ASK_TWO
# OpenAI caches prompts from 1,024 tokens on; the fake counts four characters a token.
LONG = "say:ok\n" + "x " * 2600
# Asked twice: the second answer reads what the first has written to the cache.
CACHED = frozenset({"cached tokens", "cache mark"})
TWICE = "cached tokens"
# Asked on with the results of its calls.
LOOP = "tool loop with thinking"
# The model must be one that reasons.
REASONING = frozenset({LOOP, "reasoning effort"})

_FUNCTION: Body = {"name": "weather", "description": "Tells the weather", "parameters": PLACE}
_CHAT_TOOL: Body = {"type": "function", "function": _FUNCTION}
_CLAUDE_TOOL: Body = {"name": "weather", "description": "Tells the weather", "input_schema": PLACE}
_RESPONSES_TOOL: Body = {"type": "function", "strict": False, **_FUNCTION}
_WORDS = "What is it?"
_TURNS = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "say:And still one."},
]


def _chat(content: Any, **fields: Any) -> Body:
    return {"max_tokens": 400, "messages": user(content), **fields}


def _newer(content: Any, **fields: Any) -> Body:
    return {"messages": user(content), **fields}


def _response(content: Any, **fields: Any) -> Body:
    return {"max_output_tokens": 400, "input": user(content), **fields}


def _prompt(prompt: Any, **fields: Any) -> Body:
    return {"max_tokens": 400, "prompt": prompt, **fields}


CHAT: Mapping[str, Body] = {
    "text": _chat("say:hello"),
    "system": _chat("", messages=[{"role": "system", "content": "Be brief."}, *user("say:hi")]),
    "multi-turn": _chat("", messages=_TURNS),
    "one tool": _chat(ASK_ONE, tools=[_CHAT_TOOL]),
    "parallel tools": _chat(ASK_TWO, tools=[_CHAT_TOOL]),
    LOOP: _newer(ASK_LOOP, tools=[_CHAT_TOOL], reasoning_effort="low", max_completion_tokens=4000),
    "image": _chat(
        [
            {"type": "text", "text": _WORDS},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]
    ),
    "document": _chat(
        [
            {"type": "text", "text": _WORDS},
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            },
        ]
    ),
    "JSON schema": _chat(
        "Where?",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": SHAPE, "strict": True},
        },
    ),
    "refusal": _chat("refuse:I will not."),
    "length stop": _chat("count:50", max_tokens=16),
    "stop sequence": _chat("count:9", stop=["word3"]),
    TWICE: _chat(LONG, prompt_cache_key="me"),
    "cache mark": _chat([{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]),
    "reasoning effort": _newer(
        "think:Let me see.\nsay:7", reasoning_effort="medium", max_completion_tokens=6000
    ),
    "unknown fields": _chat("say:hello", shiny_new_knob={"a": 1}),
    "unicode": _chat(f"say:{ODD}"),
    "empty answer": _chat("say:"),
}
MESSAGES: Mapping[str, Body] = {
    "text": _chat("say:hello"),
    "system": _chat("say:hi", system=[{"type": "text", "text": "Be brief."}]),
    "multi-turn": _chat("", messages=_TURNS),
    "one tool": _chat(ASK_ONE, tools=[_CLAUDE_TOOL]),
    "parallel tools": _chat(ASK_TWO, tools=[_CLAUDE_TOOL]),
    LOOP: _chat(
        ASK_LOOP,
        tools=[_CLAUDE_TOOL],
        thinking={"type": "enabled", "budget_tokens": 1024},
        max_tokens=4000,
    ),
    "image": _chat(
        [
            {"type": "text", "text": _WORDS},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ]
    ),
    "document": _chat(
        [
            {"type": "text", "text": _WORDS},
            {
                "type": "document",
                "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            },
        ]
    ),
    "JSON schema": _chat("Where?", output_config={"format": {"type": "json_schema", "schema": SHAPE}}),
    "refusal": _chat("refuse:I will not."),
    "length stop": _chat("count:50", max_tokens=16),
    "stop sequence": _chat("count:9", stop_sequences=["word3"]),
    TWICE: _chat(LONG, cache_control={"type": "ephemeral"}),
    "cache mark": _chat([{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]),
    "reasoning effort": _chat(
        "think:Let me see.\nsay:7", thinking={"type": "enabled", "budget_tokens": 4096}, max_tokens=6000
    ),
    "unknown fields": _chat("say:hello", shiny_new_knob={"a": 1}),
    "unicode": _chat(f"say:{ODD}"),
    "empty answer": _chat("say:"),
}
RESPONSES: Mapping[str, Body] = {
    "text": _response("say:hello"),
    "system": _response("say:hi", instructions="Be brief."),
    "multi-turn": _response("", input=_TURNS),
    "one tool": _response(ASK_ONE, tools=[_RESPONSES_TOOL]),
    "parallel tools": _response(ASK_TWO, tools=[_RESPONSES_TOOL]),
    LOOP: _response(
        ASK_LOOP,
        tools=[_RESPONSES_TOOL],
        reasoning={"effort": "low", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        store=False,
        max_output_tokens=4000,
    ),
    "image": _response(
        [
            {"type": "input_text", "text": _WORDS},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        ]
    ),
    "document": _response(
        [
            {"type": "input_text", "text": _WORDS},
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": f"data:application/pdf;base64,{PDF}",
            },
        ]
    ),
    "JSON schema": _response(
        "Where?",
        text={"format": {"type": "json_schema", "name": "place", "schema": SHAPE, "strict": True}},
    ),
    "refusal": _response("refuse:I will not."),
    "length stop": _response("count:50", max_output_tokens=16),
    TWICE: _response(LONG),
    "reasoning effort": _response(
        "think:Let me see.\nsay:7",
        reasoning={"effort": "medium", "summary": "auto"},
        max_output_tokens=6000,
    ),
    "unknown fields": _response("say:hello", shiny_new_knob={"a": 1}),
    "unicode": _response(f"say:{ODD}"),
    "empty answer": _response("say:"),
}
COMPLETIONS: Mapping[str, Body] = {
    "text": _prompt("say:hello"),
    "refusal": _prompt("refuse:I will not."),
    "length stop": _prompt("count:50", max_tokens=16),
    "stop sequence": _prompt("count:9", stop=["word3"]),
    TWICE: _prompt(LONG),
    "unknown fields": _prompt("say:hello", shiny_new_knob={"a": 1}),
    "unicode": _prompt(f"say:{ODD}"),
    "empty answer": _prompt("say:"),
}
EMBEDDINGS: Mapping[str, Body] = {
    "text": {"input": ["hello", "there"], "dimensions": 64},
    "unknown fields": {"input": "hello", "shiny_new_knob": {"a": 1}},
    "unicode": {"input": ODD, "encoding_format": "float"},
}
ASKED: Mapping[str, Mapping[str, Body]] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETIONS,
    "embeddings": EMBEDDINGS,
}
# Every scenario that a conversation can have: whoever adds one says of each dialect what it asks there.
SCENARIOS = tuple(CHAT)

_NO_TURNS = "a prompt is text: there are no turns, tools, pictures, forms or efforts to ask for"
_NO_TALK = "vectors, no conversation: nothing is said, stopped, cached or streamed"
# Scenarios that do not exist for a client's dialect, with the reason.
NOT_ASKED: Mapping[str, Mapping[str, str]] = {
    "chat": {},
    "messages": {},
    "responses": {
        "stop sequence": "responses have no stop sequences",
        "cache mark": "their only mark is prompt_cache_breakpoint, which models before gpt-5.6 refuse",
    },
    "completions": dict.fromkeys(
        (
            "system", "multi-turn", "one tool", "parallel tools", LOOP, "image", "document", "JSON schema",
            "reasoning effort", "cache mark",
        ),
        _NO_TURNS,
    ),
    "embeddings": dict.fromkeys((name for name in SCENARIOS if name not in EMBEDDINGS), _NO_TALK),
}  # fmt: skip
STREAMING = frozenset({"chat", "messages", "responses", "completions"})


def further(client: str, body: Body, answer: Body) -> Body:
    """The next request of a tool loop: the answer sent back as programs do, with the results of its calls."""
    if client == "responses":
        outputs = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "rain"}
            for item in answer["output"]
            if item["type"] == "function_call"
        ]
        return {**body, "input": [*body["input"], *answer["output"], *outputs]}
    if client == "messages":
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "rain"}
            for block in answer["content"]
            if block["type"] == "tool_use"
        ]
        turns = [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": results}]
        return {**body, "messages": [*body["messages"], *turns]}
    message = answer["choices"][0]["message"]
    told = [{"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in message["tool_calls"]]
    return {**body, "messages": [*body["messages"], message, *told]}
