"""OpenAI's surfaces beside text: images, speech, transcription, moderation, reranking, and counting tokens.

Nobody translates them. A request goes as it came to a provider that speaks OpenAI's dialect, and its answer
comes back as it is, be it JSON, events or sound; what is read of it is its usage and where its stream ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from dialects import sse, upstream_errors
from dialects.chat import not_a_chunk, read_model, read_user, wrong_type
from dialects.count_tokens import estimated
from dialects.errors import Family
from dialects.fields import IMAGE_CHARS, count, detail, length, part, strings
from dialects.responses import RESPONSES
from dialects.types import Event, Facts, Framer, JsonObject, StreamTap, Usage
from dialects.whole import WholeAnswers

# One event may hold a whole picture in base64.
EVENT_LIMIT = 32 << 20
# A guess at how much of a sound file is one character of a prompt: models take some ten tokens for a second
# of sound, which is some 16 kB of MP3.
AUDIO_BYTES = 400
# What OpenAI takes where a client of moderations names no model.
MODERATION_MODEL = "omni-moderation-latest"

Read = Callable[[JsonObject], Facts]
Check = Callable[[JsonObject], bool]
Raw = Literal["never", "may", "always"]


class PassedDialect(WholeAnswers):
    """A surface that passes through. `answers`: whether a JSON object is its answer; `raw`: whether an answer
    is something else than JSON or events, such as sound; `ends`: the events after which a stream may end."""

    family: Family = "openai"

    def __init__(
        self, name: str, read: Read, answers: Check, *, ends: tuple[str, ...] = (), raw: Raw = "never"
    ) -> None:
        self.name = name
        self.raw = raw
        self._read = read
        self._answers = answers
        self._ends = frozenset(ends)

    def facts(self, body: JsonObject) -> Facts:
        return self._read(body)

    def usage(self, body: JsonObject) -> Usage | None:
        return passed_usage(body.get("usage"))

    def is_answer(self, body: JsonObject) -> bool:
        return self._answers(body)

    def framer(self) -> Framer:
        return sse.SseFramer(EVENT_LIMIT)

    def tap(self, *, strip_usage: bool) -> StreamTap:  # noqa: ARG002 - the client asked for all that there is
        return PassedTap(self._ends)


class PassedTap:
    """Notes of a stream of pictures, sound or transcribed text. It ends with its body, which must not come
    before an event that says so."""

    __slots__ = ("_ends", "_said", "content", "finished", "output_chars", "usage")

    def __init__(self, ends: frozenset[str]) -> None:
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.output_chars = 0
        self._ends = ends
        self._said = False

    def see(self, event: Event) -> None:
        if not event.data:
            return
        if event.data == b"[DONE]":
            self.finished = True
            return
        self.content = True
        # A picture in the making is megabytes of base64, of which nothing is to be known.
        if event.name.endswith(".partial_image"):
            return
        value = event.json()
        if type(value) is not dict:
            raise not_a_chunk()
        if value.get("error") or "error" in (event.name, value.get("type")):
            raise upstream_errors.from_event(value.get("error") or value)
        self.output_chars += length(value.get("delta"))
        last = event.name in self._ends or value.get("type") in self._ends
        usage = passed_usage(value.get("usage"))
        if usage is not None:
            # Several pictures of one stream end, and are counted, one by one.
            self.usage = _sum(self.usage, usage) if last and self._said and self.usage else usage
        self._said = self._said or last

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; nothing is stripped
        return True

    def end(self) -> bool:
        """The body is over. True where that is the stream's end."""
        self.finished = self.finished or self._said
        return self.finished


def passed_usage(usage: Any) -> Usage | None:
    """Tokens in OpenAI's newer form (`input_tokens`, `output_tokens`), or the total of a reranker; None for
    what is not counted in tokens, such as seconds of sound."""
    if type(usage) is not dict:
        return None
    given, made = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if given is None and made is None:
        given, made = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if given is None and made is None:
        given = count(usage.get("total_tokens"))
    if given is None and made is None:
        return None
    whole = given or 0
    return Usage(
        input_tokens=whole,
        output_tokens=made or 0,
        cache_read=part(detail(usage, "input_tokens_details", "cached_tokens"), whole),
    )


def _sum(one: Usage, other: Usage) -> Usage:
    """The usage of two pictures."""
    return replace(
        one,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cache_read=one.cache_read + other.cache_read,
    )


# --- Requests. Fields of a form are text, those of JSON have types: both are read.


def _flag(body: JsonObject, name: str) -> bool:
    value = body.get(name)
    if value is None or type(value) is bool:
        return bool(value)
    if type(value) is str and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise wrong_type(name, "a boolean", value)


def _number(body: JsonObject, name: str) -> int:
    """A number above 0, 1 where there is none."""
    value = body.get(name)
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 4:
        value = int(value)
    if value is None:
        return 1
    if type(value) is not int or value < 1:
        raise wrong_type(name, "an integer above 0", value)
    return value


def _size(value: Any) -> int:
    """Bytes of a form's file or files."""
    if type(value) is list:
        return sum(map(_size, value))
    return value.get("bytes", 0) if type(value) is dict else 0


def _pictures(body: JsonObject) -> int:
    """How many pictures come with a request, whichever way."""
    found = 0
    for name in ("image", "image[]", "images", "mask"):
        value = body.get(name)
        found += len(value) if type(value) is list else value is not None
    return found


def _images(body: JsonObject) -> Facts:
    return Facts(
        model=read_model(body),
        stream=_flag(body, "stream"),
        n=_number(body, "n"),
        prompt_chars=length(body.get("prompt")) + IMAGE_CHARS * _pictures(body),
        end_user=read_user(body),
    )


def _speech(body: JsonObject) -> Facts:
    return Facts(
        model=read_model(body),
        stream=body.get("stream_format") == "sse",
        prompt_chars=length(body.get("input")) + length(body.get("instructions")),
    )


def _transcription(body: JsonObject) -> Facts:
    return Facts(
        model=read_model(body),
        stream=_flag(body, "stream"),
        prompt_chars=length(body.get("prompt")) + _size(body.get("file")) // AUDIO_BYTES,
    )


def _moderation(body: JsonObject) -> Facts:
    model = MODERATION_MODEL if body.get("model") is None else read_model(body)
    return Facts(model=model, prompt_chars=strings(body.get("input")))


def _rerank(body: JsonObject) -> Facts:
    return Facts(
        model=read_model(body),
        prompt_chars=strings(body.get("query")) + strings(body.get("documents")),
        end_user=read_user(body),
    )


def _response_tokens(body: JsonObject) -> Facts:
    return replace(RESPONSES.facts(body), stream=False)


def _realtime(body: JsonObject) -> Facts:
    return Facts(model=read_model(body), stream=True)


def _has_list(*names: str) -> Check:
    return lambda body: any(type(body.get(name)) is list for name in names)


def _is_transcribed(body: JsonObject) -> bool:
    return type(body.get("text")) is str


def _is_count(body: JsonObject) -> bool:
    return type(body.get("input_tokens")) is int


def _has_id(body: JsonObject) -> bool:
    return type(body.get("id")) is str


def _never(_body: JsonObject) -> bool:
    return False


def _nothing(_body: JsonObject) -> Facts:
    return Facts(model="")


class _Counted(PassedDialect):
    def usage(self, body: JsonObject) -> Usage | None:  # noqa: ARG002 - counting uses and costs nothing
        return None


def estimated_tokens(facts: Facts) -> JsonObject:
    """The count of `/v1/responses/input_tokens` where the provider has none."""
    return {"object": "response.input_tokens", **estimated(facts)}


_IMAGE_ENDS = ("image_generation.completed", "image_edit.completed")

IMAGES = PassedDialect("images", _images, _has_list("data"), ends=_IMAGE_ENDS)
IMAGE_EDITS = PassedDialect("image_edits", _images, _has_list("data"), ends=_IMAGE_ENDS)
IMAGE_VARIATIONS = PassedDialect("image_variations", _images, _has_list("data"))
SPEECH = PassedDialect("speech", _speech, _never, ends=("speech.audio.done",), raw="may")
TRANSCRIPTIONS = PassedDialect(
    "transcriptions", _transcription, _is_transcribed, ends=("transcript.text.done",), raw="may"
)
TRANSLATIONS = PassedDialect("translations", _transcription, _is_transcribed, raw="may")
MODERATIONS = PassedDialect("moderations", _moderation, _has_list("results"))
RERANK = PassedDialect("rerank", _rerank, _has_list("results", "data"))
RESPONSE_TOKENS = _Counted("response_tokens", _response_tokens, _is_count)
# Of these no model is asked. The provider that has them is found by who owns them.
FILES = PassedDialect("files", _nothing, _has_id)
FILE_CONTENT = PassedDialect("file_content", _nothing, _never, raw="always")
BATCHES = PassedDialect("batches", _nothing, _has_id)
# A WebSocket: what goes over it is nobody's to read but for its usage.
REALTIME = PassedDialect("realtime", _realtime, _never)

MEDIA_DIALECTS = (
    IMAGES,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    MODERATIONS,
    RERANK,
    RESPONSE_TOKENS,
    FILES,
    FILE_CONTENT,
    BATCHES,
    REALTIME,
)
