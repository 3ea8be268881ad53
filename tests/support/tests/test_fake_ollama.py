"""The Ollama fake, judged by the official client: it answers what the client can read, refuses what Ollama
refuses, and says what Ollama would silently ignore."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.tests.samples import PNG, call

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def client(fake_upstream: FakeUpstream) -> Iterator[ollama.Client]:
    with ollama.Client(fake_upstream.url) as client:
        yield client


def _user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_chat(client: ollama.Client) -> None:
    done = client.chat("llama3.2", _user("hi"))
    assert done.message.content == "Hello from llama3.2. You said: hi"
    assert (done.done, done.done_reason, done.eval_count) == (True, "stop", 9)
    assert done.message.thinking is None


def test_stream_is_the_default_and_ends_with_durations(fake_upstream: FakeUpstream) -> None:
    status, text = call(
        fake_upstream.url + "/api/chat", {"model": "llama3.2", "messages": _user("hi")}, raw=True
    )
    lines = [json.loads(line) for line in text.splitlines()]
    assert status == 200
    assert len(lines) > 5
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert "".join(line["message"]["content"] for line in lines) == "Hello from llama3.2. You said: hi"
    assert {"total_duration", "eval_count", "prompt_eval_count", "done_reason"} <= lines[-1].keys()


def test_a_model_that_can_think_does_unless_told_not_to(client: ollama.Client) -> None:
    assert client.chat("qwen3:8b", _user("hi")).message.thinking == "They said: hi"
    assert client.chat("qwen3:8b", _user("hi"), think=False).message.thinking is None
    parts = list(client.chat("gpt-oss:20b", _user("hi"), think="high", stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == "They said: hi"


@pytest.mark.parametrize("stream", [True, False])
def test_tools(client: ollama.Client, stream: bool) -> None:
    orders = _user('call:weather {"city":"a"}\ncall:weather {"city":"b"}')
    chat: Any = client.chat
    answer = chat("llama3.2", orders, tools=[WEATHER], stream=stream)
    parts = list(answer) if stream else [answer]
    calls = [one for part in parts for one in part.message.tool_calls or ()]
    assert [one.function.arguments for one in calls] == [{"city": "a"}, {"city": "b"}]
    assert parts[-1].done_reason == "stop"
    results = [{"role": "tool", "tool_name": "weather", "content": "21"}]
    history = [*orders, {"role": "assistant", "tool_calls": [one.model_dump() for one in calls]}, *results]
    assert client.chat("llama3.2", history, tools=[WEATHER]).message.content == "The tool said: 21"


def test_limits_stops_and_formats(client: ollama.Client) -> None:
    cut = client.chat("llama3.2", _user("count:50"), options={"num_predict": 2})
    assert (cut.done_reason, cut.message.content) == ("length", "word1 wo")
    stopped = client.chat("llama3.2", _user("count:9"), options={"stop": ["word3"]})
    assert (stopped.done_reason, stopped.message.content) == ("stop", "word1 word2 ")
    shaped = client.chat(
        "llama3.2", _user("x"), format={"type": "object", "properties": {"a": {"type": "integer"}}}
    )
    assert json.loads(shaped.message.content or "") == {"a": 1}
    assert isinstance(
        json.loads(client.chat("llama3.2", _user("x"), format="json").message.content or ""), dict
    )


def test_generate(client: ollama.Client) -> None:
    assert client.generate("llama3.2", "say:a").response == "a"
    assert (
        "".join(part.response or "" for part in client.generate("llama3.2", "say:abc", stream=True)) == "abc"
    )
    assert client.generate("qwen2.5-coder", "say:a", suffix="b").response == "a"
    assert client.generate("llama3.2", "").done_reason == "load"


def test_log_probabilities(client: ollama.Client) -> None:
    answer = client.generate("llama3.2", "say:abcdefgh", logprobs=True, top_logprobs=2)
    assert "".join(token.token for token in answer.logprobs or ()) == "abcdefgh"
    assert [len(token.top_logprobs or ()) for token in answer.logprobs or ()] == [2] * len(
        answer.logprobs or ()
    )
    parts = client.generate("llama3.2", "say:abcdefgh", logprobs=True, stream=True)
    assert "".join(token.token for part in parts for token in part.logprobs or ()) == "abcdefgh"
    assert client.generate("llama3.2", "say:a").logprobs is None


def test_embed(client: ollama.Client) -> None:
    one, two = client.embed("nomic-embed-text", ["a", "b"]).embeddings
    assert len(one) == 768
    assert one != two
    assert client.embed("nomic-embed-text", "a").embeddings == [one]
    assert len(client.embed("nomic-embed-text", "a", dimensions=64).embeddings[0]) == 64


def test_tags_show_and_version(client: ollama.Client, fake_upstream: FakeUpstream) -> None:
    assert "qwen3:8b" in [model.model for model in client.list().models]
    assert "thinking" in (client.show("qwen3:8b").capabilities or ())
    assert "thinking" not in (client.show("llama3.2").capabilities or ())
    with pytest.raises(ollama.ResponseError) as info:
        client.show("nothing")
    assert info.value.status_code == 404


REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("chat", {"model": None}, 400, "model is required"),
    ("chat", {"model": "nothing"}, 404, "model 'nothing' not found"),
    ("chat", {"model": "nomic-embed-text"}, 400, '"nomic-embed-text" does not support chat'),
    ("chat", {"think": True}, 400, '"llama3.2" does not support thinking'),
    ("chat", {"model": "qwen3:8b", "think": "hard"}, 400, "invalid think value"),
    ("chat", {"model": "gemma3", "tools": [WEATHER]}, 400, "does not support tools"),
    (
        "chat",
        {"stream": "no"},
        400,
        "cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
    ),
    (
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        400,
        "cannot unmarshal array",
    ),
    ("chat", {"messages": [{"role": "developer", "content": "x"}]}, 400, "invalid role: developer"),
    (
        "chat",
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        400,
        "cannot unmarshal string into Go struct field ToolCallFunction",
    ),
    (
        "chat",
        {"model": "gemma3", "messages": [{"role": "user", "images": ["data:image/png;base64," + PNG]}]},
        400,
        "illegal base64",
    ),
    ("chat", {"messages": [{"role": "user", "images": [PNG]}]}, 500, "image input"),
    ("chat", {"format": "xml"}, 400, "invalid format"),
    ("chat", {"options": {"num_predict": "5"}}, 500, 'option "num_predict" must be of type integer'),
    ("chat", {"options": {"num_predict": 5.5}}, 500, 'option "num_predict" must be of type integer'),
    ("chat", {"options": {"temperature": "hot"}}, 500, 'option "temperature" must be of type float32'),
    ("chat", {"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
    ("generate", {"prompt": "x", "suffix": "y"}, 400, "does not support insert"),
    ("generate", {"prompt": "x", "suffix": 5}, 400, "suffix of type string"),
    ("generate", {"prompt": ["x"]}, 400, "prompt of type string"),
    ("generate", {"prompt": "x", "raw": True, "system": "y"}, 400, "raw mode does not support"),
    ("generate", {"prompt": "x", "logprobs": 2}, 400, "logprobs of type bool"),
    ("generate", {"prompt": "x", "top_logprobs": 21}, 400, "top_logprobs must be between"),
    ("embed", {"model": "nomic-embed-text", "input": [1, 2]}, 400, "invalid input type"),
    ("embed", {"input": "x"}, 400, "this model does not support embeddings"),
]


@pytest.mark.parametrize(("path", "change", "status", "message"), REFUSALS, ids=lambda value: str(value)[:50])
def test_refusals(
    fake_upstream: FakeUpstream, path: str, change: dict[str, Any], status: int, message: str
) -> None:
    base = {"messages": _user("hi")} if path == "chat" else {}
    got, answer = call(f"{fake_upstream.url}/api/{path}", {"model": "llama3.2", **base, **change})
    assert (got, list(answer)) == (status, ["error"])
    assert message in answer["error"]


def test_what_ollama_would_ignore_is_named(fake_upstream: FakeUpstream) -> None:
    body = {
        "model": "llama3.2", "tool_choice": "none", "max_tokens": 5, "options": {"max_tokens": 5, "seed": 1},
        "messages": [{"role": "user", "content": "x", "name": "bob"}], "stream": False,
    }  # fmt: skip
    assert call(fake_upstream.url + "/api/chat", body)[0] == 200
    assert sorted(fake_upstream.last.ignored) == [
        "max_tokens",
        "messages[0].name",
        "options.max_tokens",
        "tool_choice",
    ]


def test_images_are_bare_base64(client: ollama.Client, fake_upstream: FakeUpstream) -> None:
    message = {"role": "user", "content": "what?", "images": [PNG]}
    assert client.chat("gemma3:4b", [message]).message.content == "Hello from gemma3:4b. You said: what?"
    assert fake_upstream.last.ignored == []


def test_a_body_that_is_no_json(fake_upstream: FakeUpstream) -> None:
    assert call(fake_upstream.url + "/api/chat", b"")[1] == {"error": "missing request body"}
    assert call(fake_upstream.url + "/api/chat", b"{")[0] == 400
