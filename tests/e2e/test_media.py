"""Pictures and documents, by address and by value, in both dialects to every provider."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e import chat_ways, message_ways
from tests.e2e.prompts import user
from tests.e2e.sdks import PNG, Kind, Stage
from tests.support.upstream.script import Json

MODELS: dict[Kind, str] = {
    "openai": "gpt-4o",
    "anthropic": "claude-opus-4-5",
    "ollama": "llama3.2-vision",
}
ADDRESS = "https://pictures.example/cat.png?size=2&x=%20"
DATA = f"data:image/png;base64,{PNG}"
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n").decode()
WORDS = {"type": "text", "text": "What is it?"}

chat_by_value = {"type": "image_url", "image_url": {"url": DATA}}
chat_by_address = {"type": "image_url", "image_url": {"url": ADDRESS}}
claude_by_value = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
claude_by_address = {"type": "image", "source": {"type": "url", "url": ADDRESS}}

whole_and_stream = pytest.mark.parametrize("way", ["whole", "stream"])


@whole_and_stream
@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("openai", chat_by_value, chat_by_value),
        ("openai", chat_by_address, chat_by_address),
        ("anthropic", chat_by_value, claude_by_value),
        ("anthropic", chat_by_address, claude_by_address),
    ],
)
def test_a_picture_in_a_chat(stage: Stage, kind: Kind, given: Any, expected: Any, way: str) -> None:
    answer = chat_ways.WAYS[way](stage.sdks, model=MODELS[kind], messages=user([WORDS, given]))
    assert (answer.choices[0].message.content or "").endswith("What is it?")
    assert stage.sent["messages"][0]["content"] == [WORDS, expected]


@whole_and_stream
@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("anthropic", claude_by_value, claude_by_value),
        ("anthropic", claude_by_address, claude_by_address),
        ("openai", claude_by_value, chat_by_value),
        ("openai", claude_by_address, chat_by_address),
    ],
)
def test_a_picture_in_a_message(stage: Stage, kind: Kind, given: Any, expected: Any, way: str) -> None:
    answer = message_ways.WAYS[way](stage.sdks, model=MODELS[kind], messages=user([given, WORDS]))
    assert message_ways.text_of(answer).endswith("What is it?")
    assert stage.sent["messages"][0]["content"] == [expected, WORDS]


@whole_and_stream
def test_a_picture_for_ollama(stage: Stage, way: str) -> None:
    chat_ways.WAYS[way](stage.sdks, model=MODELS["ollama"], messages=user([WORDS, chat_by_value]))
    assert stage.sent["messages"][0] == {"role": "user", "content": "What is it?", "images": [PNG]}
    message_ways.WAYS[way](stage.sdks, model=MODELS["ollama"], messages=user([claude_by_value, WORDS]))
    assert stage.sent["messages"][0] == {"role": "user", "content": "What is it?", "images": [PNG]}


def test_ollama_fetches_no_pictures_and_neither_does_the_gateway(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError, match="base64"):
        chat_ways.whole(stage.sdks, model=MODELS["ollama"], messages=user([WORDS, chat_by_address]))
    with pytest.raises(anthropic.BadRequestError, match="base64"):
        message_ways.whole(stage.sdks, model=MODELS["ollama"], messages=user([claude_by_address, WORDS]))
    assert stage.fake.requests == []


@whole_and_stream
@pytest.mark.parametrize("status", [400, 500])
def test_a_model_that_does_not_see_is_the_requests_fault(stage: Stage, way: str, status: int) -> None:
    """Ollama says it with a 500 in some versions. Nobody is asked again, and the breaker hears of nothing."""
    said = {"error": "failed to process inputs: this model is missing data required for image input"}
    stage.fake.script("/api/chat", [Json(status, said)])
    before = len(stage.gateway.live.verdicts)
    with pytest.raises(openai.BadRequestError, match="image input"):
        chat_ways.WAYS[way](stage.sdks, model="llama3.2", messages=user([WORDS, chat_by_value]))
    with pytest.raises(anthropic.BadRequestError, match="image input"):
        message_ways.WAYS[way](stage.sdks, model="llama3.2", messages=user([claude_by_value, WORDS]))
    assert len(stage.fake.requests) == 2
    stage.gateway.wait_record(2)
    verdicts = [verdict for _, verdict in stage.gateway.live.verdicts[before:]]
    assert len(verdicts) == 2
    assert "failed" not in verdicts


def test_a_document_goes_between_the_dialects(stage: Stage) -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    chat_ways.whole(stage.sdks, model=MODELS["anthropic"], messages=user([WORDS, file]))
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    assert stage.sent["messages"][0]["content"] == [
        WORDS,
        {"type": "document", "source": source, "title": "a.pdf"},
    ]
    document = {"type": "document", "source": source, "title": "a.pdf"}
    message_ways.whole(stage.sdks, model=MODELS["openai"], messages=user([document, WORDS]))
    assert stage.sent["messages"][0]["content"] == [file, WORDS]


def test_sound_is_refused_where_nobody_hears_it(stage: Stage) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    for kind in ("anthropic", "ollama"):
        with pytest.raises(openai.BadRequestError, match="audio"):
            chat_ways.whole(stage.sdks, model=MODELS[kind], messages=user([WORDS, sound]))
    assert stage.fake.requests == []
