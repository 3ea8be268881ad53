"""What OpenAI and servers like it answer beside text: images, sound, moderation, ranks, token counts."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, get_type_hints

from openai.types import (
    image_create_variation_params,
    image_edit_params,
    image_generate_params,
    moderation_create_params,
)
from openai.types.audio import speech_create_params, transcription_create_params, translation_create_params

from tests.support.upstream import mind
from tests.support.upstream.memory import Memory
from tests.support.upstream.openai_answers import CREATED, headers, json_body
from tests.support.upstream.openai_forms import files, form_of, known_fields, text
from tests.support.upstream.openai_rules import check_key
from tests.support.upstream.openai_shapes import check_type, missing
from tests.support.upstream.refused import RefusedError, image_type
from tests.support.upstream.script import Reply, encoded, sse
from tests.support.upstream.wire import Received

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = base64.b64encode(PNG).decode()
_FIELDS = {
    "images/generations": frozenset(get_type_hints(image_generate_params.ImageGenerateParamsBase))
    | {"stream"},
    "images/edits": frozenset(get_type_hints(image_edit_params.ImageEditParamsBase)) | {"stream"},
    "images/variations": frozenset(get_type_hints(image_create_variation_params.ImageCreateVariationParams)),
    "audio/speech": frozenset(get_type_hints(speech_create_params.SpeechCreateParams)),
    "audio/transcriptions": frozenset(
        get_type_hints(transcription_create_params.TranscriptionCreateParamsBase)
    )
    | {"stream"},
    "audio/translations": frozenset(get_type_hints(translation_create_params.TranslationCreateParams)),
    "moderations": frozenset(get_type_hints(moderation_create_params.ModerationCreateParams)),
    "rerank": frozenset({"model", "query", "documents", "top_n", "return_documents", "user"}),
}
_MODELS = {
    "images": r"gpt-image-\S+|chatgpt-image-latest",
    "audio/speech": r"tts-1(-hd)?|gpt-4o-mini-tts\S*",
    "audio/transcriptions": r"whisper-1|gpt-4o(-mini)?-transcribe",
    "audio/translations": r"whisper-1",
    "moderations": r"(omni|text)-moderation-\S+",
    "rerank": r"rerank-\S+",
    "responses/input_tokens": r"gpt-\S+|o\d\S*",
}
_SOUND = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def answer(request: Received, endpoint: str, memory: Memory) -> Reply:
    """Check the request against the rules and answer it. RefusedError: the provider would refuse it."""
    check_key(request, memory.refused_keys)
    makers: dict[str, Callable[[Received], Reply]] = {
        "images/generations": _images,
        "images/edits": _edits,
        "images/variations": _variations,
        "audio/speech": _speech,
        "audio/transcriptions": _transcriptions,
        "audio/translations": _translations,
        "moderations": _moderations,
        "rerank": _rerank,
        "responses/input_tokens": _tokens,
    }
    return makers[endpoint](request)


def sound(words: str) -> bytes:
    """What the fake says for these words: bytes that are no text."""
    return b"ID3\x04\x00" + bytes(range(256)) * 64 + words.encode()


def _model(endpoint: str, name: Any) -> str:
    if name in (None, ""):
        raise RefusedError("you must provide a model parameter")
    pattern = _MODELS.get(endpoint) or _MODELS[endpoint.partition("/")[0]]
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise RefusedError(
            f"The model `{name}` does not exist or you do not have access to it.",
            status=404,
            param="model",
            code="model_not_found",
        )
    return name


def _json(request: Received, document: object) -> Reply:
    return Reply(200, [("content-type", "application/json"), *headers(request)], encoded(document))


def _frames(request: Received, kind: str, frames: list[bytes]) -> Reply:
    return Reply(200, [("content-type", kind), *headers(request)], frames=frames)


def _events(request: Received, events: list[dict[str, Any]]) -> Reply:
    frames = [sse((event["type"], event)) for event in events]
    return _frames(request, "text/event-stream; charset=utf-8", frames)


# --- Images


def _picture_usage(prompt: str) -> dict[str, Any]:
    given = mind.tokens(prompt)
    return {
        "input_tokens": given,
        "output_tokens": 1056,
        "total_tokens": given + 1056,
        "input_tokens_details": {"text_tokens": given, "image_tokens": 0, "cached_tokens": 0},
    }


def _pictures(request: Received, prompt: str, count: int, stream: tuple[str, int] | None) -> Reply:
    about = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    usage = _picture_usage(prompt)
    if stream is None:
        data = [{"b64_json": PICTURE} for _ in range(count)]
        return _json(request, {"created": CREATED, "data": data, **about, "usage": usage})
    kind, partial = stream
    shown = {"b64_json": PICTURE, "created_at": CREATED, **about}
    events: list[dict[str, Any]] = [
        {"type": f"{kind}.partial_image", "partial_image_index": index, **shown} for index in range(partial)
    ]
    return _events(request, [*events, {"type": f"{kind}.completed", **shown, "usage": usage}])


def _images(request: Received) -> Reply:
    body = json_body(request)
    known_fields(body, _FIELDS["images/generations"])
    _model("images", body.get("model"))
    if "prompt" not in body:
        raise missing("prompt")
    check_type(body["prompt"], "string", "prompt")
    count = body.get("n") or 1
    check_type(count, "integer", "n")
    if not 1 <= count <= 10:
        raise RefusedError("Invalid 'n': expected 1 to 10.", param="n")
    partial = body.get("partial_images") or 0
    return _pictures(
        request, body["prompt"], count, ("image_generation", partial) if body.get("stream") else None
    )


def _check_pictures(fields: Any, *names: str) -> None:
    for file in files(fields, *names):
        if image_type(file.content) is None:
            raise RefusedError("Invalid image file or mode for image.", param="image")


def _edits(request: Received) -> Reply:
    if (request.header("content-type") or "").startswith("application/json"):
        body = json_body(request)
        _model("images", body.get("model"))
        check_type(body.get("images"), "array", "images")
        return _pictures(request, body["prompt"], 1, None)
    fields = form_of(request)
    known_fields(fields, _FIELDS["images/edits"])
    _model("images", text(fields, "model"))
    _check_pictures(fields, "image", "image[]")
    prompt = text(fields, "prompt", required=True)
    partial = int(text(fields, "partial_images") or 0)
    count = int(text(fields, "n") or 1)
    return _pictures(
        request, prompt, count, ("image_edit", partial) if text(fields, "stream") == "true" else None
    )


def _variations(request: Received) -> Reply:
    fields = form_of(request)
    known_fields(fields, _FIELDS["images/variations"])
    _model("images", text(fields, "model"))
    _check_pictures(fields, "image")
    return _pictures(request, "", int(text(fields, "n") or 1), None)


# --- Sound


def _speech(request: Received) -> Reply:
    body = json_body(request)
    known_fields(body, _FIELDS["audio/speech"])
    model = _model("audio/speech", body.get("model"))
    for name in ("input", "voice"):
        if name not in body:
            raise missing(name)
    check_type(body["input"], "string", "input")
    form = body.get("response_format", "mp3")
    if form not in _SOUND:
        raise RefusedError("Invalid value for 'response_format'.", param="response_format")
    made = sound(body["input"])
    pieces = [made[at : at + 4096] for at in range(0, len(made), 4096)]
    if body.get("stream_format") != "sse":
        return _frames(request, f"audio/{'mpeg' if form == 'mp3' else form}", pieces)
    if model.startswith("tts-1"):
        raise RefusedError("SSE is not supported for this model.", param="stream_format")
    events: list[dict[str, Any]] = [
        {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in pieces
    ]
    given = mind.tokens(body["input"])
    usage = {"input_tokens": given, "output_tokens": 77, "total_tokens": given + 77}
    return _events(request, [*events, {"type": "speech.audio.done", "usage": usage}])


def transcript(content: bytes) -> str:
    """What the fake hears in these bytes."""
    return f"I heard {len(content)} bytes."


def _heard(request: Received, endpoint: str) -> Reply:
    fields = form_of(request)
    known_fields(fields, _FIELDS[endpoint])
    model = _model(endpoint, text(fields, "model"))
    (file,) = files(fields, "file")
    if not re.fullmatch(r".+\.(mp3|mp4|mpeg|mpga|m4a|wav|webm|flac|ogg)", file.filename):
        raise RefusedError("Invalid file format.", param="file")
    words = transcript(file.content)
    form = text(fields, "response_format") or "json"
    if form in ("text", "srt", "vtt"):
        kind = {"text": "text/plain; charset=utf-8", "srt": "application/x-subrip", "vtt": "text/vtt"}[form]
        return Reply(200, [("content-type", kind), *headers(request)], words.encode() + b"\n")
    tokens = {"type": "tokens", "input_tokens": 14, "output_tokens": 6, "total_tokens": 20}
    usage: dict[str, Any] = {"type": "duration", "seconds": 3} if model == "whisper-1" else tokens
    # whisper-1 ignores it.
    if text(fields, "stream") == "true" and model != "whisper-1":
        events: list[dict[str, Any]] = [
            {"type": "transcript.text.delta", "delta": piece} for piece in re.findall(r"\S+\s*", words)
        ]
        return _events(request, [*events, {"type": "transcript.text.done", "text": words, "usage": usage}])
    if form == "verbose_json":
        about = {"language": "english", "duration": 3.0, "segments": []}
        return _json(request, {"text": words, **about, "usage": usage})
    return _json(request, {"text": words, "usage": usage})


def _transcriptions(request: Received) -> Reply:
    return _heard(request, "audio/transcriptions")


def _translations(request: Received) -> Reply:
    return _heard(request, "audio/translations")


# --- Moderation, ranks, counts


def _moderations(request: Received) -> Reply:
    body = json_body(request)
    known_fields(body, _FIELDS["moderations"])
    model = _model("moderations", body.get("model", "omni-moderation-latest"))
    if "input" not in body:
        raise missing("input")
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    empty: dict[str, Any] = {"categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    results = [{"flagged": "kill" in str(one), **empty} for one in inputs]
    return _json(request, {"id": "modr-1", "model": model, "results": results})


def _rerank(request: Received) -> Reply:
    body = json_body(request)
    known_fields(body, _FIELDS["rerank"])
    model = _model("rerank", body.get("model"))
    for name, kind in (("query", "string"), ("documents", "array")):
        if name not in body:
            raise missing(name)
        check_type(body[name], kind, name)
    words = set(body["query"].split())
    scores = [len(words & set(str(one).split())) / len(words) for one in body["documents"]]
    order = sorted(range(len(scores)), key=lambda at: -scores[at])[: body.get("top_n", len(scores))]
    results = [{"index": at, "relevance_score": scores[at]} for at in order]
    used = mind.tokens(body["query"]) + sum(mind.tokens(str(one)) for one in body["documents"])
    return _json(request, {"model": model, "results": results, "usage": {"total_tokens": used}})


def _tokens(request: Received) -> Reply:
    body = json_body(request)
    _model("responses/input_tokens", body.get("model"))
    given = body.get("input")
    words = given if isinstance(given, str) else str(given)
    return _json(request, {"object": "response.input_tokens", "input_tokens": mind.tokens(words)})
