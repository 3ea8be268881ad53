"""Spans of requests, as a collector receives them: whose they are, what they say, and what they never do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from gateway_project.tests.traced import CANARY, PARENT, SAMPLED, TRACE, Traced, begin, pair
from pipeline.call import Record
from pipeline.spans import of_call, provider_name
from pipeline.tests.caching import settled
from pipeline.tracing import Trace
from routing.caching import Caching
from tests.support.collector import Collector
from tests.support.fake_upstream import FakeUpstream
from tests.support.upstream.script import Answer, Json, Reset


@pytest.fixture(scope="module")
def shared(fake_upstream_server: FakeUpstream) -> Iterator[Traced]:
    """One for the tests of this file; ask for `traced` instead."""
    with ExitStack() as stack:
        yield begin(stack, fake_upstream_server, Collector())


@pytest.fixture
def traced(shared: Traced, fake_upstream: FakeUpstream) -> Iterator[Traced]:
    """A traced gateway and its collector, as clean as new ones. A test waits for all its spans."""
    shared.gateway.forget()
    shared.collector.spans.clear()
    yield shared
    shared.gateway.idle()
    assert not shared.gateway.faults


def test_a_call_of_a_traced_client(traced: Traced, fake_upstream: FakeUpstream) -> None:
    reply = traced.chat(traceparent=SAMPLED, tracestate="vendor=1", baggage="user=secret-baggage")
    server, client = pair(traced.collector.wait(2))
    assert (server.trace_id, server.parent, client.parent) == (TRACE, PARENT, server.id)
    assert (server.state, client.state) == ("vendor=1", "vendor=1")
    assert server.start <= client.start <= client.end <= server.end
    sent = fake_upstream.last
    assert sent.values("traceparent") == [f"00-{TRACE}-{client.id}-01"]
    assert (sent.header("tracestate"), sent.header("baggage")) == ("vendor=1", None)
    assert not {"traceparent", "tracestate"} & set(reply.headers)
    assert traced.gateway.ended()["trace_id"] == TRACE


def test_what_its_spans_say(traced: Traced, fake_upstream: FakeUpstream) -> None:
    reply = traced.chat()
    answer = reply.json()
    server, client = pair(traced.collector.wait(2))
    assert (server.name, server.parent, server.error) == ("POST /v1/chat/completions", "", None)
    record = traced.gateway.records[0]
    assert (
        server.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/v1/chat/completions",
            "http.response.status_code": 200,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gateway.request_id": reply.headers["x-request-id"],
            "gateway.route": "gpt-*",
            "gateway.revision": 7,
            "gateway.team": "default",
            "gateway.key": record.key_prefix,
            "gateway.key_id": 1,
            "gateway.attempts": 1,
            "gateway.outcome": "ok",
        }.items()
    )
    assert (client.name, client.error) == ("chat gpt-4o-mini", None)
    assert (
        client.attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": answer["model"],
            "gen_ai.response.id": answer["id"],
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
            "gen_ai.usage.output_tokens": answer["usage"]["completion_tokens"],
            "server.address": "127.0.0.1",
            "server.port": fake_upstream.port,
            "http.response.status_code": 200,
            "gateway.provider": "openai",
            "gateway.attempt.reason": "first",
        }.items()
    )
    assert "http.request.resend_count" not in client.attributes


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5", "llama3.2"])
def test_a_stream(traced: Traced, model: str) -> None:
    assert traced.chat(model, stream=True).text.endswith("data: [DONE]\n\n")
    server, client = pair(traced.collector.wait(2))
    record = traced.gateway.records[0]
    # Both last as long as the stream does.
    assert server.end - server.start == pytest.approx((record.ended - record.started) * 1e9, abs=1e9)
    assert client.end == server.end
    assert 0 < server["gen_ai.server.time_to_first_token"] < 10
    assert 0 < client["gen_ai.response.time_to_first_chunk"] < 10
    assert client["gen_ai.response.finish_reasons"] in (["stop"], ["end_turn"])
    assert client["gen_ai.response.model"]
    assert client["gen_ai.usage.output_tokens"] > 0


def test_one_span_for_each_attempt(traced: Traced, fake_upstream: FakeUpstream) -> None:
    gateway = traced.gateway
    openai, backup = gateway.provider("openai"), gateway.provider("openai_compatible", name="backup")
    gateway.use(gateway.snapshot([gateway.route("gpt-*", openai, backup)]))
    fake_upstream.script("/v1/", [Json(503, {"error": {"message": "busy", "code": "busy_now"}})], times=1)
    assert traced.chat(traceparent=SAMPLED).status_code == 200
    server, first, second = traced.collector.wait(3)
    assert (server.error, server["gateway.attempts"], server["gateway.provider"]) == (None, 2, "backup")
    assert first.error
    assert (first["error.type"], first["http.response.status_code"]) == (first.error, 503)
    assert "gen_ai.usage.input_tokens" not in first.attributes
    assert (second.error, second["gateway.provider"], second["http.request.resend_count"]) == (
        None,
        "backup",
        1,
    )
    assert second["gateway.attempt.reason"] != "first"
    assert second["gen_ai.usage.input_tokens"] > 0
    assert {first.parent, second.parent} == {server.id}
    parents = [request.header("traceparent") for request in fake_upstream.requests]
    assert parents == [f"00-{TRACE}-{span.id}-01" for span in (first, second)]


def test_a_call_that_fails(traced: Traced, fake_upstream: FakeUpstream) -> None:
    fake_upstream.script("/v1/", [Reset()])
    status = traced.chat().status_code
    traced.gateway.wait_record()
    spans = traced.collector.wait(1 + len(traced.gateway.records[0].attempts))
    assert status >= 500
    assert spans[0].error == spans[0]["error.type"] == traced.gateway.records[0].code
    assert [span["error.type"] for span in spans[1:]] == ["reset"] * len(spans[1:])


def test_a_stream_that_breaks(traced: Traced, fake_upstream: FakeUpstream) -> None:
    fake_upstream.script("/v1/", [Answer(events=3), Reset()])
    assert traced.chat(stream=True).status_code == 200
    server, client = pair(traced.collector.wait(2))
    assert (server["http.response.status_code"], server["gateway.outcome"]) == (200, "error")
    assert server.error
    assert client.error
    assert client.end == server.end


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        (
            "/v1/chat/completions",
            {},
            {"authorization": "Bearer gw-nobody-0123456789"},
            401,
            "invalid_api_key",
        ),
        ("/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": "x"}, {}, 400, "bad_request"),
        ("/v1/nothing/here", {}, {}, 404, "not_found"),
    ],
)
def test_a_refusal_at_the_door(
    traced: Traced, path: str, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    assert traced.post(path, body, traceparent=SAMPLED, **headers).status_code == status
    (server,) = traced.collector.wait(1)
    assert (server.kind, server.trace_id, server.parent, server.error) == ("server", TRACE, PARENT, None)
    assert (server["http.response.status_code"], server["error.type"]) == (
        status,
        traced.gateway.refusals[0].code,
    )
    assert server.name == ("POST /v1/{id}" if status == 404 else f"POST {path}")


def test_what_is_no_call(traced: Traced) -> None:
    headers = {"authorization": f"Bearer {traced.gateway.key}"}
    for path in ("/health", "/ready", "/v1/models", "/v1/models/gpt-4o-mini"):
        httpx2.get(traced.gateway.url + path, headers=headers)
    spans = traced.collector.wait(2)
    assert [span.name for span in spans[:1]] == ["GET /v1/models"]
    assert {span["gateway.surface"] for span in spans} == {"models"}


def test_an_answer_from_the_cache(traced: Traced) -> None:
    gateway = traced.gateway
    gateway.use(gateway.snapshot([gateway.route("*", gateway.provider("openai"), caching=Caching())]))
    traced.chat()
    pair(traced.collector.wait(2))
    settled(gateway)
    traced.chat()
    (*_, hit) = traced.collector.wait(3)
    assert (hit.kind, hit["gateway.cache"], hit["gateway.attempts"]) == ("server", "hit", 0)


def test_several_prompts_in_one_request(traced: Traced) -> None:
    body = {"model": "claude-haiku-4-5", "prompt": ["one", "two"], "max_tokens": 9}
    assert traced.post("/v1/completions", body).status_code == 200
    server, *each = traced.collector.wait(3)
    assert [span.parent for span in each] == [server.id] * 2
    assert {span["gen_ai.operation.name"] for span in each} == {"text_completion"}
    # What both have used together is no single one's.
    assert server["gateway.usage.output_tokens"] > 0
    assert not [span for span in each if "gen_ai.usage.output_tokens" in span.attributes]


def test_sound_and_pictures(traced: Traced) -> None:
    gateway = traced.gateway
    gateway.use(gateway.snapshot([gateway.route("*", gateway.provider("openai"))]))
    speech = traced.post("/v1/audio/speech", {"model": "tts-1", "input": CANARY, "voice": "alloy"})
    server, client = pair(traced.collector.wait(2))
    assert (speech.status_code, server.name, client.name) == (200, "POST /v1/audio/speech", "speech tts-1")
    assert client.end == server.end
    traced.post("/v1/images/generations", {"model": "gpt-image-1", "prompt": CANARY})
    assert traced.collector.wait(4)[3].name == "images gpt-image-1"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-zz-00-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        SAMPLED + "-more",
    ],
)
def test_a_traceparent_that_is_none(traced: Traced, fake_upstream: FakeUpstream, header: str) -> None:
    assert traced.chat(traceparent=header, tracestate="vendor=1").status_code == 200
    server, client = pair(traced.collector.wait(2))
    assert (server.parent, server.state) == ("", "")
    assert re.fullmatch("(?!0{32})[0-9a-f]{32}", server.trace_id)
    assert server.trace_id != TRACE
    assert fake_upstream.last.header("traceparent") == f"00-{server.trace_id}-{client.id}-01"


def test_a_client_that_is_not_sampled(traced: Traced, fake_upstream: FakeUpstream) -> None:
    assert traced.chat(traceparent=f"00-{TRACE}-{PARENT}-00").status_code == 200
    sent = fake_upstream.last.header("traceparent") or ""
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", sent)
    assert PARENT not in sent
    # The next one is, and comes alone.
    traced.chat(traceparent=SAMPLED)
    assert {span.parent for span in traced.collector.wait(2) if span.kind == "server"} == {PARENT}


def test_a_client_that_leaves(traced: Traced, fake_upstream: FakeUpstream) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "count:2000"}], "stream": True}
    headers = {"authorization": f"Bearer {traced.gateway.key}"}
    url = traced.gateway.url + "/v1/chat/completions"
    with httpx2.stream("POST", url, content=json.dumps(body), headers=headers) as reply:
        next(reply.iter_bytes())
    server, client = pair(traced.collector.wait(2))
    assert (server["gateway.outcome"], server.error, client.error) == ("client_gone", None, None)


def test_embeddings_of_the_gateways_own_are_below_the_request() -> None:
    above = Trace(TRACE, PARENT, "", sampled=True, state="vendor=1", wall=1, began=1.0, method="POST")
    record = Record("req_1-embedding", "embeddings", started=2.0, ended=3.0, trace=above.below())
    (span,) = of_call(record)
    assert (span.kind, span.parent_id, span.remote, span.trace.trace_id) == ("internal", PARENT, False, TRACE)
    assert span.name == "embeddings"


@pytest.mark.parametrize(
    ("kind", "url", "name"),
    [
        ("openai_compatible", "https://api.groq.com/openai/v1", "groq"),
        ("openai_compatible", "https://generativelanguage.googleapis.com/v1beta/openai", "gcp.gemini"),
        ("openai_compatible", "https://api.x.ai.evil.example/v1", "openai_compatible"),
        ("azure_openai", "https://mine.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("mistral", "https://proxy.example/v1", "mistral_ai"),
        ("ollama", "http://localhost:11434", "ollama"),
    ],
)
def test_what_providers_are_called(kind: str, url: str, name: str) -> None:
    assert provider_name(kind, url) == name
