"""A model's tool calls whose arguments are no JSON object: passed on as they came, or named; never silent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dialects.as_stream import AS_STREAM
from dialects.errors import GatewayError
from dialects.parts import LOST_INPUT
from dialects.table import DIALECTS
from dialects.tests.pair_support import asked, carried, sse

Body = dict[str, Any]

ASKED: dict[str, Body] = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 50},
    "responses": {"input": "x"},
}
BROKEN = ['{"city": "Ul', "[1]", "Ulm", '"Ulm"', "7"]
WAYS = [(client, upstream) for client in ("chat", "responses", "messages")
        for upstream in ("chat", "responses", "ollama_chat") if client != upstream]  # fmt: skip


def _answer(upstream: str, arguments: Any) -> Body:
    """A provider's whole answer that calls `f` with these."""
    if upstream == "responses":
        call = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "f"}
        output = [{**call, "arguments": arguments}]
        return {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": output}
    function = {"name": "f", "arguments": arguments}
    if upstream == "ollama_chat":
        said = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
        return {"model": "m", "message": said, "done": True, "done_reason": "stop"}
    calls = [{"id": "c1", "type": "function", "function": function}]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "tool_calls": calls},
        "finish_reason": "tool_calls",
    }
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def _written(client: str, answer: Body) -> Any:
    """What a whole answer calls with."""
    if client == "chat":
        return answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    parts = answer["output"] if client == "responses" else answer["content"]
    (call,) = parts
    return call["arguments"] if client == "responses" else call["input"]


def _fragments(frames: bytes) -> str:
    """The pieces of arguments in a stream of any client's."""
    found = []
    for name, data in sse(frames):
        if data == "[DONE]":
            continue
        if name == "response.function_call_arguments.delta":
            found.append(data["delta"])
        elif data.get("delta", {}) and name == "content_block_delta":
            found.append(data["delta"]["partial_json"])
        for choice in data.get("choices", ()):
            calls = choice["delta"].get("tool_calls", ())
            found += [call["function"].get("arguments", "") for call in calls]
    return "".join(found)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("client", "upstream"), WAYS)
def test_whole(client: str, upstream: str, broken: str) -> None:
    translator, _ = asked(client, upstream, ASKED[client], "m")
    answer = _answer(upstream, broken)
    assert DIALECTS[upstream].is_answer(answer)
    written = _written(client, translator.response(answer))
    if client == "messages":
        # Its input is an object: there is no place for the text.
        assert (written, list(translator.dropped)) == ({}, [LOST_INPUT])
    else:
        assert (written, list(translator.dropped)) == (broken, [])


@pytest.mark.parametrize("arguments", ['{"city":"Ulm"}', "{}", "", " \n"])
@pytest.mark.parametrize("upstream", ["chat", "responses", "ollama_chat"])
def test_what_can_be_read_is_no_loss(upstream: str, arguments: str) -> None:
    translator, _ = asked("messages", upstream, ASKED["messages"], "m")
    written = _written("messages", translator.response(_answer(upstream, arguments)))
    assert written == (orjson.loads(arguments) if arguments.strip() else {})
    assert list(translator.dropped) == []


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("client", "upstream"), WAYS)
def test_in_a_stream_the_pieces_go_on_as_they_came(client: str, upstream: str, broken: str) -> None:
    translator, _ = asked(client, upstream, {**ASKED[client], "stream": True}, "m")
    answer = _answer(upstream, broken)
    stream = AS_STREAM[upstream](answer) if upstream in AS_STREAM else orjson.dumps(answer) + b"\n"
    frames, finished = carried(translator, upstream, [stream])
    assert finished
    assert _fragments(frames) == broken
    assert list(translator.dropped) == []


@pytest.mark.parametrize("given", ["half {", [1], 7, None, {}])
@pytest.mark.parametrize("client", ["chat", "responses"])
def test_what_anthropic_or_ollama_give_in_an_objects_place(client: str, given: Any) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [block]}
    usage = {"input_tokens": 1, "output_tokens": 1}
    answer = {**head, "stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
    expected = (
        given if isinstance(given, str) else orjson.dumps(given or {} if given != [1] else given).decode()
    )
    for upstream, said in (("messages", answer), ("ollama_chat", _answer("ollama_chat", given))):
        translator, _ = asked(client, upstream, ASKED[client], "m")
        assert _written(client, translator.response(said)) == expected


def test_a_clients_own_call_with_no_object_is_refused() -> None:
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": ["x"]}]},
    ]
    with pytest.raises(GatewayError, match=r"messages\.1\.content\.0\.input") as refused:
        asked("messages", "chat", {**ASKED["messages"], "messages": turns}, "m")
    assert refused.value.status("anthropic") == 400
