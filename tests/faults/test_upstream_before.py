"""Faults of a provider before any content: a status in the client's dialect, or it never learns of them."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from pipeline.tests import faults
from pipeline.tests.faults import BAD, BUDGET, BUSY, LATE, RATE, SHORT, Told, request_fault
from tests.faults.trial import (
    ALL_STREAMS,
    EVERYWHERE,
    SSE_STREAMS,
    STREAMS,
    WHOLE,
    Fault,
    Trial,
    Try,
    on,
)
from tests.support.fake_upstream import Match
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_ANTHROPIC, MESSAGES_OPENAI
from tests.support.upstream.script import Answer, Close, Json, Raw, Reset, Send, SendHead, Stall

HTML = "<!doctype html><html><body><h1>internal.example: Bad gateway</h1></body></html>"
PAGE = {"content-type": "text/html"}
UNREADABLE = Fault(BAD, "upstream_invalid_response")
BROKEN = Fault(BAD, "upstream_truncated")
EVENT = b'data: {"x":"' + b"a" * 1_100_000


def status(trial: Trial, code: int, kind: str = "server_error", **headers: str) -> Json:
    """An error reply in the provider's envelope, full of what nobody may see."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Json(code, faults.error_json(trial.pair, kind), given)


# -- streams that die before they have said anything


@ALL_STREAMS
def test_u06_silence_before_content(trial: Trial) -> None:
    fault = Fault(LATE, "upstream_idle_timeout", "idle_timeout", again=False, charge="input", closed=True,
                  changes={"timeouts": SHORT})  # fmt: skip
    trial.proves(fault, trial.lead, Stall())


@ALL_STREAMS
def test_u08_reset_before_content(trial: Trial) -> None:
    trial.proves(Fault(BAD, "upstream_truncated", "reset"), trial.lead, Reset())


@ALL_STREAMS
def test_u09_end_before_content(trial: Trial) -> None:
    trial.proves(BROKEN, trial.lead)
    trial.fake.reset()
    trial.proves(BROKEN, faults.stream_of(trial.pair, []))


@STREAMS
def test_u11_first_event_is_no_json(trial: Trial) -> None:
    trial.proves(UNREADABLE, faults.stream_of(trial.pair, ['{"choices":[{"del']))


@EVERYWHERE
def test_u12_a_page_instead_of_an_answer(trial: Trial) -> None:
    trial.proves(UNREADABLE, Json(200, HTML, PAGE))


@SSE_STREAMS
def test_u13_an_object_that_is_no_answer(trial: Trial) -> None:
    fault = Fault(BAD, "upstream_not_a_stream", elsewhere=False, again=False, charge="input")
    trial.proves(fault, Json(200, {"object": "something"}))


@STREAMS
def test_u14_an_error_event_first(trial: Trial) -> None:
    trial.proves(Fault(BAD, "upstream_error"), _said(trial, "server_error"))


@SSE_STREAMS
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("overloaded_error", Fault(BUSY, "overloaded")),
        ("rate_limit_error", Fault(RATE, "rate_limit_exceeded", verdict="neutral", cool=5)),
        ("invalid_request_error", Fault(request_fault(400), "invalid_value", verdict="neutral", again=False,
                                        elsewhere=False)),
    ],
    ids=["busy", "rate", "request"],
)  # fmt: skip
def test_u14_it_has_the_status_that_its_words_mean(trial: Trial, kind: str, fault: Fault) -> None:
    trial.proves(fault, _said(trial, kind))


def _said(trial: Trial, kind: str) -> Any:
    return faults.stream_of(trial.pair, [faults.error_event(trial.pair, kind)])


@ALL_STREAMS
def test_u16_one_event_over_1_mib_before_content(trial: Trial) -> None:
    fault = Fault(BAD, "upstream_event_too_large", again=False, elsewhere=False, charge="input", closed=True)
    trial.proves(fault, trial.lead, Send(EVENT), Stall())


# -- whole answers that cannot be read


@WHOLE
def test_u10_json_cut_in_its_framing(trial: Trial) -> None:
    head = SendHead(200, {"content-type": "application/json", "content-length": "90"}, "none")
    fault = Fault(BAD, "upstream_truncated", "truncated", charge="input")
    trial.proves(fault, head, Send(b'{"id":"x","choi'), Close())


@WHOLE
@pytest.mark.parametrize("body", ['{"id":"x","choices":[{"mess', {"hello": "you"}, [1, 2], ""])
def test_u10_json_that_is_no_answer(trial: Trial, body: Any) -> None:
    trial.proves(Fault(BAD, "upstream_invalid_response", charge="input"), Json(200, body))


# -- refusals


@EVERYWHERE
@pytest.mark.parametrize("stated", ["seconds", "milliseconds"])
def test_u19_429_with_a_wait(trial: Trial, stated: str) -> None:
    wait = {"retry_after": "2"} if stated == "seconds" else {"retry_after_ms": "2000"}
    fault = Fault(RATE, "rate_limit_exceeded", verdict="neutral", cool=2)
    trial.proves(fault, status(trial, 429, "rate_limit_error", **wait))
    assert len(trial.live.pauses) == 2
    assert all(2.0 <= pause < 3.0 for pause in trial.live.pauses), "what it asked for is the least"
    trial.alone()
    assert trial.ask().header("retry-after") == "2"


@EVERYWHERE
def test_u20_429_without_a_wait(trial: Trial) -> None:
    fault = Fault(RATE, "rate_limit_exceeded", verdict="neutral", cool=5)
    trial.proves(fault, status(trial, 429, "rate_limit_error"))
    first, second = trial.live.pauses
    assert 0 <= first <= 1.0
    assert 0 <= second <= 2.0


@EVERYWHERE
@pytest.mark.parametrize(
    ("value", "told", "cool"),
    [("86400", "60", 300), ("soon", None, 5), ("-5", "0", 0), ("Fri, 31 Dec 1999 23:59:59 GMT", "0", 0)],
)
def test_u21_429_with_an_odd_wait(trial: Trial, value: str, told: str | None, cool: float) -> None:
    """None is slept out that is longer than a client should be kept waiting."""
    long = cool == 300
    fault = Fault(RATE, "rate_limit_exceeded", verdict="neutral", cool=cool, again=not long)
    trial.does(status(trial, 429, "rate_limit_error", retry_after=value))
    trial.alone()
    answer = trial.refused(fault, 1 if long else 3)
    assert answer.header("retry-after") == told
    assert all(pause <= 3 for pause in trial.live.pauses)
    assert not (long and trial.live.pauses)
    trial.two()
    trial.falls_over(fault)


@EVERYWHERE
@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (500, Fault(BAD, "upstream_error")),
        (502, Fault(BAD, "upstream_error")),
        (503, Fault(BUSY, "overloaded")),
        (504, Fault(LATE, "upstream_timeout")),
    ],
    ids=["500", "502", "503", "504"],
)
def test_u22_5xx(trial: Trial, code: int, fault: Fault) -> None:
    trial.proves(fault, status(trial, code))
    first, second = trial.live.pauses
    assert 0 <= first <= 0.25, "full jitter, and twice as much the second time"
    assert 0 <= second <= 0.5


@EVERYWHERE
@pytest.mark.parametrize("code", [503, 529])
def test_u23_overloaded_for_a_while(trial: Trial, code: int) -> None:
    trial.proves(Fault(BUSY, "overloaded", cool=3), status(trial, code, "overloaded_error", retry_after="3"))
    trial.alone()
    assert trial.ask().header("retry-after") == "3"


REFUSALS: dict[str, tuple[int, str, Told, str]] = {
    "400": (400, "invalid_request_error", request_fault(400), "invalid_value"),
    "404": (404, "server_error", request_fault(404, "not_found_error"), "model_not_found"),
    "413": (413, "server_error", request_fault(413, "request_too_large"), "request_too_large"),
    "422": (422, "server_error", request_fault(422), "invalid_value"),
}


@EVERYWHERE
@pytest.mark.parametrize("row", REFUSALS)
def test_u24_the_requests_own_fault(trial: Trial, row: str) -> None:
    code, kind, told, word = REFUSALS[row]
    if row == "422" and not trial.pair.same:
        # No other dialect's clients know it, and it is about a body that the client has not written.
        told = request_fault(400)
    fault = Fault(told, word, verdict="neutral", again=False, elsewhere=False)
    trial.proves(fault, status(trial, code, kind))


@EVERYWHERE
@pytest.mark.parametrize(("code", "kind"), [(401, "authentication_error"), (403, "permission_error")])
def test_u25_our_credential_is_refused(trial: Trial, code: int, kind: str) -> None:
    """Never a 401: the client would take its own key for bad. The credential rests."""
    if trial.pair.upstream == "ollama":
        pytest.skip("it has no credentials")
    fault = Fault(BAD, "upstream_auth", verdict="neutral", again=False)
    trial.proves(fault, status(trial, code, kind))
    keys = trial.named("first").credentials
    assert keys
    assert trial.live.live.usable(keys) == []


@EVERYWHERE
def test_u25_our_account_is_not_paid(trial: Trial) -> None:
    fault = Fault(BUDGET, "insufficient_quota", verdict="neutral", again=False)
    trial.proves(fault, status(trial, 402, "billing_error"))


@EVERYWHERE
@pytest.mark.parametrize("size", [0, 5_000_000], ids=["small", "5-MB"])
def test_u26_an_error_page(trial: Trial, size: int) -> None:
    trial.proves(Fault(BAD, "upstream_error"), Json(502, HTML + " " * size, PAGE))


@on((CHAT_OPENAI, MESSAGES_OPENAI, MESSAGES_ANTHROPIC))
def test_u28_decompression_bomb(trial: Trial) -> None:
    stream = trial.stream
    packed = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    size = 20 if stream else 70
    bomb = packed.compress(b'data: {"x":"') + packed.compress(b"a" * (size << 20)) + packed.flush()
    media = "text/event-stream" if stream else "application/json"
    code, outcome = ("upstream_event_too_large", "") if stream else ("upstream_invalid_response", "too_large")
    fault = Fault(BAD, code, outcome, again=False, elsewhere=False, charge="input")
    trial.proves(fault, SendHead(200, {"content-type": media, "content-encoding": "gzip"}), Send(bomb))


@EVERYWHERE
def test_u29_redirect(trial: Trial) -> None:
    fault = Fault(BAD, "upstream_redirect", again=False, elsewhere=False)
    trial.proves(fault, Json(307, "", {"location": trial.fake.url + "/second/v1"}))
    assert all(request.path.startswith("/first/") for request in trial.fake.requests), "it is never followed"


@EVERYWHERE
def test_u29_a_success_without_an_answer(trial: Trial) -> None:
    trial.proves(UNREADABLE, Json(204, ""))


@EVERYWHERE
def test_u33_headers_without_end(trial: Trial) -> None:
    fault = Fault(BAD, "upstream_invalid_response", "too_large", again=False, elsewhere=False, closed=True)
    trial.proves(fault, Json(200, {}, {"x-long": "a" * 200_000}))


@EVERYWHERE
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}\n",
        b"HTTP/1.1 200 OK\r\nx-a: b\rset-cookie: a=b\r\n\r\n",
        b"220 smtp.internal.example\r\n",
    ],
    ids=["two-lengths", "CR", "not-http"],
)
def test_u33_a_head_that_is_none(trial: Trial, raw: bytes) -> None:
    trial.proves(Fault(BAD, "upstream_invalid_response", "invalid"), Raw(raw))


@EVERYWHERE
def test_u33_a_providers_headers_stay_inside(trial: Trial) -> None:
    given = {"set-cookie": "a=b", "server": "inner", "x-internal": "10.11.12.13", "location": "/x"}
    trial.does(Answer(headers=given))
    trial.alone()
    answer = trial.answers()
    names = {name.lower() for name, _ in answer.headers}
    assert not names & {"set-cookie", "x-internal", "location"}


@EVERYWHERE
def test_u22_after_three_attempts_the_last_answer_is_the_clients(trial: Trial) -> None:
    names = ("a", "b", "c", "d")
    trial.serve(*[trial.named(name) for name in names])
    for name, code in zip(names, (500, 503, 504), strict=False):
        trial.fake.script(Match(path=f"/{name}/"), [status(trial, code)])
    told = replace(LATE, again="false")
    faults.check_refused(trial.ask(), told, "upstream_timeout")
    tries: list[Try] = [
        ("a", "upstream_error", "failed"),
        ("b", "overloaded", "failed"),
        ("c", "upstream_timeout", "failed"),
    ]
    record = trial.over(tries, 504, "upstream_timeout", "released")
    assert [attempt.status for attempt in record.attempts] == [500, 503, 504]
