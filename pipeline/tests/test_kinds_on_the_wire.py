"""What a kind's row of data makes of a request on the wire: the header of its key, and fields that it takes
badly."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dialects.types import Usage
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_OPENAI, TEXT, Pair, ask
from tests.support.upstream.script import Json, Sse


def serve(live: LiveGateway, kind: str) -> None:
    """All models by this kind, at the fake's OpenAI."""
    provider = live.provider(kind, base_url=live.fake.openai_url)
    live.use(live.snapshot([live.route("*", provider)]))


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "mistral-small"}
    return orjson.dumps({**body, "choices": [choice], **more}).decode()


# As Mistral streams: no chunk of its own for usage, the last one with a choice has it.
STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": TEXT}),
    chunk({"content": ""}, "stop", usage={"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}),
    "[DONE]",
]


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_OPENAI], ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_azure_is_sent_its_key_in_its_own_header(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    serve(live, "azure_openai")
    fake.script("", [Json(401, {"error": {"message": "no"}})], check=False)
    ask(live, pair, stream=stream)
    assert fake.last.header("api-key") == "sk-azure_openai-0123456789"
    assert fake.last.header("authorization") is None
    assert fake.last.path == "/v1/chat/completions"


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_OPENAI], ids=str)
@pytest.mark.parametrize("asked", [False, True], ids=["unasked", "asked"])
def test_mistral_is_never_sent_stream_options_and_its_usage_is_kept(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, asked: bool
) -> None:
    serve(live, "mistral")
    fake.script("", [Sse(STREAM)])
    extra = {"stream_options": {"include_usage": True}} if asked and pair.surface == "chat" else {}
    answer = ask(live, pair, stream=True, extra=extra)
    assert (answer.status, answer.text, answer.complete) == (200, TEXT, True)
    assert "stream_options" not in fake.last.json
    assert fake.last.json["stream"] is True
    usage = live.wait_record().usage
    assert usage == Usage(input_tokens=7, output_tokens=9)


def test_another_kind_is_asked_for_usage(live: LiveGateway, fake: FakeUpstream) -> None:
    serve(live, "openai_compatible")
    assert ask(live, CHAT_OPENAI, stream=True).complete
    assert fake.last.json["stream_options"] == {"include_usage": True}
