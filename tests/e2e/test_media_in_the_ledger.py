"""The ledger's row of each surface beside text: what was counted, by whom, and what it costs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import openai
import orjson
import pytest

from dialects.types import ModelFacts
from routing.snapshot import CatalogueModel, Price
from tests.e2e.keeping import Kept, jsonl
from tests.e2e.sdks import Stage
from tests.support.surfaces import send
from tests.support.upstream.openai_media import PNG
from tests.support.upstream.script import Answer, Close, Json, Reset, Stall

PRICE = Price(input=5.0, output=40.0)
IMAGES, TTS, ASR = "gpt-image-2", "gpt-4o-mini-tts", "gpt-4o-transcribe"


def _images(stage: Stage) -> None:
    stage.sdks.openai.images.generate(model=IMAGES, prompt="a red fox", n=2)


def _pictures_one_by_one(stage: Stage) -> None:
    list(stage.sdks.openai.images.generate(model=IMAGES, prompt="a fox", stream=True, partial_images=2))


def _edit(stage: Stage) -> None:
    stage.sdks.openai.images.edit(model=IMAGES, image=("a.png", PNG), prompt="a red fox")


def _speech(stage: Stage) -> None:
    stage.sdks.openai.audio.speech.create(model=TTS, voice="alloy", input="hello there").read()


def _speech_as_events(stage: Stage) -> None:
    with stage.sdks.openai.audio.speech.with_streaming_response.create(
        model=TTS, voice="alloy", input="hello", stream_format="sse"
    ) as answer:
        answer.read()


def _transcription(stage: Stage) -> None:
    stage.sdks.openai.audio.transcriptions.create(model=ASR, file=("a.mp3", b"s" * 4000))


def _transcription_of_seconds(stage: Stage) -> None:
    stage.sdks.openai.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"s" * 4000))


def _rerank(stage: Stage) -> None:
    body = {"model": "rerank-2", "query": "fox", "documents": ["a dog", "a fox"]}
    assert send(stage.gateway, "POST", "/v1/rerank", orjson.dumps(body))[0] == 200


def _moderation(stage: Stage) -> None:
    stage.sdks.openai.moderations.create(input="a fox")


def _count(stage: Stage) -> None:
    stage.sdks.openai.responses.input_tokens.count(model="gpt-4o", input="a b c")


def _priced(stage: Stage) -> None:
    """Everything goes to one provider, whose models all have a price."""
    gateway = stage.gateway
    kind = "openai_compatible"
    models = (IMAGES, TTS, ASR, "whisper-1", "rerank-2", "omni-moderation-latest", "gpt-4o")
    catalogue = {(kind, name): CatalogueModel(kind, ModelFacts(name), PRICE) for name in models}
    gateway.use(gateway.snapshot([gateway.route("*", gateway.provider(kind))], catalogue=catalogue))


@pytest.mark.parametrize(
    ("surface", "ask", "source", "stream"),
    [
        ("images", _images, "provider", False),
        ("images", _pictures_one_by_one, "provider", True),
        ("image_edits", _edit, "provider", False),
        ("speech", _speech, "estimated", False),
        ("speech", _speech_as_events, "provider", True),
        ("transcriptions", _transcription, "provider", False),
        # Seconds of sound are no tokens.
        ("transcriptions", _transcription_of_seconds, "estimated", False),
        ("rerank", _rerank, "provider", False),
    ],
)
def test_what_is_used_is_settled(
    stage: Stage, surface: str, ask: Callable[[Stage], None], source: str, stream: bool
) -> None:
    _priced(stage)
    ask(stage)
    end = stage.gateway.ended()
    usage = stage.gateway.records[0].usage
    assert usage is not None
    state = "settled" if source == "provider" else source
    assert (end["surface"], end["state"], end["status"], end["stream"]) == (surface, state, 200, stream)
    assert (end["usage_source"], end["outcome"]) == (source, "ok")
    assert (end["input_tokens"], end["output_tokens"]) == (usage.input_tokens, usage.output_tokens)
    assert end["input_tokens"] > 0
    assert end["cost"] == usage.input_tokens * 5_000 + usage.output_tokens * 40_000
    (attempt,) = end["attempts"]
    assert (attempt["state"], attempt["provider"]) == (state, "openai_compatible")
    # It was written down before the provider was asked.
    assert [line["open"]["surface"] for line in stage.gateway.ledger.lines if "open" in line] == [surface]


@pytest.mark.parametrize(("surface", "ask"), [("moderations", _moderation), ("response_tokens", _count)])
def test_what_costs_nothing(stage: Stage, surface: str, ask: Callable[[Stage], None]) -> None:
    _priced(stage)
    ask(stage)
    end = stage.gateway.ended()
    assert (end["surface"], end["state"], end["cost"]) == (surface, "settled", 0)
    assert (end["input_tokens"], end["output_tokens"]) == (0, 0)


def test_without_a_price_it_is_unpriced_and_not_free(stage: Stage) -> None:
    _images(stage)
    end = stage.gateway.ended()
    assert (end["state"], end["cost"]) == ("settled", None)
    assert end["output_tokens"] > 0


def test_sound_that_nobody_hears_to_its_end(stage: Stage) -> None:
    _priced(stage)
    stage.fake.script("/v1/audio/speech", [Answer(events=1), Stall()])
    with stage.sdks.openai.audio.speech.with_streaming_response.create(
        model=TTS, voice="alloy", input="hello"
    ) as answer:
        next(answer.iter_bytes(4096))
    end = stage.gateway.ended()
    assert (end["state"], end["status"], end["outcome"]) == ("estimated", 499, "client_gone")
    assert end["cost"] == end["input_tokens"] * 5_000 > 0


def test_sound_that_breaks(stage: Stage) -> None:
    _priced(stage)
    stage.fake.script("/v1/audio/speech", [Answer(events=1), Reset()])
    with pytest.raises(openai.APIConnectionError):
        stage.sdks.openai.audio.speech.create(model=TTS, voice="alloy", input="hello").read()
    end = stage.gateway.ended()
    assert (end["state"], end["outcome"]) == ("estimated", "error")
    assert end["input_tokens"] > 0


def test_pictures_that_break_off(stage: Stage) -> None:
    _priced(stage)
    stage.fake.script("/v1/images", [Answer(events=1), Close()])
    with pytest.raises(openai.APIError):
        _pictures_one_by_one(stage)
    end = stage.gateway.ended()
    assert (end["state"], end["outcome"], end["code"]) == ("estimated", "error", "upstream_truncated")


def test_a_refusal_costs_nothing(stage: Stage) -> None:
    _priced(stage)
    error = {"error": {"message": "no such size", "type": "invalid_request_error", "param": "size"}}
    stage.fake.script("/v1/images", [Json(400, error)])
    with pytest.raises(openai.BadRequestError):
        _images(stage)
    end = stage.gateway.ended()
    assert (end["status"], end["outcome"], end["cost"]) == (400, "error", 0)
    assert (end["input_tokens"], end["output_tokens"]) == (0, 0)


def test_files_and_batches_have_rows_and_cost_nothing(kept: Kept) -> None:
    def rows() -> list[dict[str, Any]]:
        kept.gateway.idle()
        return [line["end"] for line in kept.gateway.ledger.lines if "end" in line]

    made = kept.a.files.create(file=("b.jsonl", io.BytesIO(jsonl("gpt-4o"))), purpose="batch")
    kept.a.files.content(made.id).read()
    kept.a.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h")
    found = rows()
    assert [row["surface"] for row in found] == ["files", "files", "batches"]
    assert {(row["state"], row["cost"], row["team"], row["provider"]) for row in found} == {
        ("settled", 0, "a", "one")
    }
