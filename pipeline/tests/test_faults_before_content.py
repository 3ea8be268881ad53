"""Upstream faults before any content: a status in the client's dialect, or it never learns of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.errand import MAX_ATTEMPTS
from pipeline.tests import faults
from pipeline.tests.faults import (
    BAD,
    BUDGET,
    BUSY,
    LATE,
    RATE,
    SHORT,
    Steps,
    Told,
    request_fault,
    whole_error,
)
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import OTHER_PAIRS, PAIRS, TEXT, Pair, ask
from tests.support.tls import server_context
from tests.support.upstream.script import Answer, Close, Json, Raw, Reset, Send, SendHead, Stall

HTML = "<!doctype html><html><body><h1>internal.example: Bad gateway</h1></body></html>"
PAGE = {"content-type": "text/html"}
# Leading events only, as the providers send them before the model has said anything.
LEADING: Steps = lambda pair: [Answer(events=pair.leading), Reset()]  # noqa: E731 - a row like the others


def _error_event(kind: str) -> Steps:
    return lambda pair: [faults.stream_of(pair, [faults.error_event(pair, kind)])]


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: what the provider does, what a client is told who has no other target, whether another
    target may be tried, and how the attempt is written down. `here`: the same target is asked again where
    there is no other. `stream`: with which kind of request it occurs; `but`: the upstream that it does not
    concern; `changes`: to the provider;
    `closed`: the gateway must have closed the connection; `across`: what a client of another dialect than the
    provider's is told, where that differs."""

    id: str
    told: Told
    code: str
    steps: Steps
    again: bool = True
    here: bool = True
    outcome: str = ""
    stream: tuple[bool, ...] = (False, True)
    but: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    closed: bool = False
    across: Told | None = None

    def says(self, pair: Pair) -> Told:
        """What the client of this pair is told."""
        return self.told if pair.same or self.across is None else self.across


SLOW = {"timeouts": SHORT}
ROWS = [
    Row("U5-slow-stream", LATE, "upstream_timeout", lambda _: [Stall()], outcome="first_byte_timeout",
        here=False, stream=(True,), changes=SLOW, closed=True),
    # A provider at work on a whole answer bills it: nobody else is asked to do it again.
    Row("U5-slow-whole", LATE, "upstream_timeout", lambda _: [Stall()], again=False,
        outcome="first_byte_timeout", stream=(False,), changes=SLOW, closed=True),
    Row("U6-silent-after-head", LATE, "upstream_timeout",
        lambda pair: [Answer(events=pair.leading), Stall()], outcome="idle_timeout", here=False,
        stream=(True,), changes=SLOW, closed=True),
    # The head is begun, so that this is no stale connection, on which the request would be sent once more.
    Row("U8-reset-in-head", BAD, "upstream_truncated", lambda _: [Raw(b"HTTP/1.1 200 O"), Reset()],
        outcome="reset"),
    Row("U8-reset-before-content", BAD, "upstream_truncated", LEADING, outcome="reset", stream=(True,)),
    Row("U9-end-before-content", BAD, "upstream_truncated", lambda pair: [Answer(events=pair.leading)],
        outcome="upstream_truncated", stream=(True,)),
    Row("U9-empty-stream", BAD, "upstream_truncated", lambda pair: [faults.stream_of(pair, [])],
        outcome="upstream_truncated", stream=(True,)),
    Row("U10-json-cut-in-framing", BAD, "upstream_truncated",
        lambda _: [SendHead(200, {"content-type": "application/json", "content-length": "90"}, "none"),
                   Send(b'{"id":"x","choi'), Close()], outcome="truncated", stream=(False,)),
    Row("U10-json-cut", BAD, "upstream_invalid_response",
        lambda _: [Json(200, '{"id":"x","choices":[{"mess')], stream=(False,)),
    Row("U10-another-json", BAD, "upstream_invalid_response", lambda _: [Json(200, {"hello": "you"})],
        stream=(False,)),
    Row("U10-not-an-object", BAD, "upstream_invalid_response", lambda _: [Json(200, [1, 2])],
        stream=(False,)),
    Row("U10-nothing", BAD, "upstream_invalid_response", lambda _: [Json(200, "")], stream=(False,)),
    Row("U11-bad-first-event", BAD, "upstream_invalid_response",
        lambda pair: [faults.stream_of(pair, ['{"choices":[{"del'])], stream=(True,)),
    # A single event over the cap, before any content. No other target is asked to do that again.
    Row("U16-event-over-1-MiB", BAD, "upstream_event_too_large",
        lambda pair: [Answer(events=pair.leading), Send(b'data: {"x":"' + b"a" * 1_100_000), Stall()],
        again=False, stream=(True,), closed=True),
    Row("U12-page", BAD, "upstream_invalid_response", lambda _: [Json(200, HTML, PAGE)]),
    Row("U13-whole-instead-of-stream", BAD, "upstream_invalid_response",
        lambda pair: [Json(200, {"object": "error-page"})], stream=(True,), but="ollama"),
    Row("U14-error-event-first", BAD, "upstream_error", _error_event("server_error"), stream=(True,)),
    Row("U14-overloaded-event-first", BUSY, "overloaded", _error_event("overloaded_error"), stream=(True,),
        but="ollama"),
    Row("U14-rate-event-first", RATE, "rate_limit_exceeded", _error_event("rate_limit_error"), stream=(True,),
        but="ollama"),
    Row("U19-429", RATE, "rate_limit_exceeded", whole_error(429, "rate_limit_error", retry_after="2")),
    Row("U22-500", BAD, "upstream_error", whole_error(500)),
    Row("U22-502", BAD, "upstream_error", whole_error(502)),
    Row("U22-503", BUSY, "overloaded", whole_error(503)),
    Row("U22-504", LATE, "upstream_timeout", whole_error(504)),
    Row("U23-529", BUSY, "overloaded", whole_error(529, "overloaded_error", retry_after="3")),
    Row("U24-400", request_fault(400), "invalid_value", whole_error(400, "invalid_request_error"),
        again=False),
    Row("U24-404", request_fault(404, "not_found_error"), "model_not_found", whole_error(404), again=False),
    Row("U24-413", request_fault(413, "request_too_large"), "request_too_large", whole_error(413),
        again=False),
    # No other dialect's clients know it, and it is about a body that the client has not written.
    Row("U24-422", request_fault(422), "invalid_value", whole_error(422), again=False,
        across=request_fault(400)),
    Row("U25-401", BAD, "upstream_auth", whole_error(401, "authentication_error"), here=False),
    Row("U25-403", BAD, "upstream_auth", whole_error(403, "permission_error"), here=False),
    # The gateway's account is not paid: another one may be.
    Row("U25-402", BUDGET, "insufficient_quota", whole_error(402, "billing_error"), here=False),
    Row("U26-page", BAD, "upstream_error", lambda _: [Json(502, HTML, PAGE)]),
    Row("U26-page-of-5-MB", BUSY, "overloaded",
        lambda _: [Json(503, HTML + " " * 5_000_000, PAGE)]),
    Row("U29-redirect", BAD, "upstream_redirect",
        lambda _: [Json(307, "", {"location": "http://internal.example/v1"})], again=False),
    Row("U29-odd-success", BAD, "upstream_invalid_response", lambda _: [Json(204, "")]),
    Row("U33-header-of-200-KiB", BAD, "upstream_invalid_response",
        lambda _: [Json(200, {}, {"x-long": "a" * 200_000})], again=False, outcome="too_large", closed=True),
    Row("U33-two-lengths", BAD, "upstream_invalid_response",
        lambda _: [Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}\n")],
        outcome="invalid"),
    Row("U33-not-http", BAD, "upstream_invalid_response", lambda _: [Raw(b"220 smtp.internal.example\r\n")],
        outcome="invalid"),
]  # fmt: skip
STREAMED = ("U6", "U8", "U9", "U11", "U12", "U13", "U14", "U16", "U19", "U22-503")
CASES = [
    pytest.param(row, pair, stream, id=f"{row.id}-{pair}-{'stream' if stream else 'whole'}")
    for row in ROWS
    for pair in PAIRS
    for stream in row.stream
    if not row.but or pair.upstream != row.but
]

# How a stream fails concerns every way in which one is read and written.
CASES += [
    pytest.param(row, pair, True, id=f"{row.id}-{pair}-stream")
    for row in ROWS
    for pair in OTHER_PAIRS
    if row.id.startswith(STREAMED) and (not row.but or pair.upstream != row.but)
]


@pytest.mark.parametrize(("row", "pair", "stream"), CASES)
def test_with_one_target_the_client_gets_the_status(
    live: LiveGateway, fake: FakeUpstream, row: Row, pair: Pair, stream: bool
) -> None:
    faults.alone(live, pair, **row.changes)
    faults.answers(fake, pair, row.steps)
    answer = ask(live, pair, stream=stream)
    faults.check_refused(answer, row.says(pair), row.code)
    record = live.wait_record()
    assert (record.outcome, record.status, record.code) == ("error", answer.status, row.code)
    tries = MAX_ATTEMPTS if row.again and row.here else 1
    assert [attempt.outcome for attempt in record.attempts] == [row.outcome or row.code] * tries
    assert [attempt.reason for attempt in record.attempts] == ["first", "retry", "retry"][:tries]
    assert record.usage is None
    assert not record.first_content
    assert len(fake.requests) == tries
    if row.closed:
        assert fake.wait_closed(fake.last)


@pytest.mark.parametrize(("row", "pair", "stream"), CASES)
def test_a_second_target_is_asked_only_where_that_may_help(
    live: LiveGateway, fake: FakeUpstream, row: Row, pair: Pair, stream: bool
) -> None:
    faults.two(live, pair, **row.changes)
    faults.answers(fake, pair, row.steps, at="first")
    answer = ask(live, pair, stream=stream)
    record = live.wait_record()
    first = row.outcome or row.code
    if not row.again:
        faults.check_refused(answer, row.says(pair), row.code)
        assert [attempt.outcome for attempt in record.attempts] == [first]
        assert len(fake.requests) == 1
        return
    assert answer.status == 200
    assert answer.text == TEXT
    assert answer.complete is stream
    assert answer.failures == []
    assert (record.outcome, record.status, record.code, record.provider) == ("ok", 200, "", "second")
    assert [(a.provider, a.outcome) for a in record.attempts] == [("first", first), ("second", "ok")]
    assert record.usage is not None
    assert record.usage.source == "provider"
    assert len(fake.requests) == 2


UNREACHABLE = [
    pytest.param("http://127.0.0.1:1/v1", "refused", id="U1"),
    pytest.param("http://nowhere.invalid/v1", "dns", id="U2"),
    pytest.param("https://127.0.0.1:{tls_port}", "tls", id="U3"),
]


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a provider whose certificate nobody signed."""
    context, _ = server_context(tmp_path_factory.mktemp("tls"))
    fake = FakeUpstream(tls=context).start()
    yield fake.port
    fake.stop()


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize(("url", "outcome"), UNREACHABLE)
def test_an_unreachable_provider(
    live: LiveGateway, tls_port: int, url: str, outcome: str, pair: Pair
) -> None:
    url = url.format(tls_port=tls_port)
    faults.alone(live, pair, base_url=url)
    error = faults.check_refused(ask(live, pair), BAD, "upstream_unreachable")
    assert ("TLS" in error["message"]) == (outcome == "tls")
    faults.two(live, pair, base_url=url)
    answer = ask(live, pair, stream=True)
    assert answer.text == TEXT
    record = live.wait_record(2)
    assert [attempt.outcome for attempt in record.attempts] == [outcome, "ok"]


def test_u4_a_provider_that_never_accepts(live: LiveGateway, fake: FakeUpstream) -> None:
    pair = PAIRS[0]
    # It accepts TCP, but connecting includes the handshake of TLS, and nobody answers that.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        faults.alone(live, pair, base_url=url, timeouts=SHORT)
        faults.check_refused(ask(live, pair), LATE, "upstream_timeout")
        faults.two(live, pair, base_url=url, timeouts=SHORT)
        assert ask(live, pair).text == TEXT
        assert [a.outcome for a in live.wait_record(2).attempts] == ["connect_timeout", "ok"]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize(
    ("value", "told"),
    [("2", "2"), ("86400", "60"), ("soon", None), ("-5", "0"), ("Fri, 31 Dec 1999 23:59:59 GMT", "0")],
)
def test_u21_the_wait_that_a_provider_asks_for(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, value: str, told: str | None
) -> None:
    faults.answers(fake, pair, whole_error(429, "rate_limit_error", retry_after=value))
    answer = ask(live, pair, stream=True)
    faults.check_refused(answer, RATE, "rate_limit_exceeded")
    assert answer.header("retry-after") == told


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_after_three_attempts_the_last_answer_is_the_clients(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    targets = [faults.named(live, pair, name) for name in ("a", "b", "c", "d")]
    live.use(live.snapshot([live.route("*", *targets)]))
    faults.answers(fake, pair, whole_error(500), at="a")
    faults.answers(fake, pair, whole_error(503), at="b")
    faults.answers(fake, pair, whole_error(504), at="c")
    faults.check_refused(ask(live, pair), LATE, "upstream_timeout")
    record = live.wait_record()
    assert [attempt.status for attempt in record.attempts] == [500, 503, 504]
    assert [request.path.split("/")[1] for request in fake.requests] == ["a", "b", "c"]
