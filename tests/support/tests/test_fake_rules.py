"""The rules hold for any JSON: whatever stands where, the fake answers or refuses, and never fails itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.tests import test_fake_openai as gpt
from tests.support.tests.samples import JPEG, PDF, PNG
from tests.support.tests.test_fake_anthropic import LEGACY, WEATHER, L, T
from tests.support.tests.test_fake_anthropic_rules import RESULT, USE
from tests.support.upstream.memory import Memory
from tests.support.upstream.providers import default_reply
from tests.support.upstream.signing import signature
from tests.support.upstream.wire import Received, parsed

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    10**30,
    "",
    "x",
    [],
    {},
    [None],
    [[]],
    {"type": "x"},
    {"type": {}},
    "\ud800",
)

OPENAI = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "x"}], "name": "bob"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "call:weather {}"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}},
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64," + PDF, "filename": "x.pdf"},
                },
                {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
            ],
        },
        gpt.ASSISTANT,
        gpt.RESULT,
    ],
    "tools": [gpt.WEATHER],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "n",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "array", "items": {"anyOf": [{"type": "string"}]}}},
                "required": ["a"],
                "additionalProperties": False,
            },
        },
    },
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 2,
    "temperature": 0.5,
    "max_tokens": 5,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {},
    "user": "u",
}
ANTHROPIC = {
    "model": L,
    "max_tokens": 4096,
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": JPEG}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                },
            ],
        },
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [{**RESULT, "content": [{"type": "text", "text": "x"}]}]},
    ],
    "tools": [WEATHER],
    "tool_choice": {"type": "tool", "name": "weather"},
    "thinking": {"type": "disabled"},
    "output_config": {
        "format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}
    },
    "stop_sequences": ["x"],
    "metadata": {"user_id": "u"},
    "temperature": 0.5,
    "stream": True,
}
THINKING_LOOP = {
    "model": T,
    "max_tokens": 2000,
    "temperature": 1,
    "thinking": LEGACY,
    "tools": [WEATHER],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "output_config": {"effort": "low"},
    "messages": [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "x", "signature": signature("x")}, USE],
        },
        {"role": "user", "content": [RESULT]},
    ],
}
OLLAMA = {
    "model": "qwen3:8b",
    "messages": [
        {"role": "user", "content": "call:weather {}"},
        {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "weather", "arguments": {}}}]},
        {"role": "tool", "content": "x", "tool_name": "weather"},
    ],
    "tools": [gpt.WEATHER],
    "options": {"temperature": 0.5, "stop": ["x"], "num_predict": 5, "use_mmap": True},
    "format": {"type": "object", "properties": {"a": {"enum": [1]}}},
    "think": True,
    "stream": False,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", OPENAI),
    (
        "/v1/completions",
        {
            "model": "gpt-3.5-turbo-instruct",
            "prompt": ["a"],
            "n": 1,
            "echo": True,
            "stop": "x",
            "stream": True,
        },
    ),
    (
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": ["a"], "dimensions": 4, "encoding_format": "float"},
    ),
    ("/v1/messages", ANTHROPIC),
    ("/v1/messages", THINKING_LOOP),
    ("/api/chat", OLLAMA),
    ("/api/generate", {"model": "llama3.2", "prompt": "x", "system": "y", "options": {}, "images": []}),
    ("/api/embed", {"model": "nomic-embed-text", "input": ["x"], "dimensions": 4}),
    ("/api/show", {"model": "llama3.2"}),
]


def mutants(document: Any) -> Iterator[Any]:
    """The document with each part in turn replaced by each odd value, left out, or joined by an unknown
    key."""
    for path in _paths(document):
        for value in (*ODD, ...):
            changed = copy.deepcopy(document)
            holder = changed
            for step in path[:-1]:
                holder = holder[step]
            if value is ...:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
            yield changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from _paths(value[key], (*path, key))


def received(path: str, document: Any) -> Received:
    headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-x"),
        ("anthropic-version", "2023-06-01"),
    ]
    body = json.dumps(document).encode()
    return Received(
        number=1, connection=1, turn=1, method="POST", target=path, version="HTTP/1.1", headers=headers,
        body=body, at=0.0, json=parsed(body),
    )  # fmt: skip


@pytest.mark.parametrize(("path", "document"), CASES, ids=[path for path, _ in CASES])
def test_no_json_makes_the_fake_fail(path: str, document: dict[str, Any]) -> None:
    plain = default_reply(received(path, document), Memory())
    statuses = {default_reply(received(path, mutant), Memory()).status for mutant in mutants(document)}
    assert plain.status == 200
    assert statuses <= {200, 400, 403, 404, 500}
    assert {200, 400} <= statuses or path == "/api/show"
