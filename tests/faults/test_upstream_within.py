"""Faults of a provider after the first content: told in-band, never retried, never dressed up as an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.tests import faults
from pipeline.tests.faults import BAD, BUSY, LATE, SHORT, Told, request_fault
from tests.faults.trial import ALL_STREAMS, SSE_STREAMS, STREAMS, Trial
from tests.support.upstream.script import Answer as Good
from tests.support.upstream.script import Close, Raw, Reset, Send, Stall, Step, Wait, encoded

SLOW = {"timeouts": SHORT}
BROKEN = (BAD, "upstream_truncated")
UNREADABLE = (BAD, "upstream_invalid_response")
DRIPS: list[Step] = [Wait(0.06), Send(b": still there\n\n")] * 30


@ALL_STREAMS
def test_u06_stall_between_chunks(trial: Trial) -> None:
    trial.does(trial.begun, Stall())
    trial.two(**SLOW)
    trial.breaks_off(LATE, "upstream_idle_timeout")
    assert trial.fake.wait_closed(trial.fake.last)


@ALL_STREAMS
def test_u07_reset_mid_stream(trial: Trial) -> None:
    trial.does(trial.begun, Wait(0.02), Reset())
    trial.two()
    trial.breaks_off(*BROKEN)


@ALL_STREAMS
def test_u09_end_without_terminal_event(trial: Trial) -> None:
    trial.does(trial.begun)
    trial.two()
    trial.breaks_off(*BROKEN)


@ALL_STREAMS
@pytest.mark.parametrize("more", [b"", b'data: {"choi'], ids=["within-the-framing", "within-an-event"])
def test_u09_close(trial: Trial, more: bytes) -> None:
    trial.does(trial.begun, Send(more), Close())
    trial.two()
    trial.breaks_off(*BROKEN)


@ALL_STREAMS
@pytest.mark.parametrize("payload", ['{"choices":[{"de', "[1,2,3]"], ids=["no-json", "another-form"])
def test_u11_an_event_that_cannot_be_read(trial: Trial, payload: str) -> None:
    trial.does(trial.begun, Send(trial.event(payload)), Stall())
    trial.two()
    answer = trial.breaks_off(*UNREADABLE)
    assert payload.encode() not in answer.raw
    assert trial.fake.wait_closed(trial.fake.last)


@ALL_STREAMS
def test_u15_an_error_event(trial: Trial) -> None:
    _errs(trial, "server_error")
    trial.breaks_off(BAD, "upstream_error")


@SSE_STREAMS
@pytest.mark.parametrize(
    ("kind", "told", "code"),
    [
        ("overloaded_error", BUSY, "overloaded"),
        ("invalid_request_error", request_fault(400), "invalid_value"),
    ],
    ids=["5xx", "4xx"],
)
def test_u15_what_it_says_of_the_target_is_what_its_words_mean(
    trial: Trial, kind: str, told: Told, code: str
) -> None:
    _errs(trial, kind)
    trial.breaks_off(told, code, "failed" if told is BUSY else "neutral")


def _errs(trial: Trial, kind: str) -> None:
    error = encoded(faults.error_event(trial.pair, kind)).decode()
    trial.does(trial.begun, Send(trial.event(error)))
    trial.two()


@ALL_STREAMS
def test_u16_one_event_over_1_mib(trial: Trial) -> None:
    trial.does(trial.begun, Send(b'data: {"x":"' + b"a" * 1_100_000), Stall())
    trial.two()
    trial.breaks_off(BAD, "upstream_event_too_large")
    assert trial.fake.wait_closed(trial.fake.last)


@ALL_STREAMS
def test_u33_bad_framing(trial: Trial) -> None:
    trial.does(trial.begun, Wait(0.02), Raw(b"zz\r\n"), Stall())
    trial.two()
    trial.breaks_off(*UNREADABLE)


@SSE_STREAMS
def test_u35_drips_for_ever(trial: Trial) -> None:
    """Not the target's failure: it did what it was asked to, only for longer than anybody pays for."""
    trial.does(trial.begun, *DRIPS, Stall())
    trial.two(timeouts=replace(SHORT, idle=5, total=0.5))
    trial.breaks_off(LATE, "stream_max_duration", "neutral")
    assert trial.fake.wait_closed(trial.fake.last)


@ALL_STREAMS
def test_u35_time_is_over_while_nothing_comes(trial: Trial) -> None:
    """Nobody waits for the next piece to learn that there is no time for it."""
    trial.does(trial.begun, Stall())
    trial.two(timeouts=replace(SHORT, idle=30, total=0.3))
    trial.breaks_off(LATE, "stream_max_duration", "neutral")


@STREAMS
def test_u11_what_came_in_the_same_read_is_delivered(trial: Trial) -> None:
    """However the network cuts a stream, the text before a fault is the client's."""
    bad = trial.event('{"choices":[{"de')
    for begun in (trial.lead, Good(events=trial.pair.leading + 1)):
        trial.fake.reset()
        # One write: content and the fault arrive together.
        trial.does(begun, Wait(0.02), Send(_says(trial, "together") + bad))
        trial.two()
        answer = trial.ask()
        assert answer.text.endswith("together")
        assert [error["type"] for error in answer.failures] == [BAD.of(trial.pair.surface)[1]]
        assert len(trial.fake.requests) == 1
        trial.live.idle()


def _says(trial: Trial, text: str) -> bytes:
    """One event with content."""
    if trial.pair.upstream == "ollama":
        said = f'{{"model":"m","message":{{"role":"assistant","content":"{text}"}},"done":false}}'
    elif trial.pair.upstream == "messages":
        delta = f'{{"type":"text_delta","text":"{text}"}}'
        said = f'{{"type":"content_block_delta","index":0,"delta":{delta}}}'
    else:
        said = f'{{"id":"x","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}'
    return trial.event(said)
