"""Traces of whole processes: each worker exports its own, log lines name them, and a stop loses none."""

from __future__ import annotations

import json

import httpx2
import pytest

from tests.e2e.test_processes import KEY, settings, wait
from tests.support.collector import Collector
from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served

pytestmark = pytest.mark.slow


def test_each_worker_exports_its_own(fake_upstream: FakeUpstream) -> None:
    collector = Collector()
    values = settings(
        fake_upstream,
        LLM_GATEWAY_WORKERS="2",
        LLM_GATEWAY_ENVIRONMENT="production",
        LLM_GATEWAY_SECRET_KEY="a-master-secret-of-the-tests-0123456789",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {KEY}"}
    asked = 0
    with Served(None, **values) as gateway:

        def ask() -> bool:
            nonlocal asked
            # A connection of its own, which any worker may take.
            answer = httpx2.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=10)
            assert answer.status_code == 200
            asked += 1
            wait(lambda: len(collector.spans) >= 2 * asked)
            return len({span.resource["service.instance.id"] for span in collector.spans}) == 2

        wait(ask, seconds=30)
        lines = [json.loads(line) for line in gateway.output.splitlines() if '"event":"request"' in line]
    servers = [span for span in collector.spans if span.kind == "server"]
    told = {(span["gateway.request_id"], span.trace_id, span.id) for span in servers}
    assert told >= {(line["request_id"], line["trace_id"], line["span_id"]) for line in lines}
    assert lines
    collector.stop()


def test_a_stop_exports_what_waits(fake_upstream: FakeUpstream) -> None:
    collector = Collector()
    values = settings(
        fake_upstream, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="3600000"
    )
    with Served(None, **values) as gateway:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        headers = {"authorization": f"Bearer {KEY}"}
        answer = httpx2.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=10)
        assert answer.text.endswith("data: [DONE]\n\n")
        assert collector.spans == []
        gateway.end()
    assert [span.kind for span in collector.wait(2)] == ["server", "client"]
    collector.stop()
