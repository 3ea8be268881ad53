"""The built-in provider: answers chat and embeddings by itself, the same every time, for first steps and
demonstrations. What it says is labelled, so that nobody takes it for a model.

It checks a request as OpenAI would and answers in OpenAI's shapes: streams a few characters at a time with
pauses that a person sees, keeps `max_tokens`, `stop`, `stream_options`, a forced tool and a JSON format, and
counts tokens by the gateway's own estimate.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import re
import struct
import time
from array import array
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dialects import estimate
from dialects.chat import CHAT
from dialects.embeddings import EMBEDDINGS
from dialects.errors import NOT_FOUND, GatewayError, bad_request, envelope
from dialects.parse import parse_json
from dialects.parts import new_id
from dialects.sse import frame, frame_json
from dialects.types import Facts, JsonObject
from providers.sample import SchemaTooLargeError, sample
from providers.wire import UpstreamError, UpstreamRequest, UpstreamResponse

# Fifty pieces a second: fast, and still seen to arrive one by one.
PAUSE = 0.02
# So much of the caller's words is repeated: enough to recognise them.
_ECHO = 200
# As OpenAI's small model has it by default, and its large one at most, so that a table made for theirs fits.
_DIMENSIONS = 1536
_MOST_DIMENSIONS = 3072
# A few megabytes of numbers; more would only show how fast this process can hash.
_MOST_INPUTS = 256

LABEL = "This is the gateway's built-in sandbox: no language model was asked."
_HINT = "Give a provider its API key to talk to a real model."
_PIECE = re.compile(r"\s*\S{1,8}|\s+")


class SandboxTransport:
    """Transport that reaches nothing: every request is answered here. `pause`: seconds between two pieces of
    a stream."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """The answer, an error reply for what OpenAI would refuse. Raises nothing."""
        # Uploads go to kinds that keep files, of which this is none.
        body = request.body if isinstance(request.body, bytes) else b""
        try:
            if request.url.endswith("/chat/completions"):
                return self._chat(parse_json(body))
            if request.url.endswith("/embeddings"):
                return _json(200, await _embeddings(parse_json(body)))
            raise GatewayError(NOT_FOUND, "The sandbox knows chat completions and embeddings.")
        except GatewayError as error:
            return _json(error.status("openai"), envelope("openai", error, ""))

    async def aclose(self) -> None:
        """Nothing is held."""

    def _chat(self, body: JsonObject) -> SandboxResponse:
        facts = CHAT.facts(body)
        if facts.n > 1:
            raise bad_request("The sandbox gives one answer: 'n' must be 1.", "n")
        answer = _answer(body, facts)
        if not facts.stream:
            return _json(200, _whole(answer, facts))
        return SandboxResponse(200, "text/event-stream; charset=utf-8", _frames(answer, facts), self._pause)


class SandboxResponse:
    """An answer that is made while it is read: UpstreamResponse."""

    def __init__(self, status: int, media: str, pieces: Iterable[bytes], pause: float) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": media}
        self._pieces = iter(pieces)
        self._pause = pause
        self._begun = False

    def chunks(self) -> AsyncIterator[bytes]:
        """The pieces, a pause between each two."""
        return self

    def __aiter__(self) -> SandboxResponse:
        return self

    async def __anext__(self) -> bytes:
        if self._begun:
            await asyncio.sleep(self._pause)
        self._begun = True
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration

    def nudge(self) -> None:
        """Its pauses are short."""

    def at_hand(self, limit: int) -> bytes | None:  # noqa: ARG002 - the protocol's signature
        """It takes its time."""
        return None

    async def read(self, limit: int) -> bytes:
        """All of it. Raises UpstreamError "too_large"."""
        body = b"".join([piece async for piece in self])
        if len(body) > limit:
            raise UpstreamError("too_large", f"the answer is larger than {limit} bytes", sent=True)
        return body

    async def aclose(self) -> None:
        """Say no more."""
        self._pieces = iter(())


def _json(status: int, document: Any) -> SandboxResponse:
    return SandboxResponse(status, "application/json", [orjson.dumps(document)], 0.0)


# -- chat


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is said, and why it ends. `call`: the function of which `text` is the arguments."""

    text: str
    finish: str
    call: str | None
    id: str
    created: int


def _answer(body: JsonObject, facts: Facts) -> _Answer:
    call, text = _said(body)
    text, finish = _ended(text, "stop" if call is None else "tool_calls", _stops(body.get("stop")))
    most = facts.max_tokens
    if most is not None and estimate.tokens(len(text)) > most:
        text, finish = text[: most * estimate.CHARS_PER_TOKEN], "length"
    return _Answer(text, finish, call, new_id("chatcmpl-"), int(time.time()))


def _said(body: JsonObject) -> tuple[str | None, str]:
    """The forced function's name, if any, and the words or arguments."""
    try:
        forced = _forced(body)
        if forced is not None:
            return forced[0], orjson.dumps(sample(forced[1])).decode()
        wanted = body.get("response_format") or {}
        if wanted.get("type") == "json_object":
            return None, orjson.dumps({"sandbox": _words(body)}).decode()
        if wanted.get("type") == "json_schema":
            named = wanted.get("json_schema")
            schema = named.get("schema") if isinstance(named, dict) else None
            return None, orjson.dumps(sample(schema)).decode()
    except SchemaTooLargeError:
        raise bad_request("The schema is too large or too deep for the sandbox.") from None
    return None, _words(body)


def _words(body: JsonObject) -> str:
    """The label, and something of the last words of the user or of a tool."""
    spoken: Iterator[JsonObject] = (m for m in reversed(body["messages"]) if m["role"] in ("user", "tool"))
    last = next(spoken, {})
    content = last.get("content")
    if isinstance(content, list):
        content = " ".join(part["text"] for part in content if part["type"] == "text")
    heard = " ".join((content or "").split())
    if not heard:
        return f"{LABEL} {_HINT}"
    shown = heard if len(heard) <= _ECHO else heard[:_ECHO] + "…"
    who = "The tool said" if last["role"] == "tool" else "You said"
    return f"{LABEL} {who}: “{shown}” {_HINT}"


def _forced(body: JsonObject) -> tuple[str, Any] | None:
    """Name and parameters of the function that must be called."""
    choice = body.get("tool_choice")
    named = choice.get("function") if isinstance(choice, dict) else None
    wanted = named.get("name") if isinstance(named, dict) else None
    if wanted is None and choice != "required":
        return None
    for tool in body.get("tools") or ():
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and wanted in (None, name):
            return name, function.get("parameters", {"type": "object"})
    raise bad_request("Invalid value for 'tool_choice': no such function in 'tools'.", "tool_choice")


def _stops(stop: Any) -> list[str]:
    given = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return [each for each in given if isinstance(each, str) and each]


def _ended(text: str, finish: str, stops: Sequence[str]) -> tuple[str, str]:
    """`text` up to the first stop sequence."""
    ends = [at for at in map(text.find, stops) if at >= 0]
    return (text[: min(ends)], "stop") if ends else (text, finish)


def _usage(answer: _Answer, facts: Facts) -> dict[str, int]:
    prompt, completion = estimate.tokens(facts.prompt_chars), estimate.tokens(len(answer.text))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _whole(answer: _Answer, facts: Facts) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.call is not None:
        message |= {"content": None, "tool_calls": [_call(answer, answer.text)]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": facts.model,
        "choices": [choice],
        "usage": _usage(answer, facts),
    }


def _call(answer: _Answer, arguments: str) -> JsonObject:
    called = answer.id.replace("chatcmpl-", "call_")
    return {"id": called, "type": "function", "function": {"name": answer.call, "arguments": arguments}}


def _frames(answer: _Answer, facts: Facts) -> Iterator[bytes]:
    """The same answer as a stream of chunks, up to and with `[DONE]`."""
    shared: JsonObject = {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": facts.model,
    }
    if facts.include_usage:
        shared["usage"] = None

    def chunk(delta: JsonObject, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame_json({**shared, "choices": [choice]})

    if answer.call is None:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in _PIECE.findall(answer.text):
            yield chunk({"content": piece})
    else:
        call = {"index": 0, **_call(answer, "")}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [call]})
        for piece in _PIECE.findall(answer.text):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    # What ends the stream comes at once: only words are worth a pause.
    closing = [chunk({}, answer.finish)]
    if facts.include_usage:
        closing.append(frame_json({**shared, "choices": [], "usage": _usage(answer, facts)}))
    yield b"".join([*closing, frame(b"[DONE]")])


# -- embeddings


async def _embeddings(body: JsonObject) -> JsonObject:
    facts = EMBEDDINGS.facts(body)
    inputs = _inputs(body.get("input"))
    size = body.get("dimensions") or _DIMENSIONS
    if size > _MOST_DIMENSIONS:
        raise bad_request(f"The sandbox has at most {_MOST_DIMENSIONS} dimensions.", "dimensions")
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise bad_request("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    data = []
    for index, each in enumerate(inputs):
        vector = _vector(each, size)
        packed = struct.pack(f"<{size}f", *vector)
        shown = vector.tolist() if form == "float" else base64.b64encode(packed).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
        await asyncio.sleep(0)  # others are served between two inputs
    count = estimate.tokens(facts.prompt_chars)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": facts.model, "usage": usage}


def _inputs(given: Any) -> list[Any]:
    """The texts or lists of token ids that are to be embedded."""
    if given is None:
        raise bad_request("The sandbox embeds 'input' only.", "input")
    several = isinstance(given, list) and not isinstance(given[0], int)
    if several and len(given) > _MOST_INPUTS:
        raise bad_request(f"The sandbox takes at most {_MOST_INPUTS} inputs at once.", "input")
    return given if several else [given]


def _vector(given: Any, size: int) -> array[float]:
    """A unit vector that depends on every byte of the input: equal inputs match, others are as good as
    orthogonal. In 32-bit floats, so that both encodings carry the same."""
    digest = hashlib.shake_256(orjson.dumps(given)).digest(2 * size)
    numbers = struct.unpack(f"<{size}h", digest)
    norm = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    return array("f", [number / norm for number in numbers])
