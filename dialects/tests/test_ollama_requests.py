"""Requests that go to Ollama: every row of the translation, judged by goldens, by Ollama's own client library
and by a fake that refuses and ignores what Ollama does."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from ollama._types import ChatRequest, EmbedRequest

from dialects.errors import GatewayError
from dialects.parts import Losses
from dialects.parts_ollama import inlined
from dialects.table import TRANSLATORS
from dialects.tests.pair_support import asked, golden
from dialects.types import JsonObject, ModelFacts
from tests.support.upstream.ollama_rules import check_chat, check_embed
from tests.support.upstream.wire import Received

CLIENTS = {
    "ollama_chat_requests": ("chat", "ollama_chat"),
    "ollama_messages_requests": ("messages", "ollama_chat"),
    "completions_requests": ("completions", "chat"),
    "ollama_embed_requests": ("embeddings", "ollama_embed"),
}
CASES = [
    pytest.param(client, upstream, case, id=f"{client}: {case['case']}")
    for name, (client, upstream) in CLIENTS.items()
    for case in golden(name)
]
USER = [{"role": "user", "content": "Hi"}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(("client", "upstream", "case"), CASES)
def test_request(client: str, upstream: str, case: JsonObject) -> None:
    translator, sent = asked(client, upstream, case["body"], case["model"])
    assert sent == case["sent"]
    assert list(translator.dropped) == case["dropped"]


@pytest.mark.parametrize(
    ("client", "upstream", "case"), [case for case in CASES if str(case.values[1]).startswith("ollama")]
)
def test_ollama_takes_it_whole(client: str, upstream: str, case: JsonObject) -> None:
    """Neither refused nor, in any field, ignored; and its own library knows the form."""
    _, sent = asked(client, upstream, case["body"], case["model"])
    received = Received(1, 1, 1, "POST", "/", "1.1", [], orjson.dumps(sent), 0.0, json=sent)
    given = copy.deepcopy(sent)
    if upstream == "ollama_embed":
        check_embed(received, sent, ())
        EmbedRequest.model_validate(given)
    else:
        check_chat(received, sent, ())
        ChatRequest.model_validate(given)
    # The fake's list of fields is older than the ids of calls.
    assert [name for name in received.ignored if not name.endswith("tool_call_id")] == []


def user(*parts: JsonObject) -> JsonObject:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def call(arguments: Any) -> JsonObject:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}


TOOL = {"type": "function", "function": {"name": "f"}}
CHAT_REFUSED = {
    "several answers": ({"n": 2, "messages": USER}, "n"),
    "sound asked for": ({"modalities": ["text", "audio"], "messages": USER}, "modalities"),
    "image by address": (
        user({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        "messages[0].content[0].image_url.url",
    ),
    "image that is no base64": (
        user({"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}),
        "messages[0].content[0].image_url.url",
    ),
    "image of no data": (
        user({"type": "image_url", "image_url": {}}),
        "messages[0].content[0]",
    ),
    "sound": (
        user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        "messages[0].content[0]",
    ),
    "pdf": (
        user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
        "messages[0].content[0]",
    ),
    "file by id": (user({"type": "file", "file": {"file_id": "file-1"}}), "messages[0].content[0]"),
    "text file that is no text": (
        user({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}),
        "messages[0].content[0]",
    ),
    "unknown part": (user({"type": "hologram"}), "messages[0].content[0]"),
    "tool of another kind": ({"messages": USER, "tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
    "tool without a name": ({"messages": USER, "tools": [{"type": "function", "function": {}}]}, "tools[0]"),
    "choice of no known tool": (
        {"messages": USER, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
    ),
    "choice of another kind": (
        {"messages": USER, "tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
        "tool_choice",
    ),
    "allowed tools of nonsense": (
        {"messages": USER, "tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        "tool_choice.allowed_tools",
    ),
    "call without a name": (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}]},
        "messages[0].tool_calls[0]",
    ),
    "file of no data": (user({"type": "file", "file": None}), "messages[0].content[0]"),
    "choice of nonsense": ({"messages": USER, "tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
    "result without an id": (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages[0].tool_call_id",
    ),
    "temperature of text": ({"messages": USER, "temperature": "hot"}, "temperature"),
    "seed of a fraction": ({"messages": USER, "seed": 1.5}, "seed"),
    "seed beyond 64 bits": ({"messages": USER, "seed": 1.8446744073709552e19}, "seed"),
    "stop of numbers": ({"messages": USER, "stop": [1]}, "stop"),
    "options of text": ({"messages": USER, "options": "x"}, "options"),
    "format of nonsense": ({"messages": USER, "response_format": {"type": "yaml"}}, "response_format"),
    "schema missing": ({"messages": USER, "response_format": {"type": "json_schema"}}, "response_format"),
    "schema of text": (
        {"messages": USER, "response_format": {"type": "json_schema", "json_schema": {"schema": "x"}}},
        "response_format",
    ),
    "effort of nonsense": ({"messages": USER, "reasoning_effort": "much"}, "reasoning_effort"),
    "a voice": ({"messages": USER, "audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    "too many logprobs": ({"messages": USER, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
}


def test_alternatives_to_tokens_that_are_not_asked_for_are_named() -> None:
    translator, sent = asked("chat", "ollama_chat", {"messages": USER, "top_logprobs": 2})
    assert "top_logprobs" not in sent
    assert translator.dropped == ["top_logprobs"]


def test_a_schema_that_is_left_out_asks_for_any_object() -> None:
    described = {"type": "json_schema", "json_schema": {"name": "n"}}
    _, sent = asked("chat", "ollama_chat", {"messages": USER, "response_format": described}, "llama3.2")
    assert sent["format"] == "json"


@pytest.mark.parametrize("name", CHAT_REFUSED)
def test_chat_refused(name: str) -> None:
    body, param = CHAT_REFUSED[name]
    with pytest.raises(GatewayError) as caught:
        asked("chat", "ollama_chat", body)
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == param


def turn(*blocks: JsonObject) -> JsonObject:
    return {"max_tokens": 5, "messages": [{"role": "user", "content": list(blocks)}]}


def source(**fields: str) -> JsonObject:
    return turn({"type": "document", "source": fields})


MESSAGES_REFUSED = {
    "image by address": (
        turn({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        "messages.0.content.0.source",
    ),
    "image by id": (
        turn({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        "messages.0.content.0.source",
    ),
    "image that is no base64": (
        turn({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%"}}),
        "messages.0.content.0.source.data",
    ),
    "pdf": (
        source(type="base64", media_type="application/pdf", data="AAAA"),
        "messages.0.content.0.source",
    ),
    "pdf by address": (source(type="url", url="https://example.com/a.pdf"), "messages.0.content.0.source"),
    "upload": (turn({"type": "container_upload", "file_id": "f"}), "messages.0.content.0"),
    "only server tools": (
        {**turn({"type": "text", "text": "x"}), "tools": [{"type": "bash_20250124", "name": "bash"}]},
        "tools",
    ),
    "tool without a name": ({**turn({"type": "text", "text": "x"}), "tools": [{}]}, "tools.0.name"),
    "choice of no known tool": (
        {
            **turn({"type": "text", "text": "x"}),
            "tools": [{"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "tool", "name": "g"},
        },
        "tool_choice",
    ),
    "choice of nonsense": (
        {
            **turn({"type": "text", "text": "x"}),
            "tools": [{"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "maybe"},
        },
        "tool_choice",
    ),
    "search result of nonsense": (turn({"type": "search_result"}), "messages.0.content.0.content"),
    "result within a result": (
        turn({"type": "tool_result", "tool_use_id": "t", "content": 7}),
        "messages.0.content.0.content",
    ),
    "schema missing": (
        {**turn({"type": "text", "text": "x"}), "output_config": {"format": {"type": "json_schema"}}},
        "output_config.format",
    ),
    "temperature of text": ({**turn({"type": "text", "text": "x"}), "temperature": "hot"}, "temperature"),
}


@pytest.mark.parametrize("name", MESSAGES_REFUSED)
def test_messages_refused(name: str) -> None:
    body, param = MESSAGES_REFUSED[name]
    with pytest.raises(GatewayError) as caught:
        asked("messages", "ollama_chat", body)
    assert caught.value.status("anthropic") == 400
    assert caught.value.detail.param == param


def test_audio_goes_where_pictures_go_for_a_model_that_hears() -> None:
    body = {"model": "x", **user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})}
    hears = ModelFacts(name="gemma3n", capabilities=frozenset({"audio"}))
    sent = TRANSLATORS["chat", "ollama_chat"]().request(body, hears)
    assert sent["messages"] == [{"role": "user", "content": "", "images": ["AAAA"]}]


def test_thinking_by_the_catalogue_where_the_name_says_nothing() -> None:
    thinks = ModelFacts(name="my-own", capabilities=frozenset({"reasoning"}))
    body = {"model": "x", "messages": USER, "reasoning_effort": "high"}
    assert TRANSLATORS["chat", "ollama_chat"]().request(body, thinks)["think"] is True


def test_a_schema_that_multiplies_is_refused() -> None:
    """Ten levels that each name the next ten times would be ten thousand million nodes."""
    levels = {str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 10} for i in range(10)}
    bomb = {"type": "object", "properties": {"a": {"$ref": "#/$defs/0"}}, "$defs": {**levels, "10": {}}}
    with pytest.raises(GatewayError) as caught:
        inlined(bomb, Losses())
    assert caught.value.status("openai") == 400


def test_a_long_chain_of_references_is_refused_not_a_crash() -> None:
    chain = {str(i): {"items": {"$ref": f"#/$defs/{i + 1}"}} for i in range(5000)}
    with pytest.raises(GatewayError):
        inlined({"properties": {"a": {"$ref": "#/$defs/0"}}, "$defs": chain}, Losses())


def test_properties_that_are_called_like_keywords_stay() -> None:
    schema = {
        "type": "object",
        "properties": {
            name: {"type": "string"} for name in ("const", "oneOf", "allOf", "$ref", "$defs", "items", "enum")
        },
        "required": ["const"],
    }
    assert inlined(schema, Losses()) == schema


def test_a_reference_to_nowhere_stays() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "https://example.com/a.json"}},
        "$defs": {"x": {}},
    }
    losses = Losses()
    assert inlined(schema, losses) == schema
    assert losses == []


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("qwen3:8b", True),
        ("gpt-oss:120b-cloud", True),
        ("deepseek-r1:7b", True),
        ("qwen3-coder:30b", False),
        ("qwen3:30b-a3b-instruct-2507", False),
        ("qwen3-embedding", False),
        ("llama3.2", False),
        ("qwen2.5-coder", False),
    ],
)
def test_thinking_by_name(model: str, thinks: bool) -> None:
    translator, sent = asked("chat", "ollama_chat", {"messages": USER, "reasoning_effort": "high"}, model)
    assert ("think" in sent) is thinks
    assert (translator.dropped == ["reasoning_effort"]) is not thinks


def test_the_older_functions_give_way_to_tools() -> None:
    translator, sent = asked(
        "chat", "ollama_chat", {"messages": USER, "tools": [TOOL], "functions": [{"name": "old"}]}
    )
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f"]
    assert translator.dropped == ["functions"]
