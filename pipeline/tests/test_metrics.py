"""What is counted of a call, and that no client and no provider can make the numbers of labels grow."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dialects.types import Usage
from pipeline.call import Attempt, Record, Refusal
from pipeline.metrics import Metrics
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_ANTHROPIC, CHAT_OPENAI, MESSAGES_OPENAI, ask, send
from tests.support.upstream.script import Json


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def a_record(**changes: object) -> Record:
    record = Record(request_id="req_1", surface="chat", started=100.0)
    made = {"route": "gpt-*", "provider": "openai", "status": 200, "first_byte": 101.5, "ended": 103.0}
    for name, value in (made | changes).items():
        setattr(record, name, value)
    return record


def series(registry: CollectorRegistry) -> int:
    return sum(len(list(family.samples)) for family in registry.collect())


def test_a_good_call(metrics: Metrics, registry: CollectorRegistry) -> None:
    usage = Usage(input_tokens=10, output_tokens=5, cache_read=4)
    attempts = [Attempt("openai", "gpt-4o", 100.0, outcome="ok")]
    record = a_record(usage=usage, upstream_seconds=1.25, first_content=101.0, attempts=attempts)
    metrics.opened(record)
    assert registry.get_sample_value("gateway_in_flight", {"surface": "chat"}) == 1
    metrics.closed(record)
    value = registry.get_sample_value
    assert value("gateway_in_flight", {"surface": "chat"}) == 0
    labels = {"surface": "chat", "route": "gpt-*", "status": "200", "code": "ok"}
    assert value("gateway_requests_total", labels) == 1
    assert value("gateway_attempts_total", {"provider": "openai", "outcome": "ok"}) == 1
    place = {"route": "gpt-*", "provider": "openai", "source": "provider"}
    assert value("gateway_tokens_total", place | {"direction": "input"}) == 10
    assert value("gateway_tokens_total", place | {"direction": "output"}) == 5
    assert value("gateway_tokens_total", place | {"direction": "cache_read"}) == 4
    assert value("gateway_tokens_total", place | {"direction": "cache_write"}) is None
    by = {"surface": "chat", "provider": "openai"}
    assert value("gateway_request_seconds_sum", by) == 3.0
    assert value("gateway_time_to_first_token_seconds_sum", by) == 1.0
    # 1.5 s to the first byte, of which the provider took 1.25.
    assert value("gateway_overhead_seconds_sum", {"surface": "chat"}) == pytest.approx(0.25)


def test_a_call_without_a_first_byte_has_no_overhead_and_no_tokens(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    record = a_record(status=502, code="upstream_error", outcome="error", first_byte=0.0)
    metrics.opened(record)
    metrics.closed(record)
    value = registry.get_sample_value
    assert value("gateway_overhead_seconds_count", {"surface": "chat"}) is None
    assert (
        value("gateway_time_to_first_token_seconds_count", {"surface": "chat", "provider": "openai"}) is None
    )
    labels = {"surface": "chat", "route": "gpt-*", "status": "502", "code": "upstream_error"}
    assert value("gateway_requests_total", labels) == 1


def test_a_refusal_is_a_request_too(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.refused(Refusal("req_1", "messages", 401, "invalid_api_key", "", ""))
    labels = {"surface": "messages", "route": "", "status": "401", "code": "invalid_api_key"}
    assert registry.get_sample_value("gateway_requests_total", labels) == 1


@pytest.mark.parametrize("surface", ["http", "chat"])
def test_c16_slow_clients_and_c20_bad_http_are_counted(
    metrics: Metrics, registry: CollectorRegistry, surface: str
) -> None:
    """The head is the server's to refuse, a body that drips the door's: both are slow clients."""
    metrics.refused(Refusal("req_1", surface, 408, "request_timeout", "", ""))
    metrics.refused(Refusal("req_2", surface, 400, "malformed_request", "", ""))
    assert registry.get_sample_value("gateway_slow_clients_total") == 1
    bad = registry.get_sample_value("gateway_bad_http_total", {"code": "malformed_request"})
    assert bad == (1 if surface == "http" else None)


def test_a_client_that_took_nothing_is_no_client_that_left(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.opened(record := a_record(outcome="client_gone", code="client_stall", status=499))
    metrics.closed(record)
    aborted = {"surface": "chat", "side": "client", "reason": "client_stall"}
    assert registry.get_sample_value("gateway_stream_aborts_total", aborted) == 1
    gone = {"surface": "chat", "phase": "answer"}
    assert registry.get_sample_value("gateway_client_gone_total", gone) is None


def test_s49_made_up_codes_do_not_make_series(metrics: Metrics, registry: CollectorRegistry) -> None:
    """A provider's error codes are its own words."""
    for number in range(10_000):
        attempts = [Attempt("openai", "gpt-4o", 100.0, outcome=f"made_up_{number}")]
        record = a_record(code=f"made_up_{number}", status=400, attempts=attempts)
        metrics.opened(record)
        metrics.closed(record)
    assert series(registry) < 1000
    # The gateway's own faults keep their names, whatever came before.
    record = a_record(code="upstream_timeout", status=504)
    metrics.opened(record)
    metrics.closed(record)
    labels = {"surface": "chat", "route": "gpt-*", "status": "504", "code": "upstream_timeout"}
    assert registry.get_sample_value("gateway_requests_total", labels) == 1
    assert registry.get_sample_value("gateway_requests_total", labels | {"status": "400", "code": "other"})


def test_s49_no_client_can_make_series(live: LiveGateway, fake: FakeUpstream) -> None:
    """Over the socket: models, keys, paths, fields and codes that nobody has seen before."""

    def ask_oddly(number: int) -> None:
        ask(live, CHAT_OPENAI, model=f"gpt-odd-{number}", headers={"x-api-key": f"key-{number}" * 4})
        ask(live, CHAT_OPENAI, model=f"claude-odd-{number}", extra={f"field_{number}": 1})
        ask(live, CHAT_ANTHROPIC, extra={f"field_{number}": 1})
        send(live, "GET", f"/v1/path-{number}")
        send(live, "GET", f"/v1/models/odd-{number}")
        ask(live, MESSAGES_OPENAI, model=f"o3-{number}")

    fake.memory.extra_models.update(f"gpt-odd-{n}" for n in range(30))
    ask_oddly(0)
    live.idle()
    before = series(live.registry)
    for number in range(1, 30):
        ask_oddly(number)
    live.idle()
    assert series(live.registry) == before
    exposed = generate_latest(live.registry).decode()
    assert "odd-" not in exposed
    assert "key-" not in exposed


def test_s49_a_providers_codes_stay_bounded(gateway: LiveGateway, fake: FakeUpstream) -> None:
    """On a gateway of its own: the words would stay in the session's."""
    fake.script("", lambda request: [Json(400, {"error": {"message": "no", "code": f"c{request.number}"}})])
    before = series(gateway.registry)
    for _ in range(200):
        assert ask(gateway, CHAT_OPENAI).status == 400
    gateway.idle()
    # Each code that is named makes four series: requests and attempts, each with the time of its creation.
    assert series(gateway.registry) - before < 4 * 70
    assert 'code="other"' in generate_latest(gateway.registry).decode()


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({"first_byte": 0.0, "queue_seconds": 2.0}, "queue"),
        ({"first_byte": 0.0, "attempts": [Attempt("openai", "m", 100.0)]}, "waiting"),
        ({"attempts": [Attempt("openai", "m", 100.0)]}, "answer"),
    ],
)
def test_clients_that_left(
    metrics: Metrics, registry: CollectorRegistry, changes: dict[str, object], phase: str
) -> None:
    record = a_record(outcome="client_gone", status=499, code="client_gone", **changes)
    metrics.opened(record)
    metrics.closed(record)
    labels = {"surface": "chat", "phase": phase}
    assert registry.get_sample_value("gateway_client_gone_total", labels) == 1


@pytest.mark.parametrize(
    ("code", "side"),
    [("upstream_timeout", "upstream"), ("draining", "gateway"), ("internal_error", "gateway")],
)
def test_streams_that_broke(metrics: Metrics, registry: CollectorRegistry, code: str, side: str) -> None:
    record = a_record(outcome="error", status=200, code=code)
    metrics.opened(record)
    metrics.closed(record)
    labels = {"surface": "chat", "side": side, "reason": code}
    assert registry.get_sample_value("gateway_stream_aborts_total", labels) == 1


def test_retries_lines_and_the_budget_of_retries(metrics: Metrics, registry: CollectorRegistry) -> None:
    attempts = [Attempt("a", "m", 100.0), Attempt("b", "m", 100.0, reason="after outage")]
    record = a_record(attempts=attempts, queue_seconds=0.2, budget_spent=True)
    metrics.opened(record)
    metrics.closed(record)
    value = registry.get_sample_value
    assert value("gateway_retries_total", {"provider": "b", "reason": "after outage"}) == 1
    assert value("gateway_retries_total", {"provider": "a", "reason": "first"}) is None
    assert value("gateway_queue_seconds_count", {"route": "gpt-*"}) == 1
    assert value("gateway_retry_budget_exhausted_total", {"route": "gpt-*"}) == 1
