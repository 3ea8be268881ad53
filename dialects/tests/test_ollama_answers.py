"""Ollama's answers, whole and in streams, in the form of each client: goldens, the official SDKs' types, and
streams cut anywhere, broken off or hostile."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from dialects.errors import UPSTREAM_BAD, GatewayError
from dialects.ollama_chat import OLLAMA_CHAT, ollama_usage
from dialects.table import TRANSLATORS
from dialects.tests.pair_support import asked, carried, end, golden, lines, say, sse, steady
from dialects.types import Event, JsonObject, ModelFacts, Usage

EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
BODIES: dict[str, JsonObject] = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
}
CASES = [
    pytest.param(client, case, id=f"{client}: {case['case']}")
    for client in BODIES
    for case in golden(f"ollama_{client}_answers")
]


def streamed(client: str, pieces: list[bytes], **body: Any) -> tuple[bytes, bool]:
    translator, _ = asked(client, "ollama_chat", {**BODIES[client], **body, "stream": True})
    return carried(translator, "ollama_chat", pieces)


@pytest.mark.parametrize(("client", "case"), CASES)
def test_stream(client: str, case: JsonObject) -> None:
    out, finished = streamed(client, [lines(*case["lines"])], **case["body"])
    assert finished
    assert steady(out.decode()).split("\n\n") == [*case["frames"], ""]


@pytest.mark.parametrize(("client", "case"), CASES)
def test_whole_answer(client: str, case: JsonObject) -> None:
    body = {name: value for name, value in case["body"].items() if name != "stream_options"}
    translator, _ = asked(client, "ollama_chat", {**BODIES[client], **body})
    assert OLLAMA_CHAT.is_answer(case["whole"])
    answer = translator.response(case["whole"])
    assert json.loads(steady(json.dumps(answer))) == case["answer"]
    kind = ChatCompletion if client == "chat" else Message
    read = kind.model_validate(answer, strict=True)
    assert read.model_dump(exclude_unset=True) == answer


@pytest.mark.parametrize(("client", "case"), CASES)
def test_every_frame_is_what_the_sdk_reads(client: str, case: JsonObject) -> None:
    out, _ = streamed(client, [lines(*case["lines"])], **case["body"])
    frames = sse(out)
    if client == "chat":
        assert frames.pop() == ("", "[DONE]")
        for _, data in frames:
            ChatCompletionChunk.model_validate(data, strict=True)
        assert len({data["id"] for _, data in frames}) == 1
    else:
        for name, data in frames:
            assert EVENTS.validate_python(data, strict=True).type == name


@pytest.mark.parametrize("case", golden("ollama_messages_answers"), ids=lambda case: case["case"])
def test_blocks_are_one_after_another(case: JsonObject) -> None:
    """Each opens, gets its deltas and closes before the next, with the next index."""
    out, _ = streamed("messages", [lines(*case["lines"])])
    opened, current = 0, None
    names = [name for name, _ in sse(out)]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    for name, data in sse(out):
        if name == "content_block_start":
            assert current is None
            assert data["index"] == opened
            current = opened
            opened += 1
        elif name == "content_block_delta":
            assert data["index"] == current
        elif name == "content_block_stop":
            assert data["index"] == current
            current = None
    assert current is None


def test_the_same_call_twice_gets_two_ids() -> None:
    call = {"id": "call_x", "function": {"name": "f", "arguments": {}}}
    for client in BODIES:
        out, _ = streamed(client, [lines(say(tool_calls=[call]), say(tool_calls=[call]), end())])
        if client == "chat":
            found = [
                data["choices"][0]["delta"]["tool_calls"][0]
                for _, data in sse(out)[:-1]
                if data["choices"][0]["delta"].get("tool_calls")
            ]
            assert [call["index"] for call in found] == [0, 1]
        else:
            found = [data["content_block"] for name, data in sse(out) if name == "content_block_start"]
        assert len({call["id"] for call in found}) == 2


SCRIPT = lines(
    say(thinking="hm \u2028"),
    say(content="Grü\u0085ße \U0001f600"),
    say(tool_calls=[{"function": {"name": "f", "arguments": {"a": "\u2029"}}}]),
    end(prompt_eval_count=3, eval_count=4),
)


@pytest.mark.parametrize("client", BODIES)
def test_cut_at_every_byte(client: str) -> None:
    whole = steady(streamed(client, [SCRIPT])[0].decode())
    for at in range(1, len(SCRIPT)):
        out, finished = streamed(client, [SCRIPT[:at], SCRIPT[at:]])
        assert finished
        assert steady(out.decode()) == whole
    out, _ = streamed(client, [SCRIPT[at : at + 1] for at in range(len(SCRIPT))])
    assert steady(out.decode()) == whole


@pytest.mark.parametrize("client", BODIES)
@given(cuts=st.sets(st.integers(1, len(SCRIPT) - 1)))
def test_cut_anywhere(client: str, cuts: set[int]) -> None:
    whole = steady(streamed(client, [SCRIPT])[0].decode())
    marks = [0, *sorted(cuts), len(SCRIPT)]
    pieces = [SCRIPT[a:b] for a, b in pairwise(marks)]
    assert steady(streamed(client, pieces)[0].decode()) == whole


@pytest.mark.parametrize("client", BODIES)
def test_the_end_of_the_connection_is_not_the_end_of_the_answer(client: str) -> None:
    out, finished = streamed(client, [lines(say(content="Hel"))])
    assert not finished
    for sign in (b"[DONE]", b"message_stop", b'"finish_reason":"', b'"stop_reason":"'):
        assert sign not in out


@pytest.mark.parametrize("client", BODIES)
def test_an_error_within_the_stream(client: str) -> None:
    key = "sk-" + "a" * 40
    broken = lines(say(content="Hel")) + orjson.dumps({"error": f"llama runner died, key {key}"}) + b"\n"
    with pytest.raises(GatewayError) as caught:
        streamed(client, [broken])
    assert caught.value.status("openai") == 502
    assert key not in caught.value.message


HOSTILE = {
    "not JSON": b"{\n",
    "a list": b"[]\n",
    "a number": b"1\n",
    "null": b"null\n",
    "no message": b"{}\n",
    "message of text": b'{"message":"x"}\n',
    "content of a number": b'{"message":{"role":"assistant","content":1}}\n',
    "thinking of a list": b'{"message":{"role":"assistant","thinking":[]}}\n',
    "calls of an object": b'{"message":{"role":"assistant","tool_calls":{"a":1}}}\n',
    "a call of null": b'{"message":{"role":"assistant","tool_calls":[null]}}\n',
    "a call without a name": b'{"message":{"role":"assistant","tool_calls":[{"function":{}}]}}\n',
}


@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_line(client: str, name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        streamed(client, [HOSTILE[name]])
    assert caught.value.status("openai") == 502


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ("message", "content", "thinking", "tool_calls", "function", "name", "arguments", "logprobs",
             "token", "top_logprobs", "logprob", "id", "model", "done", "done_reason", "eval_count", "role")
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("client", BODIES)
@given(line=ANYTHING)
def test_any_line_passes_or_is_a_fault_of_the_provider(client: str, line: Any) -> None:
    translator, _ = asked(client, "ollama_chat", {**BODIES[client], "stream": True})
    try:
        frames = translator.event(Event("", json.dumps(line).encode(), b""))
        translator.finish()
        if isinstance(line, dict) and OLLAMA_CHAT.is_answer(line):
            orjson.dumps(translator.response(line))
    except GatewayError as error:
        fault = error.fault
    else:
        fault = UPSTREAM_BAD
        sse(frames)
    assert fault is UPSTREAM_BAD


def test_usage_leaves_out_what_ollama_leaves_out() -> None:
    assert ollama_usage({"eval_count": 3}) == Usage(0, 3)
    assert ollama_usage({"prompt_eval_count": 3}) == Usage(3, 0)
    assert ollama_usage({}) is None
    assert ollama_usage({"eval_count": "3"}) is None


ERRORS = [
    (404, b'{"error":"model \'x\' not found"}', 404, "model_not_found"),
    (400, b'{"error":"\\"x\\" does not support thinking"}', 400, "invalid_value"),
    (
        503,
        b'{"error":"server busy, please try again"}',
        503,
        "overloaded",
    ),
    (500, b'{"error":"runner at http://10.0.0.7:1234 died"}', 502, "upstream_error"),
    (401, b'{"error":"unauthorized"}', 502, "upstream_auth"),
    (400, b'{"error":"the input length exceeds the context length"}', 400, "context_length_exceeded"),
    (502, b"<html>", 502, "upstream_error"),
]


@pytest.mark.parametrize(("status", "body", "expected", "code"), ERRORS)
def test_error_reply(status: int, body: bytes, expected: int, code: str) -> None:
    error = OLLAMA_CHAT.error(status, {}, body)
    assert error.status("openai") == expected
    assert error.code == code
    assert "10.0.0.7" not in error.message


def test_an_error_for_a_client_that_speaks_this_dialect_is_a_line() -> None:
    error = OLLAMA_CHAT.error(500, {}, b"")
    line = OLLAMA_CHAT.error_event(error, "req_1")
    assert line.endswith(b"\n")
    assert orjson.loads(line)["error"] == error.message


FACTS_REFUSED = [
    {"messages": []},
    {"model": "m"},
    {"model": "m", "messages": [1]},
    {"model": "m", "messages": [{}]},
    {"model": "m", "messages": [{"role": "user", "content": []}]},
    {"model": "m", "messages": [{"role": "user", "images": "x"}]},
    {"model": "m", "messages": [], "stream": "yes"},
    {"model": "m", "messages": [], "tools": {}},
    {"model": "m", "messages": [], "options": []},
    {"model": "m", "messages": [], "options": {"num_predict": "x"}},
]


@pytest.mark.parametrize("body", FACTS_REFUSED)
def test_facts_refused(body: JsonObject) -> None:
    with pytest.raises(GatewayError) as caught:
        OLLAMA_CHAT.facts(body)
    assert caught.value.status("openai") == 400


def test_facts() -> None:
    facts = OLLAMA_CHAT.facts(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "four", "images": ["AAAA"]}],
            "tools": [{"function": {"name": "f"}}],
            "format": {"type": "object"},
            "options": {"num_predict": 7},
        }
    )
    assert facts.stream
    assert facts.max_tokens == 7
    assert facts.needs == {"vision", "tools", "json_schema"}
    assert (
        OLLAMA_CHAT.facts({"model": "m", "messages": [], "options": {"num_predict": -1}}).max_tokens is None
    )


def test_the_model_that_answered_is_named() -> None:
    translator = TRANSLATORS["chat", "ollama_chat"]()
    translator.request({"model": "alias", **BODIES["chat"]}, ModelFacts(name="llama3.2"))
    answer = translator.response({"message": {"role": "assistant", "content": "x"}, "done": True})
    assert answer["model"] == "llama3.2"
