"""Every way in which a program asks for a chat completion, each with the same result: the SDK's own type.

What streams is read event by event; that its chunks are as OpenAI's own, in order and kind, is checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from openai import ContentFilterFinishReasonError, LengthFinishReasonError
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.e2e.sdks import Sdks

ChatWay = Callable[..., ChatCompletion]
# How the streaming helper says that an answer was cut or withheld; it hands over what there is of it.
UNUSUAL_ENDS = (LengthFinishReasonError, ContentFilterFinishReasonError)
_TEXTS = ("content", "refusal", "reasoning_content")


def whole(sdks: Sdks, **fields: Any) -> ChatCompletion:
    answer: ChatCompletion = sdks.openai.chat.completions.create(**fields)
    return answer


def stream(sdks: Sdks, **fields: Any) -> ChatCompletion:
    with sdks.openai.chat.completions.create(**_streamed(fields)) as chunks:
        return gathered(list(chunks))


def helper(sdks: Sdks, **fields: Any) -> ChatCompletion:
    fields = _streamed(fields)
    fields.pop("stream")
    with sdks.openai.chat.completions.stream(**fields) as events:
        try:
            return events.get_final_completion()
        except UNUSUAL_ENDS as end:
            return _there_is(end.completion)


def async_whole(sdks: Sdks, **fields: Any) -> ChatCompletion:
    answer: ChatCompletion = sdks.run(sdks.async_openai.chat.completions.create(**fields))
    return answer


def async_stream(sdks: Sdks, **fields: Any) -> ChatCompletion:
    async def ask() -> list[ChatCompletionChunk]:
        async with await sdks.async_openai.chat.completions.create(**_streamed(fields)) as chunks:
            return [chunk async for chunk in chunks]

    return gathered(sdks.run(ask()))


def async_helper(sdks: Sdks, **fields: Any) -> ChatCompletion:
    fields = _streamed(fields)
    fields.pop("stream")

    async def ask() -> ChatCompletion:
        async with sdks.async_openai.chat.completions.stream(**fields) as events:
            try:
                return await events.get_final_completion()
            except UNUSUAL_ENDS as end:
                return _there_is(end.completion)

    return sdks.run(ask())


WAYS: Mapping[str, ChatWay] = {
    "whole": whole,
    "stream": stream,
    "helper": helper,
    "async-whole": async_whole,
    "async-stream": async_stream,
    "async-helper": async_helper,
}


def _there_is(completion: ChatCompletion | None) -> ChatCompletion:
    assert completion is not None
    return completion


def _streamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}, **fields}


def gathered(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    """The completion that the chunks of one choice, and the usage after them, tell."""
    first = chunks[0]
    for chunk in chunks:
        assert (chunk.id, chunk.created, chunk.model) == (first.id, first.created, first.model)
        assert chunk.object == "chat.completion.chunk"
    tail = chunks[-1:] if not chunks[-1].choices else []
    body = chunks[: len(chunks) - len(tail)]
    for chunk in body:
        # Programs take choices[0] of whatever chunk they get.
        assert len(chunk.choices) == 1
        assert chunk.usage is None
    assert body[0].choices[0].delta.role == "assistant"
    reasons = [chunk.choices[0].finish_reason for chunk in body]
    assert reasons[:-1] == [None] * (len(body) - 1), "the reason to finish comes once, last"
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    for chunk in body:
        _add(message, chunk.choices[0].delta.model_dump(exclude_unset=True))
    if not message["tool_calls"]:
        del message["tool_calls"]
    return ChatCompletion.model_validate(
        {
            "id": first.id,
            "object": "chat.completion",
            "created": first.created,
            "model": first.model,
            "choices": [{"index": 0, "finish_reason": reasons[-1], "logprobs": None, "message": message}],
            "usage": tail[0].usage.model_dump() if tail and tail[0].usage else None,
        }
    )


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in _TEXTS:
        if delta.get(name) is not None:
            message[name] = (message.get(name) or "") + delta[name]
    message.setdefault("thinking_blocks", []).extend(delta.get("thinking_blocks") or ())
    calls = message["tool_calls"]
    for piece in delta.get("tool_calls") or ():
        function = piece["function"]
        if piece["index"] == len(calls):
            # The piece that opens a call names it; those that go on do not name it again.
            assert piece["type"] == "function"
            assert piece["id"]
            calls.append({"id": piece["id"], "type": "function", "function": {**function}})
            continue
        assert piece["index"] == len(calls) - 1, "calls come one after the other"
        assert not piece.get("id")
        assert not function.get("name")
        calls[-1]["function"]["arguments"] += function["arguments"]


def calls_of(answer: ChatCompletion) -> list[tuple[str, str]]:
    """Name and arguments of each call in the answer."""
    found: Iterable[Any] = answer.choices[0].message.tool_calls or ()
    return [(call.function.name, call.function.arguments) for call in found]


def replayed(answer: ChatCompletion) -> dict[str, Any]:
    """The answer as a program sends it back in the next turn, with the thoughts that came along."""
    message: Any = answer.choices[0].message
    found: dict[str, Any] = {"role": "assistant", "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]
    for name in ("reasoning_content", "thinking_blocks"):
        if getattr(message, name, None):
            found[name] = getattr(message, name)
    return found
