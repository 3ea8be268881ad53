"""Spans on their way out: to which collector, which of them, and what becomes of them where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway_project.otel_env import COMPRESSIONS
from gateway_project.tests.traced import CANARY, PARENT, SAMPLED, TRACE, Start, Traced, begin, pair
from tests.support.collector import Collector, GrpcCollector
from tests.support.fake_upstream import FakeUpstream


@pytest.fixture
def start(fake_upstream: FakeUpstream) -> Iterator[Start]:
    """Starts a traced gateway of the test's own, whose spans go to `collector`."""
    with ExitStack() as stack:

        def make(collector: Collector | GrpcCollector | None = None, **environ: str) -> Traced:
            return begin(stack, fake_upstream, collector or Collector(), **environ)

        yield make


def test_whose_spans_they_are(start: Start) -> None:
    traced = start(OTEL_SERVICE_NAME="edge", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=a%20b")
    traced.chat()
    resource = traced.collector.wait(2)[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("edge", "a b")
    assert resource["service.instance.id"]


def test_a_ratio(start: Start, fake_upstream: FakeUpstream) -> None:
    traced = start(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    traced.chat()
    assert (fake_upstream.last.header("traceparent") or "").endswith("-00")
    # Who comes with a trace that is sampled is part of it whatever the ratio.
    traced.chat(traceparent=SAMPLED)
    assert {span.trace_id for span in traced.collector.wait(2)} == {TRACE}


def test_a_ratio_that_asks_nobody(start: Start) -> None:
    traced = start(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    for parent in (SAMPLED, f"00-{TRACE}-{PARENT}-00"):
        assert traced.chat(traceparent=parent).status_code == 200
    traced.gateway.wait_record(2)
    traced.traces.stop()
    assert traced.collector.spans == []


def test_nothing_that_is_said_or_secret_is_exported(start: Start) -> None:
    traced = start()
    for stream in (False, True):
        traced.chat(stream=stream, traceparent=SAMPLED)
    leaked = "sk-leaked-0123456789abcdef"
    traced.chat(f"gpt-{leaked}")
    traced.post("/v1/chat/completions", {}, authorization=f"Bearer {leaked}")
    traced.gateway.wait_record(3)
    traced.traces.stop()
    out = b"".join(traced.collector.raw)
    assert b"gpt-" in out
    for secret in (CANARY, traced.gateway.key, "sk-openai-0123456789", leaked):
        assert secret.encode() not in out


def test_a_collector_that_is_down(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    collector = Collector()
    collector.stop()
    traced = start(collector)
    assert traced.chat().status_code == 200
    traced.gateway.wait(lambda: traced.count("failed") == 2)
    assert traced.chat().status_code == 200


def test_a_collector_that_refuses(start: Start) -> None:
    traced = start()
    assert isinstance(traced.collector, Collector)
    traced.collector.status = 400
    assert traced.chat().status_code == 200
    traced.gateway.wait(lambda: traced.count("failed") == 2)
    traced.collector.status = 200
    traced.chat()
    traced.collector.wait(2)


def test_a_collector_that_is_silent(start: Start) -> None:
    collector = Collector()
    collector.silent = True
    traced = start(collector, OTEL_BSP_MAX_QUEUE_SIZE="2")
    traced.chat()
    collector.heard.wait(10)
    # One is on its way and two wait: there is room for no more, and nobody waits for it.
    for _ in range(4):
        assert traced.chat().status_code == 200
    traced.gateway.wait_record(5)
    assert traced.count("dropped") == 4
    collector.released.set()
    collector.wait(6)


def test_what_waits_goes_out_at_the_end(start: Start) -> None:
    traced = start(OTEL_BSP_SCHEDULE_DELAY="3600000")
    traced.chat()
    traced.gateway.wait_record()
    assert traced.collector.spans == []
    traced.traces.stop()
    assert len(traced.collector.spans) == 2
    assert traced.count("exported") == 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_over_grpc(start: Start, monkeypatch: pytest.MonkeyPatch, compression: str) -> None:
    said = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    traced = start(GrpcCollector(), **said)
    traced.chat(traceparent=SAMPLED)
    server, client = pair(traced.collector.wait(2))
    assert (server.trace_id, client.parent) == (TRACE, server.id)


def test_headers_and_compression(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=of%20mine")
    traced = start(OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    traced.chat()
    traced.collector.wait(2)
    assert isinstance(traced.collector, Collector)
    sent = traced.collector.headers[0]
    assert (sent["x-token"], sent["content-encoding"]) == ("of mine", "gzip")
