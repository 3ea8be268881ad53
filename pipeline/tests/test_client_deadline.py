"""A client may give its call less time than the gateway would: all that happens to the call draws on it."""

from __future__ import annotations

import pytest

from pipeline.tests import faults
from pipeline.tests.faults import LATE, whole_error
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, TEXT, Pair, ask
from tests.support.upstream.script import Stall


def headers(live: LiveGateway, seconds: str) -> dict[str, str]:
    return {"authorization": f"Bearer {live.key}", "x-gateway-timeout": seconds}


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_provider_that_is_slower_than_the_client_waits(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    faults.two(live, pair)
    faults.answers(fake, pair, lambda _: [Stall()], at="first")
    answer = ask(live, pair, stream=stream, headers=headers(live, "0.2"))
    faults.check_refused(answer, LATE, "deadline_exceeded")
    # There is no time left for the second target.
    assert len(fake.requests) == 1
    assert fake.wait_closed(fake.last)


def test_there_is_no_pause_that_outlasts_it(live: LiveGateway, fake: FakeUpstream) -> None:
    pair = PAIRS[0]
    faults.answers(fake, pair, whole_error(429, retry_after="3"))
    answer = ask(live, pair, headers=headers(live, "2"))
    assert (answer.status, answer.header("retry-after")) == (429, "3")
    assert live.pauses == []


def test_enough_time_changes_nothing(live: LiveGateway) -> None:
    assert ask(live, PAIRS[0], headers=headers(live, "30")).text == TEXT


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1e3", "nan", "inf", "", "9" * 400, "1_0", "\u0663"])
def test_nonsense_is_refused(live: LiveGateway, fake: FakeUpstream, value: str) -> None:
    sent = value.encode("utf-8").decode("latin-1")
    answer = ask(live, PAIRS[0], headers=headers(live, sent))
    assert answer.status == 400
    assert answer.error()["code"] == "invalid_header"
    assert fake.requests == []
