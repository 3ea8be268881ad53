"""The log line of a call: what it says, and that no prompt, no answer and no secret is ever in it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from dialects.types import Usage
from pipeline.call import Attempt, Record, Refusal
from pipeline.requestlog import RequestLog
from pipeline.tracing import Trace
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, Pair, ask, send
from tests.support.upstream.script import Answer, Json, Reset

PROMPT, SYSTEM, REPLY, FIELD = "canary-prompt-1", "canary-system-2", "canary-reply-3", "canary-field-4"


class Lines:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))


def a_record() -> Record:
    record = Record(request_id="req_1", surface="chat", started=10.0, model="gpt-4o", stream=True)
    record.team, record.key_prefix, record.route, record.provider = "red", "gw-abc", "gpt-*", "openai"
    record.upstream_model, record.revision, record.status, record.ended = "gpt-4o-2024", 7, 200, 12.5
    record.first_byte, record.first_content, record.upstream_seconds = 11.0, 11.0, 0.99
    record.usage = Usage(input_tokens=10, output_tokens=5, cache_read=4)
    record.attempts = [Attempt("a", "m", 10.0, outcome="refused"), Attempt("openai", "m", 10.1, outcome="ok")]
    return record


def test_a_good_call_is_one_line_of_info() -> None:
    lines = Lines()
    log = RequestLog(lines)
    record = a_record()
    log.opened(record)
    assert lines.lines == []
    log.closed(record)
    ((level, event, fields),) = lines.lines
    assert (level, event) == ("info", "request")
    assert fields["request_id"] == "req_1"
    assert (fields["team"], fields["key"], fields["model"]) == ("red", "gw-abc", "gpt-4o")
    assert (fields["status"], fields["outcome"], fields["code"]) == (200, "ok", None)
    assert (fields["ms"], fields["upstream_ms"], fields["first_token_ms"]) == (2500.0, 990.0, 1000.0)
    assert (fields["input_tokens"], fields["output_tokens"], fields["cache_read_tokens"]) == (10, 5, 4)
    assert fields["usage_source"] == "provider"
    assert fields["attempts"] == ["a:refused", "openai:ok"]


@pytest.mark.parametrize("outcome", ["error", "client_gone"])
def test_a_failed_call_is_a_warning(outcome: Any) -> None:
    lines = Lines()
    record = a_record()
    record.outcome, record.code, record.usage, record.first_content = outcome, "upstream_error", None, 0.0
    RequestLog(lines).closed(record)
    ((level, _, fields),) = lines.lines
    assert level == "warning"
    assert fields["code"] == "upstream_error"
    assert fields["input_tokens"] is None
    assert fields["first_token_ms"] is None


def test_a_refusal_is_a_short_line() -> None:
    lines = Lines()
    RequestLog(lines).refused(Refusal("req_1", "chat", 401, "invalid_api_key", "", ""))
    assert lines.lines == [
        ("info", "refused", {"request_id": "req_1", "surface": "chat", "status": 401,
                             "code": "invalid_api_key", "key": None, "team": None})
    ]  # fmt: skip


def test_s48_a_line_stays_short_whatever_the_names(live: LiveGateway) -> None:
    lines = Lines()
    record = a_record()
    record.model = record.upstream_model = "m" * 1_000_000
    record.dropped = ["f" * 10_000] * 10_000
    RequestLog(lines).closed(record)
    assert len(repr(lines.lines)) < 16_384


def test_a_line_is_found_by_its_trace() -> None:
    lines = Lines()
    log = RequestLog(lines)
    trace = Trace("4b" * 16, "00f067aa0ba902b7", "", sampled=False, state="", wall=0, began=0.0)
    record = a_record()
    log.closed(record)
    record.trace = trace
    log.closed(record)
    log.refused(Refusal("req_2", "chat", 401, "invalid_api_key", "", "", trace))
    without, *found = [fields for _, _, fields in lines.lines]
    assert "trace_id" not in without
    assert [(each["trace_id"], each["span_id"]) for each in found] == [("4b" * 16, "00f067aa0ba902b7")] * 2


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s45_no_prompt_no_answer_no_secret(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Of good calls, failed calls and refused ones, at every level, from every logger."""
    caplog.set_level(logging.DEBUG)
    lines = RequestLog(structlog.get_logger("gateway"))
    system = {"system": SYSTEM} if pair.surface == "messages" else {}
    said: dict[str, Any] = {"messages": [{"role": "user", "content": f"{PROMPT}\nsay:{REPLY}"}], FIELD: FIELD}
    leak = f"Bad key sk-canary-5 for {PROMPT} at http://10.1.2.3/v1"
    wrong = "gw-canary-key-6-that-nobody-has"
    with capture_logs() as captured:
        ask(live, pair, extra=said | system)
        ask(live, pair, stream=True, extra=said | system)
        fake.script("", [Json(500, {"error": {"message": leak, "type": "server_error"}})], times=1)
        ask(live, pair, extra=said)
        fake.script("", [Answer(events=pair.leading + 1), Reset()], times=1)
        ask(live, pair, stream=True, extra=said)
        send(live, "POST", "/v1/chat/completions", b'{"canary-prompt-1', {"x-api-key": live.key})
        send(live, "GET", "/v1/models", headers={"x-api-key": wrong})
        live.idle()
        for record in live.records:
            lines.closed(record)
        for refusal in live.refusals:
            lines.refused(refusal)
    assert len(captured) == 6
    text = repr(captured) + caplog.text
    secrets = (PROMPT, SYSTEM, REPLY, live.key, wrong, "sk-canary", "sk-openai", "sk-anthropic", "10.1.2.3")
    assert [secret for secret in secrets if secret in text] == []
