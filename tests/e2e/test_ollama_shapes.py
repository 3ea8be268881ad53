"""What the gateway sends to Ollama and what the fake answers, both read by the types of Ollama's client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from ollama import _types as ollama
from pydantic import BaseModel

from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import PNG, Sdks, Stage

FUNCTION: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
TOOL: Any = {"name": "weather", "input_schema": PLACE}
PICTURE: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
TURNS: list[Any] = [
    {"role": "developer", "content": "Be brief."},
    *user(order(city="Ulm")),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Ulm"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
]
TYPES: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "/api/chat": (ollama.ChatRequest, ollama.ChatResponse),
    "/api/generate": (ollama.GenerateRequest, ollama.GenerateResponse),
    "/api/embed": (ollama.EmbedRequest, ollama.EmbedResponse),
}


def chat(**fields: Any) -> Callable[[Sdks], object]:
    return lambda sdks: list(sdks.openai.chat.completions.create(**{"messages": user("hi"), **fields}))


def messages(**fields: Any) -> Callable[[Sdks], object]:
    given = {"max_tokens": 4000, "messages": user("think:hm\nsay:so"), **fields}
    return lambda sdks: list(sdks.anthropic.messages.create(**given))


WISHES: dict[str, Callable[[Sdks], object]] = {
    "chat": chat(model="llama3.2", temperature=0.5, stop="x", seed=7, max_tokens=20, top_p=0.9),
    "chat-stream": chat(model="llama3.2", stream=True),
    "chat-tools": chat(model="llama3.2", tools=[FUNCTION], messages=user(order(city="Ulm"))),
    "chat-tools-stream": chat(
        model="llama3.2", tools=[FUNCTION], messages=user(order(city="Ulm")), stream=True
    ),
    "chat-loop": chat(model="llama3.2", tools=[FUNCTION], messages=TURNS),
    "chat-thinking": chat(model="qwen3:8b", reasoning_effort="low", messages=user("think:hm\nsay:so")),
    "chat-level": chat(
        model="gpt-oss:20b", reasoning_effort="high", messages=user("think:hm\nsay:so"), stream=True
    ),
    "chat-logprobs": chat(model="llama3.2", logprobs=True, top_logprobs=2),
    "chat-picture": chat(
        model="llama3.2-vision", messages=user([PICTURE, {"type": "text", "text": "what?"}])
    ),
    "chat-json": chat(model="llama3.2", response_format={"type": "json_object"}),
    "chat-schema": chat(
        model="llama3.2",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": PLACE}},
    ),
    "messages": messages(model="llama3.2", extra_body={"top_k": 5}, stop_sequences=["x"]),
    "messages-stream": messages(
        model="qwen3:8b", thinking={"type": "enabled", "budget_tokens": 2000}, stream=True
    ),
    "messages-tools": messages(model="llama3.2", tools=[TOOL], messages=user(order(city="Ulm"))),
    "responses": lambda sdks: sdks.openai.responses.create(
        model="qwen3:8b", input="hi", reasoning={"effort": "low"}
    ),
    "completions": lambda sdks: sdks.openai.completions.create(model="llama3.2", prompt="say:so"),
    "insertion": lambda sdks: sdks.openai.completions.create(
        model="qwen2.5-coder", prompt="def f():", suffix="return 1", max_tokens=20, temperature=0
    ),
    "embeddings": lambda sdks: sdks.openai.embeddings.create(model="nomic-embed-text", input=["a", "b"]),
    "embeddings-width": lambda sdks: sdks.openai.embeddings.create(
        model="nomic-embed-text", input="a", dimensions=64
    ),
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_requests_and_answers_are_ollamas_own(stage: Stage, wish: Callable[[Sdks], object]) -> None:
    stage.gateway.use(stage.gateway.snapshot([stage.gateway.route("*", stage.gateway.provider("ollama"))]))
    wish(stage.sdks)
    last = stage.last
    request, answer = TYPES[last.path]
    request.model_validate(stage.sent)
    assert set(stage.sent) <= set(request.model_fields)
    again = httpx2.post(stage.fake.url + last.path, json=stage.sent, timeout=10)
    lines = [json.loads(line) for line in again.text.split("\n") if line]
    for line in lines:
        answer.model_validate(line)
        assert set(line) <= set(answer.model_fields)
    assert lines[-1].get("done", True)
