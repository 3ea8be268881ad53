"""Several prompts in one request of legacy completions, by the official SDK, from providers that take one at
a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion

from dialects.completions_several import MOST_PROMPTS
from pipeline.fanout import PARALLEL
from routing.snapshot import BreakerSettings, Target
from tests.e2e.sdks import KINDS, MODELS, ODD, PATHS, Kind, Stage
from tests.e2e.test_completions import CODER, INSTRUCT, STREAMED
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.surfaces import send
from tests.support.upstream.script import Answer, Json, Reset, Stall, WaitFor
from tests.support.upstream.wire import Received

PROMPTS = ["say:" + ODD, "count:3", "say:", "count:20", "say:five", "say:six"]
TEXTS = [ODD, "word1 word2 word3", "", " ".join(f"word{k}" for k in range(1, 21)), "five", "six"]
Ask = Callable[..., Completion]


def whole(stage: Stage, **fields: Any) -> Completion:
    answer: Completion = stage.sdks.openai.completions.create(**fields)
    return answer


def stream(stage: Stage, **fields: Any) -> Completion:
    with stage.sdks.openai.completions.create(**fields, **STREAMED) as chunks:
        return woven(list(chunks))


def async_whole(stage: Stage, **fields: Any) -> Completion:
    answer: Completion = stage.sdks.run(stage.sdks.async_openai.completions.create(**fields))
    return answer


def async_stream(stage: Stage, **fields: Any) -> Completion:
    async def ask() -> list[Completion]:
        async with await stage.sdks.async_openai.completions.create(**fields, **STREAMED) as chunks:
            return [chunk async for chunk in chunks]

    return woven(stage.sdks.run(ask()))


every_way = pytest.mark.parametrize("ask", [whole, stream, async_whole, async_stream])
two_ways = pytest.mark.parametrize("ask", [whole, stream])
every_kind = pytest.mark.parametrize("kind", KINDS)


def woven(chunks: list[Completion]) -> Completion:
    """The completion that a stream of several choices tells: one id, one usage at the end, and each choice
    ends once, last of all its chunks."""
    *body, tail = chunks
    assert tail.choices == []
    assert {chunk.usage for chunk in body} == {None}
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    choices: dict[int, Any] = {}
    for chunk in body:
        (choice,) = chunk.choices
        known = choices.setdefault(
            choice.index, {"index": choice.index, "text": "", "finish_reason": None, "logprobs": None}
        )
        assert known["finish_reason"] is None
        known["text"] += choice.text
        known["finish_reason"] = choice.finish_reason
    ordered = [choices[index] for index in sorted(choices)]
    return Completion.model_validate({**tail.model_dump(), "choices": ordered})


def told(answer: Completion) -> list[tuple[int, str, str]]:
    return [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices]


def prompt_of(request: Received) -> str:
    """The one message of the user."""
    (message,) = request.json["messages"]
    content = message["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


@dataclass(frozen=True, slots=True)
class Arrived:
    """A flag that is set when so many requests have come."""

    fake: FakeUpstream
    count: int

    def is_set(self) -> bool:
        return len(self.fake.requests) >= self.count


def has(text: str) -> Match:
    """The requests whose prompt holds this text."""
    return Match(where=lambda request: text in request.body.decode())


@every_kind
@every_way
def test_each_prompt_is_answered_in_its_place(stage: Stage, kind: Kind, ask: Ask) -> None:
    answer = ask(stage, model=MODELS[kind], prompt=PROMPTS, max_tokens=100)
    assert told(answer) == [(at, text, "stop") for at, text in enumerate(TEXTS)]
    assert (answer.object, answer.model) == ("text_completion", MODELS[kind])
    assert answer.id.startswith("cmpl-")
    requests = stage.fake.requests
    assert [request.path for request in requests] == [PATHS[kind]] * len(PROMPTS)
    assert {request.refusal for request in requests} == {None}
    assert sorted(map(prompt_of, requests)) == sorted(PROMPTS)
    record = stage.gateway.wait_record()
    assert (record.outcome, record.status, record.provider) == ("ok", 200, kind)
    assert [attempt.outcome for attempt in record.attempts] == ["ok"] * len(PROMPTS)
    usage = answer.usage
    assert usage is not None
    assert record.usage is not None
    assert record.usage.source == "provider"
    assert (record.usage.input_tokens, record.usage.output_tokens) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    each = [whole(stage, model=MODELS[kind], prompt=prompt, max_tokens=100).usage for prompt in PROMPTS]
    assert usage.prompt_tokens == sum(one.prompt_tokens for one in each if one)
    assert usage.completion_tokens == sum(one.completion_tokens for one in each if one)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@two_ways
def test_several_answers_to_each_prompt(stage: Stage, ask: Ask) -> None:
    answer = ask(stage, model=MODELS["openai"], prompt=["say:a", "say:b"], n=2, best_of=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == list(enumerate("aabb"))
    assert {request.json["n"] for request in stage.fake.requests} == {2}


@every_kind
@two_ways
def test_each_prompt_is_echoed(stage: Stage, kind: Kind, ask: Ask) -> None:
    answer = ask(stage, model=MODELS[kind], prompt=["say:a", "say:b"], echo=True)
    assert [choice.text for choice in answer.choices] == ["say:aa", "say:bb"]


@two_ways
def test_a_suffix_after_each_prompt(stage: Stage, ask: Ask) -> None:
    answer = ask(stage, model=CODER, prompt=["say:a", "say:b"], suffix="END", max_tokens=9)
    assert [choice.text for choice in answer.choices] == ["a", "b"]
    sent = [(request.path, request.json["suffix"]) for request in stage.fake.requests]
    assert sent == [("/api/generate", "END")] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_usage_in_a_stream_only_for_who_asks(stage: Stage, kind: Kind) -> None:
    given: Any = {"model": MODELS[kind], "prompt": ["say:a", "say:b"], "stream": True}
    with stage.sdks.openai.completions.create(**given) as chunks:
        found = list(chunks)
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in found)
    usage = stage.gateway.wait_record().usage
    assert usage is not None
    assert usage.output_tokens > 0


def test_the_stream_has_one_end(stage: Stage) -> None:
    body = b'{"model":"llama3.2","prompt":["say:a","say:b","say:c"],"stream":true}'
    _, _, raw = send(stage.gateway, "POST", "/v1/completions", body)
    assert raw.count(b"[DONE]") == 1
    assert raw.endswith(b"data: [DONE]\n\n")


@two_ways
def test_what_is_lost_is_named_once(stage: Stage, ask: Ask) -> None:
    ask(stage, model=MODELS["anthropic"], prompt=["say:a", "say:b"], seed=1, logprobs=1)
    assert stage.gateway.wait_record().dropped == ["seed", "logprobs"]
    answer = stage.sdks.openai.completions.with_raw_response.create(
        model=MODELS["anthropic"], prompt=["say:a", "say:b"], seed=1, stream=ask is stream
    )
    assert answer.headers["x-gateway-dropped"] == "seed"


@two_ways
def test_a_strict_route_asks_nobody(stage: Stage, ask: Ask) -> None:
    gateway = stage.gateway
    gateway.use(gateway.snapshot([gateway.route("*", gateway.provider("anthropic"), losses="strict")]))
    with pytest.raises(openai.BadRequestError) as caught:
        ask(stage, model=MODELS["anthropic"], prompt=["say:a", "say:b"], seed=1)
    assert (caught.value.code, caught.value.param) == ("fields_not_supported", "seed")
    assert stage.fake.requests == []
    assert gateway.wait_record().attempts == []


@two_ways
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a"] * (MOST_PROMPTS + 1)}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["a", "b"], "suffix": "c"}, "suffix"),
        ({"prompt": ["a", "b"], "n": 2}, "n"),
        ({"prompt": ["a", "b"], "max_tokens": 0}, "max_tokens"),
    ],
    ids=["too-many", "tokens", "suffix", "n", "no-tokens"],
)
def test_refused_before_anybody_is_asked(stage: Stage, ask: Ask, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(stage, model=MODELS["anthropic"], **fields)
    assert caught.value.param == param
    assert stage.fake.requests == []


def test_a_model_that_takes_several_is_asked_once(stage: Stage) -> None:
    prompts = ["say:a"] * (MOST_PROMPTS + 1)
    answer = whole(stage, model=INSTRUCT, prompt=prompts)
    assert [choice.index for choice in answer.choices] == list(range(MOST_PROMPTS + 1))
    assert len(stage.fake.requests) == 1
    assert stage.last.json["prompt"] == prompts


# -- One of them fails


@every_kind
@two_ways
def test_one_that_is_refused_fails_all(stage: Stage, kind: Kind, ask: Ask) -> None:
    """The others are silent, and closed by the gateway."""
    refusal = Json(400, {"error": {"message": "bad words", "type": "invalid_request_error"}})
    stage.fake.script(has("wrong"), [WaitFor(Arrived(stage.fake, 2)), refusal])
    stage.fake.script("", [Stall()])
    with pytest.raises(openai.BadRequestError, match="bad words"):
        ask(stage, model=MODELS[kind], prompt=["say:a", "wrong"])
    record = stage.gateway.wait_record()
    assert (record.outcome, record.status, record.usage) == ("error", 400, None)
    assert len(record.attempts) == 2
    assert "given_up" in [attempt.outcome for attempt in record.attempts]
    (silent,) = [request for request in stage.fake.requests if b"wrong" not in request.body]
    assert stage.fake.wait_closed(silent)


@two_ways
def test_another_target_gets_them_all(stage: Stage, ask: Ask) -> None:
    gateway = stage.gateway
    first = gateway.provider("openai", base_url=stage.fake.named("first") + "/v1")
    targets = [Target(1, first), Target(2, gateway.provider("anthropic"), MODELS["anthropic"], tier=1)]
    gateway.use(gateway.snapshot([gateway.route("*", *targets)]))
    stage.fake.script(
        Match(path="/first/", where=lambda request: b"say:b" in request.body), [Json(503, {"error": {}})]
    )
    answer = ask(stage, model=MODELS["openai"], prompt=["say:a", "say:b"])
    assert [choice.text for choice in answer.choices] == ["a", "b"]
    record = gateway.wait_record()
    assert (record.outcome, record.provider) == ("ok", "anthropic")
    assert [attempt.provider for attempt in record.attempts] == ["openai"] * 2 + ["anthropic"] * 2
    assert answer.usage is not None
    assert record.usage is not None
    assert record.usage.output_tokens == answer.usage.completion_tokens


def broken(stage: Stage, **fields: Any) -> tuple[dict[int, str], openai.APIError]:
    """Reads a stream that ends in an error: the texts by choice, and the error."""
    texts: dict[int, str] = {}

    def read() -> None:
        with stage.sdks.openai.completions.create(**fields, **STREAMED) as chunks:
            for chunk in chunks:
                for choice in chunk.choices:
                    texts[choice.index] = texts.get(choice.index, "") + choice.text

    with pytest.raises(openai.APIError) as caught:
        read()
    return texts, caught.value


@every_kind
def test_a_stream_that_breaks_ends_all(stage: Stage, kind: Kind) -> None:
    read = threading.Event()
    stage.fake.script(has("count:9"), [Answer(events=8), WaitFor(read), Reset()])
    stage.fake.script("", [Answer(events=8), Stall()])
    body = f'{{"model":"{MODELS[kind]}","prompt":["count:8","count:9","count:7"],"stream":true}}'
    url = stage.gateway.openai_url + "/completions"
    headers = {"authorization": f"Bearer {stage.gateway.key}", "content-type": "application/json"}
    raw = ""
    with httpx.stream("POST", url, content=body, headers=headers) as response:
        for text in response.iter_text():
            raw += text
            if '"index":0' in raw and '"index":1' in raw and '"index":2' in raw:
                read.set()
    *_, last = raw.strip().split("\n\n")
    assert '"error"' in last
    assert "upstream_truncated" in last
    assert "[DONE]" not in raw
    assert 'finish_reason":"' not in raw
    record = stage.gateway.wait_record()
    assert (record.outcome, record.code) == ("error", "upstream_truncated")
    assert sorted(attempt.outcome for attempt in record.attempts) == ["ok", "ok", "upstream_truncated"]
    assert record.usage is not None
    assert record.usage.source == "estimated"
    assert record.usage.output_tokens > 0
    for request in stage.fake.requests:
        if b"count:9" not in request.body:
            assert stage.fake.wait_closed(request)


@every_kind
def test_one_that_begins_late_and_fails_ends_all(stage: Stage, kind: Kind) -> None:
    """The reply has begun by then: the error is told in-band."""
    stage.fake.script(has("count:6"), [Json(500, {"error": {"message": "no", "type": "server_error"}})])
    stage.fake.script(has("count:1"), [Answer(events=6), Stall()])
    prompts = ["say:a", "count:11", "count:12", "count:13", "count:6"]
    texts, error = broken(stage, model=MODELS[kind], prompt=prompts)
    assert texts[0] == "a"
    assert error.code == "upstream_error"
    record = stage.gateway.wait_record()
    assert (record.outcome, record.code) == ("error", "upstream_error")
    assert len(record.attempts) == len(prompts)
    for request in stage.fake.requests:
        if b"count:1" in request.body:
            assert stage.fake.wait_closed(request)


def test_an_atomic_route_shows_no_stream_that_breaks(stage: Stage) -> None:
    """Another target gives them all, and the client never sees what the first one said."""
    gateway = stage.gateway
    first = gateway.provider("openai", base_url=stage.fake.named("first") + "/v1")
    targets = [Target(1, first), Target(2, gateway.provider("ollama"), "llama3.2", tier=1)]
    gateway.use(gateway.snapshot([gateway.route("*", *targets, integrity="atomic")]))
    last = Match(path="/first/", where=lambda request: b"say:six" in request.body)
    stage.fake.script(last, [Answer(events=2), Reset()])
    answer = stream(stage, model=MODELS["openai"], prompt=PROMPTS)
    assert [choice.text for choice in answer.choices] == TEXTS
    assert answer.model == "llama3.2"
    assert gateway.wait_record().provider == "ollama"


def test_streams_that_break_count_against_their_target(stage: Stage) -> None:
    """Whichever of the prompts it was."""
    stage.fake.script(has("count:9"), [Answer(events=8), Reset()])
    for _ in range(BreakerSettings().consecutive):
        broken(stage, model=MODELS["ollama"], prompt=["count:9", "say:a"])
        stage.gateway.idle()
    assert stage.gateway.live.report()["ollama", ""][0] == "open"


# -- The client leaves


@every_kind
def test_a_client_that_leaves_a_stream_ends_all(stage: Stage, kind: Kind) -> None:
    stage.fake.script("", [Answer(events=8), Stall()])
    given: Any = {"model": MODELS[kind], "prompt": ["count:8"] * (PARALLEL + 2)}
    with stage.sdks.openai.completions.create(**given, **STREAMED) as chunks:
        assert next(iter(chunks)).choices
    record = stage.gateway.wait_record()
    assert record.outcome == "client_gone"
    assert record.usage is not None
    assert len(stage.fake.requests) == PARALLEL
    for request in stage.fake.requests:
        assert stage.fake.wait_closed(request)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_before_the_answer_ends_all(stage: Stage, *, streamed: bool) -> None:
    stage.fake.script("", [Stall()])

    async def ask() -> None:
        create: Any = stage.sdks.async_openai.completions.create
        asking = asyncio.create_task(
            create(model=MODELS["ollama"], prompt=["a"] * (PARALLEL + 2), stream=streamed)
        )
        await asyncio.to_thread(stage.fake.wait_for, PARALLEL)
        asking.cancel()
        await asyncio.wait([asking])

    stage.sdks.run(ask())
    record = stage.gateway.wait_record()
    assert record.outcome == "client_gone"
    assert [attempt.outcome for attempt in record.attempts] == ["client_gone"] * PARALLEL
    assert len(stage.fake.requests) == PARALLEL
    for request in stage.fake.requests:
        assert stage.fake.wait_closed(request)
