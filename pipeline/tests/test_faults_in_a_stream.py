"""Upstream faults after the first content: told in-band, never retried, never dressed up as an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pipeline.tests import faults
from pipeline.tests.faults import BAD, BUSY, LATE, SHORT, Steps, Told, request_fault
from tests.support import surfaces
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import OTHER_PAIRS, PAIRS, TEXT, Pair, ask
from tests.support.upstream.script import Answer, Close, Raw, Reset, Send, Stall, Step, Wait, encoded

# How many events with content come before the fault, and the text in them: the fake's pieces of TEXT.
CONTENT = 5
SAID = TEXT[:17]
DRIPS: list[Step] = [Wait(0.06), Send(b": still there\n\n")] * 30
DRIPPING = replace(SHORT, idle=5, total=0.5)


def _then(*steps: Step) -> Steps:
    return lambda pair: [Answer(events=pair.leading + CONTENT), *steps]


def _event(pair: Pair, payload: str) -> bytes:
    """A payload as one event in the framing of the pair's provider."""
    return payload.encode() + b"\n" if pair.upstream == "ollama" else b"data: " + payload.encode() + b"\n\n"


def _error(kind: str) -> Steps:
    def steps(pair: Pair) -> Sequence[Step]:
        error = encoded(faults.error_event(pair, kind)).decode()
        return [Answer(events=pair.leading + CONTENT), Send(_event(pair, error))]

    return steps


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: what the provider does after CONTENT events, and what a client is told. `but`: the
    upstream that it does not concern; `closed`: the gateway must have closed the connection."""

    id: str
    told: Told
    code: str
    steps: Steps
    changes: Mapping[str, Any] = field(default_factory=dict)
    but: str = ""
    closed: bool = False
    outcome: str = ""


ROWS = [
    Row("U6-silence", LATE, "upstream_timeout", _then(Stall()), {"timeouts": SHORT}, closed=True),
    Row("U7-reset", BAD, "upstream_truncated", _then(Wait(0.02), Reset())),
    Row("U9-end-without-terminal-event", BAD, "upstream_truncated", _then()),
    Row("U9-close-within-the-framing", BAD, "upstream_truncated", _then(Close())),
    Row("U9-close-within-an-event", BAD, "upstream_truncated", _then(Send(b'data: {"choi'), Close())),
    Row("U11-bad-json", BAD, "upstream_invalid_response",
        lambda pair: [Answer(events=pair.leading + CONTENT), Send(_event(pair, '{"choices":[{"de')), Stall()],
        closed=True),
    Row("U11-another-form", BAD, "upstream_invalid_response",
        lambda pair: [Answer(events=pair.leading + CONTENT), Send(_event(pair, "[1,2,3]")), Stall()],
        closed=True),
    Row("U15-error-event", BAD, "upstream_error", _error("server_error")),
    Row("U15-overloaded", BUSY, "overloaded", _error("overloaded_error"), but="ollama"),
    Row("U15-bad-request", request_fault(400), "invalid_value", _error("invalid_request_error"),
        but="ollama"),
    Row("U16-event-over-1-MiB", BAD, "upstream_event_too_large",
        _then(Send(b'data: {"x":"' + b"a" * 1_100_000), Stall()), closed=True),
    Row("U33-bad-framing", BAD, "upstream_invalid_response", _then(Wait(0.02), Raw(b"zz\r\n"), Stall()),
        closed=True),
    Row("U35-drips-for-ever", LATE, "stream_max_duration",
        _then(*DRIPS, Stall()), {"timeouts": DRIPPING},
        but="ollama", closed=True),
]  # fmt: skip
CASES = [
    pytest.param(row, pair, id=f"{row.id}-{pair}")
    for row in ROWS
    for pair in (*PAIRS, *OTHER_PAIRS)
    if not row.but or pair.upstream != row.but
]


@pytest.mark.parametrize(("row", "pair"), CASES)
def test_the_client_has_the_text_so_far_and_an_honest_end(
    live: LiveGateway, fake: FakeUpstream, row: Row, pair: Pair
) -> None:
    # A second target stands by: it must not be asked any more.
    faults.two(live, pair, **row.changes)
    faults.answers(fake, pair, row.steps)
    answer = ask(live, pair, stream=True)
    assert answer.status == 200
    assert answer.text == SAID
    assert not answer.complete
    assert answer.finishes == []
    check_last(answer, row)
    faults.check_no_secret(answer.raw)
    record = live.wait_record()
    assert (record.outcome, record.status, record.code) == ("error", 200, row.code)
    assert [(a.provider, a.outcome) for a in record.attempts] == [("first", row.code)]
    assert record.first_content
    assert record.usage is not None
    assert record.usage.source == "estimated"
    assert record.usage.output_tokens == -(-len(SAID) // 4)
    assert record.usage.input_tokens > 0
    assert len(fake.requests) == 1
    if row.closed:
        assert fake.wait_closed(fake.last)


def check_last(answer: surfaces.Answer, row: Row) -> None:
    """The last event is the error, in the surface's form, and a whole event of its own."""
    (error,) = answer.failures
    name, last = answer.events[-1]
    if answer.surface == "responses":
        # The output so far, in a response that says that it failed.
        assert last["response"]["error"] == error
        assert error["code"] == "server_error"
        (item,) = last["response"]["output"]
        assert (item["status"], item["content"][0]["text"]) == ("incomplete", SAID)
        return
    assert last["error"] == error
    assert error["type"] == row.told.of(answer.surface)[1]
    if answer.surface != "messages":
        assert error["code"] == row.code
    assert name == ("error" if answer.surface == "messages" else "")


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_what_came_in_the_same_read_as_the_fault_is_delivered(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    """However the network cuts a stream, the text before a fault is the client's."""

    def steps(pair: Pair) -> Sequence[Step]:
        # One write: content and the fault arrive together.
        bad = _event(pair, '{"choices":[{"de')
        return [Answer(events=pair.leading + 1), Wait(0.02), Send(_said(pair, "together") + bad)]

    faults.answers(fake, pair, steps)
    answer = ask(live, pair, stream=True)
    assert answer.text == SAID[:1] + "together"
    assert [error["type"] for error in answer.failures] == [BAD.of(pair.surface)[1]]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_content_and_fault_in_the_first_read_end_the_same_way(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    def steps(pair: Pair) -> Sequence[Step]:
        bad = _event(pair, '{"choices":[{"de')
        return [Answer(events=pair.leading), Send(_said(pair, "together") + bad)]

    faults.two(live, pair)
    faults.answers(fake, pair, steps)
    answer = ask(live, pair, stream=True)
    assert answer.text == "together"
    assert len(answer.failures) == 1
    assert len(fake.requests) == 1


def _said(pair: Pair, text: str) -> bytes:
    """One event with content."""
    if pair.upstream == "ollama":
        return _event(
            pair, f'{{"model":"m","message":{{"role":"assistant","content":"{text}"}},"done":false}}'
        )
    if pair.upstream == "messages":
        delta = f'{{"type":"text_delta","text":"{text}"}}'
        return _event(pair, f'{{"type":"content_block_delta","index":0,"delta":{delta}}}')
    return _event(pair, f'{{"id":"x","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}')
