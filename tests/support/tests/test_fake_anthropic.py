"""The Anthropic fake, judged by the official SDK: it answers what the SDK can read, and refuses what
Anthropic refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.tests.samples import call

L, T, M = "claude-opus-4-5", "claude-sonnet-4-6", "claude-opus-4-7"  # a model of each generation
WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TIME: Any = {"name": "time", "input_schema": {"type": "object", "properties": {}}}
LEGACY = {"type": "enabled", "budget_tokens": 1024}
KEYS = {"x-api-key": "sk-ant", "anthropic-version": "2023-06-01"}


@pytest.fixture
def client(fake_upstream: FakeUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=fake_upstream.anthropic_url, api_key="sk-ant-test", max_retries=0
    ) as client:
        yield client


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def test_message(client: anthropic.Anthropic, fake_upstream: FakeUpstream) -> None:
    message = client.messages.create(model=L, max_tokens=100, system="Be kind.", messages=user("hi"))
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": f"Hello from {L}. You said: hi"}
    ]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.output_tokens == 10
    assert fake_upstream.last.path == "/v1/messages"


def test_stream_events_come_in_the_providers_order(fake_upstream: FakeUpstream) -> None:
    body = {
        "model": L, "max_tokens": 3000, "stream": True, "tools": [WEATHER],
        "thinking": LEGACY, "messages": user('call:weather {"city":"x"}'),
    }  # fmt: skip
    names = [name for name, _ in _events(fake_upstream, body)]
    assert [name for name, before in zip(names, [None, *names], strict=False) if name != before] == [
        "message_start", "content_block_start", "ping", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def _events(fake: FakeUpstream, body: dict[str, Any]) -> list[tuple[str, Any]]:
    status, text = call(fake.url + "/v1/messages", body, headers=KEYS, raw=True)
    assert status == 200
    frames = [frame.split("\n") for frame in text.decode().split("\n\n") if frame]
    events = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in frames
    ]
    assert all(name == data["type"] for name, data in events)
    return events


def test_streamed_tool_calls_add_up(client: anthropic.Anthropic) -> None:
    orders = user('call:weather {"city":"Zürich \\u2603"}\ncall:time')
    with client.messages.stream(model=T, max_tokens=100, messages=orders, tools=[WEATHER, TIME]) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    assert [(block.name, block.input) for block in message.content if block.type == "tool_use"] == [
        ("weather", {"city": "Zürich ☃"}),
        ("time", {}),
    ]


def test_a_tool_loop_with_thinking_goes_on_when_the_thinking_comes_back_unchanged(
    client: anthropic.Anthropic,
) -> None:
    asked = user("call:weather {}")
    options: Any = {
        "model": L,
        "max_tokens": 3000,
        "tools": [WEATHER],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    first = client.messages.create(messages=asked, **options)
    thinking, use = (block.to_dict() for block in first.content)
    assert thinking["thinking"] == "They said: call:weather {}"
    result = user([{"type": "tool_result", "tool_use_id": use["id"], "content": "21 degrees"}])
    create: Any = client.messages.create
    final = create(messages=[*asked, {"role": "assistant", "content": [thinking, use]}, *result], **options)
    assert final.content[-1].to_dict() == {"type": "text", "text": "The tool said: 21 degrees"}

    with pytest.raises(
        anthropic.BadRequestError, match="Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    ):
        create(messages=[*asked, {"role": "assistant", "content": [use]}, *result], **options)
    for forged in (
        {**thinking, "signature": ""},
        {**thinking, "thinking": "other"},
        {**thinking, "signature": "gw1.x"},
    ):
        with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
            create(messages=[*asked, {"role": "assistant", "content": [forged, use]}, *result], **options)


def test_redacted_thinking_must_come_back_unchanged(client: anthropic.Anthropic) -> None:
    options: Any = {"model": T, "max_tokens": 3000, "thinking": {"type": "adaptive"}}
    block = client.messages.create(messages=user("redact:"), **options).content[0].to_dict()
    assert block["type"] == "redacted_thinking"
    history = [
        *user("x"),
        {"role": "assistant", "content": [block, {"type": "text", "text": "y"}]},
        *user("z"),
    ]
    assert client.messages.create(messages=history, **options).stop_reason == "end_turn"
    block["data"] = "AAAA"
    with pytest.raises(anthropic.BadRequestError, match="Invalid `data`"):
        client.messages.create(messages=history, **options)


@pytest.mark.parametrize(("display", "shown"), [(None, ""), ("summarized", "They said: hi"), ("omitted", "")])
def test_the_newest_models_show_thinking_only_when_asked(
    client: anthropic.Anthropic, display: str | None, shown: str
) -> None:
    thinking: Any = {"type": "adaptive", **({"display": display} if display else {})}
    block: Any = client.messages.create(
        model=M, max_tokens=3000, thinking=thinking, messages=user("hi")
    ).content[0]
    assert (block.type, block.thinking) == ("thinking", shown)
    assert len(block.signature) > 100


def test_stop_reasons(client: anthropic.Anthropic) -> None:
    cut = client.messages.create(model=L, max_tokens=2, messages=user("count:50"))
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    stopped = client.messages.create(
        model=L, max_tokens=50, messages=user("count:9"), stop_sequences=["word3"]
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "word3")
    refused = client.messages.create(model=L, max_tokens=50, messages=user("refuse:no"))
    assert (refused.stop_reason, refused.content) == ("refusal", [])
    assert refused.stop_details is not None
    assert refused.stop_details.explanation == "no"
    warmed = client.messages.create(model=L, max_tokens=0, messages=user("hi"))
    assert (warmed.content, warmed.usage.output_tokens) == ([], 0)
    begun = [*user("hi"), {"role": "assistant", "content": "Well,"}]
    assert (
        client.messages.create(model=L, max_tokens=50, messages=begun).content[0].to_dict()["text"]
        == " (continued) hi"
    )


def test_cache_marks_write_first_and_read_later(client: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": "long " * 50, "cache_control": {"type": "ephemeral"}}]
    first, second = (
        client.messages.create(model=T, max_tokens=50, system=system, messages=user(text)).usage
        for text in ("hi", "ho")
    )
    assert first.cache_creation_input_tokens == second.cache_read_input_tokens
    assert (first.cache_creation_input_tokens or 0) > 50
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)


def test_structured_output(client: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    config: Any = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(model=T, max_tokens=50, messages=user("hi"), output_config=config)
    text: Any = message.content[0].to_dict()["text"]
    assert json.loads(text) == {"a": 1}


def test_models(client: anthropic.Anthropic) -> None:
    assert L in [model.id for model in client.models.list()]
    assert client.models.retrieve(L).max_tokens == 64_000
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-nine")


def test_a_coding_agents_request(client: anthropic.Anthropic, fake_upstream: FakeUpstream) -> None:
    system: Any = [
        {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in ("You", "code.")
    ]
    with client.beta.messages.stream(
        model="claude-haiku-4-5",
        max_tokens=32_000,
        system=[{"type": "text", "text": "x-anthropic-billing-header: cc_version=2"}, *system],
        thinking={"type": "enabled", "budget_tokens": 31_999},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={
            "user_id": '{"device_id":"0123456789abcdef","account_uuid":"","session_id":"01234567-89ab"}'
        },
        tools=[WEATHER],
        messages=user("hi"),
        betas=["context-management-2025-06-27", "interleaved-thinking-2025-05-14"],
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert "context-management" in (fake_upstream.last.header("anthropic-beta") or "")
    status, _ = call(
        fake_upstream.url + "/v1/messages?beta=true", fake_upstream.last.json, headers=KEYS, raw=True
    )
    assert status == 400  # without the beta header its field is unknown
    assert fake_upstream.last.query == {"beta": ["true"]}


def test_counting_takes_what_messages_take(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(
        model="claude-opus-4-5", messages=[{"role": "user", "content": "Hello"}]
    )
    answered = client.messages.create(
        model="claude-opus-4-5", max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
    )
    assert counted.input_tokens == answered.usage.input_tokens


def test_conversations_are_not_kept(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="thread"):
        client.beta.messages.create(
            model="claude-opus-4-5",
            max_tokens=10,
            messages=[{"role": "user", "content": "Hello"}],
            thread={"type": "create"},
            betas=["message-threads-2026-08-12"],
        )
