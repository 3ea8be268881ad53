"""A gateway whose spans go to a collector of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry

from gateway_project.otel_env import trace_settings
from gateway_project.otlp import Traces
from tests.support.collector import Collector, GrpcCollector, Kept, Seen
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
CANARY = "canary-of-the-prompt"


class Traced:
    """A gateway whose spans go to a collector."""

    def __init__(
        self, gateway: LiveGateway, collector: Kept, traces: Traces, registry: CollectorRegistry
    ) -> None:
        self.gateway = gateway
        self.collector = collector
        self.traces = traces
        self._registry = registry

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        named = {"authorization": f"Bearer {self.gateway.key}", **headers}
        return httpx2.post(self.gateway.url + path, json=body, headers=named, timeout=10)

    def chat(self, model: str = "gpt-4o-mini", *, stream: bool = False, **headers: str) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": CANARY}], "stream": stream}
        return self.post("/v1/chat/completions", body, **headers)

    def count(self, outcome: str) -> float:
        """Spans that came to this."""
        return self._registry.get_sample_value("gateway_trace_spans_total", {"outcome": outcome}) or 0.0


Start = Callable[..., Traced]


def begin(stack: ExitStack, fake: FakeUpstream, kept: Collector | GrpcCollector, **environ: str) -> Traced:
    """A traced gateway that runs until the stack is closed. `environ`: OTEL_ variables."""
    stack.callback(kept.stop)
    values = {"OTEL_EXPORTER_OTLP_ENDPOINT": kept.url, "OTEL_BSP_SCHEDULE_DELAY": "20", **environ}
    problems: list[str] = []
    settings = trace_settings(values, problems)
    assert settings is not None
    assert not problems
    registry = CollectorRegistry()
    traces = Traces(settings, registry)
    traces.start()
    stack.callback(traces.stop)
    gateway = LiveGateway(fake, traces=traces).start()
    stack.callback(gateway.stop)
    return Traced(gateway, kept, traces, registry)


def pair(spans: list[Seen]) -> tuple[Seen, Seen]:
    """A server's span and its one attempt's."""
    server, client = spans
    assert (server.kind, client.kind) == ("server", "client")
    return server, client
