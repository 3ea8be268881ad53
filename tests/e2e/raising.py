"""How the SDKs raise what they are told: asks in every way and hands out the exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.prompts import user
from tests.e2e.sdks import Stage

every_sdk = pytest.mark.parametrize("sdk", ["openai", "anthropic"])
every_way = pytest.mark.parametrize("way", ["whole", "stream", "async-whole", "async-stream"])
two_ways = pytest.mark.parametrize("way", ["whole", "async-stream"])


def raised(stage: Stage, sdk: str, way: str = "whole", **fields: Any) -> Any:
    """The SDK's exception when it asks for an answer."""
    fields = {"model": "gpt-4o", "max_tokens": 50, "messages": user("hi"), **fields}
    fields["stream"] = way.endswith("stream")
    clients: dict[str, Any] = {
        "openai": stage.sdks.openai.chat.completions,
        "anthropic": stage.sdks.anthropic.messages,
        "async-openai": stage.sdks.async_openai.chat.completions,
        "async-anthropic": stage.sdks.async_anthropic.messages,
    }

    def ask() -> None:
        if way.startswith("async"):
            stage.sdks.run(clients["async-" + sdk].create(**fields))
        else:
            clients[sdk].create(**fields)

    with pytest.raises(openai.APIStatusError if sdk == "openai" else anthropic.APIStatusError) as caught:
        ask()
    return caught.value


def read_broken(stage: Stage, sdk: str, begun: Callable[[], None], **fields: Any) -> tuple[str, Any]:
    """Reads a stream that ends in an exception: the text that came, and the exception. `begun` is called when
    there is some text."""
    fields = {"max_tokens": 500, "messages": user("count:9"), "stream": True, **fields}
    said = ""

    def read() -> None:
        nonlocal said
        client: Any = stage.sdks.openai.chat.completions
        if sdk == "anthropic":
            client = stage.sdks.anthropic.messages
        with client.create(**fields) as events:
            for event in events:
                said += _chat_text(event) if sdk == "openai" else _message_text(event)
                if said:
                    begun()

    with pytest.raises(openai.APIError if sdk == "openai" else anthropic.APIError) as caught:
        read()
    return said, caught.value


def _chat_text(chunk: Any) -> str:
    assert chunk.choices[0].finish_reason is None, "a broken answer has no reason to finish"
    return str(chunk.choices[0].delta.content or "")


def _message_text(event: Any) -> str:
    assert event.type not in ("message_delta", "message_stop"), "a broken answer has no end"
    return str(event.delta.text) if event.type == "content_block_delta" else ""
