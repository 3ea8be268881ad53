"""The two dialects that most clients speak: the facts of a request and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dialects.chat import CHAT
from dialects.errors import GatewayError
from dialects.messages import MESSAGES

USER = {"role": "user", "content": "hello"}


def chat(**fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [USER], **fields}
    return {k: v for k, v in body.items() if v is not ...}


def messages(**fields: Any) -> dict[str, Any]:
    return chat(**{"max_tokens": 9, **fields})


def test_chat_facts() -> None:
    facts = CHAT.facts(
        chat(
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=5,
            max_completion_tokens=7,
            n=2,
            user="u",
            safety_identifier="s",
            unknown={"kept": True},
            tools=[{"type": "function", "function": {"name": "f"}}],
            response_format={"type": "json_schema", "json_schema": {"name": "x"}},
            messages=[
                {"role": "system", "content": "12345"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "123"},
                        {"type": "image_url", "image_url": {"url": "x"}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": []},
            ],
        )
    )
    assert facts.model == "m"
    assert (facts.stream, facts.include_usage, facts.max_tokens, facts.n) == (True, True, 7, 2)
    assert facts.end_user == "s"
    assert facts.needs == {"tools", "json_schema", "vision"}
    assert facts.prompt_chars > 8 + 4000


def test_messages_facts() -> None:
    facts = MESSAGES.facts(
        messages(
            stream=True,
            system=[{"type": "text", "text": "12345"}],
            metadata={"user_id": "u"},
            tools=[{"name": "f", "input_schema": {}}],
            output_config={"format": {"type": "json_schema", "schema": {}}},
            messages=[
                {"role": "user", "content": [{"type": "document", "source": {}}]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "content": [{"type": "image", "source": {}}],
                        }
                    ],
                },
            ],
        )
    )
    assert (facts.stream, facts.max_tokens, facts.end_user) == (True, 9, "u")
    assert facts.include_usage
    assert facts.needs == {"tools", "json_schema", "documents", "vision"}


def test_facts_to_count_tokens_need_no_cap() -> None:
    assert MESSAGES.count_facts(chat()).max_tokens is None


@pytest.mark.parametrize(
    ("fields", "param", "code", "says"),
    [
        ({"model": ...}, "model", "missing_required_parameter", "you must provide a model"),
        ({"model": ""}, "model", "missing_required_parameter", "you must provide a model"),
        ({"model": 1}, "model", "invalid_type", "got an integer"),
        ({"messages": ...}, "messages", "missing_required_parameter", "'messages'"),
        ({"messages": "x"}, "messages", "invalid_type", "got a string"),
        ({"messages": []}, "messages", "empty_array", "empty array"),
        ({"messages": ["x"]}, "messages[0]", "invalid_type", "an object"),
        ({"messages": [USER, {}]}, "messages[1].role", "missing_required_parameter", "role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role", "invalid_value", "Supported values"),
        ({"messages": [{"role": []}]}, "messages[0].role", "invalid_type", "an array"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter", "content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_type", "null"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "an integer"),
        (
            {"messages": [{"role": "user", "content": [5]}]},
            "messages[0].content[0]",
            "invalid_type",
            "an object",
        ),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
            "type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
            "invalid_type",
            "text",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": 1}]},
            "messages[0].tool_calls",
            "invalid_type",
            "array",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [1]}]},
            "messages[0].tool_calls[0]",
            "invalid_type",
            "an object",
        ),
        ({"stream": "yes"}, "stream", "invalid_type", "a boolean"),
        ({"stream_options": 1}, "stream_options", "invalid_type", "an object"),
        (
            {"stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "invalid_type",
            "a boolean",
        ),
        ({"max_tokens": "9"}, "max_tokens", "invalid_type", "an integer"),
        ({"max_tokens": True}, "max_tokens", "invalid_type", "a boolean"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value", "minimum"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type", "a decimal"),
        ({"n": 0}, "n", "integer_below_min_value", "minimum"),
        ({"user": 1}, "user", "invalid_type", "a string"),
        ({"tools": {}}, "tools", "invalid_type", "an array"),
        ({"tools": [1]}, "tools[0]", "invalid_type", "an object"),
        ({"response_format": "json"}, "response_format", "invalid_type", "an object"),
    ],
)
def test_chat_refuses(fields: dict[str, Any], param: str, code: str, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        CHAT.facts(chat(**fields))
    error = caught.value
    assert (error.detail.param, error.code, error.status("openai")) == (param, code, 400)
    assert says in error.message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ...}, "model: Field required"),
        ({"model": 1}, "model: Input should be a valid string"),
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"messages": ...}, "messages: Field required"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [1]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"content": "x"}]}, "messages.0.role: Field required"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "messages.0.content: Input should be a valid string or list",
        ),
        (
            {"messages": [{"role": "user", "content": [1]}]},
            "messages.0.content.0: Input should be a valid dictionary",
        ),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content.0.type: Field required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text: Field required",
        ),
        ({"stream": 1}, "stream: Input should be a valid boolean"),
        ({"system": 1}, "system: Input should be a valid string or list"),
        ({"tools": 1}, "tools: Input should be a valid list"),
        ({"tools": [1]}, "tools.0: Input should be a valid dictionary"),
        ({"metadata": 1}, "metadata: Input should be a valid dictionary"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id: Input should be a valid string"),
        ({"output_config": 1}, "output_config: Input should be a valid dictionary"),
    ],
)
def test_messages_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(GatewayError) as caught:
        MESSAGES.facts(messages(**fields))
    assert caught.value.message == message
    assert caught.value.status("anthropic") == 400
