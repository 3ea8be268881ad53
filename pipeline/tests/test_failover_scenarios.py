"""Sixteen ways in which a provider misbehaves, and what a caller and the provider see of them.

The scenarios are those of the public catalogue Failover Bench, re-made from their descriptions: each passes
in the mode meant for it, and in every mode it ends in the whole answer or in a clear error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pipeline.tests import faults
from pipeline.tests.faults import SHORT, Steps, error_json, whole_error
from pipeline.tests.test_client_leaves import Rest
from providers.wire import Timeouts
from routing.snapshot import BreakerSettings, Target
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, PAIRS, TEXT, Answer, Pair, ask
from tests.support.upstream.script import Answer as Good
from tests.support.upstream.script import Json, Reset, Send, Stall, Step

MODES = ("fast", "hold-first", "atomic")
CUT = 5


def _cut(pair: Pair) -> Sequence[Step]:
    return [Good(events=pair.leading + CUT)]


def _stall(pair: Pair) -> Sequence[Step]:
    return [Good(events=pair.leading + CUT), Stall()]


def _malformed(pair: Pair) -> Sequence[Step]:
    bad = b'{"choices":[{"delta":{"con\n'
    # What follows is as it should be: a reader that skipped the event would have an answer with a hole.
    return [
        Good(events=pair.leading + CUT),
        Send(bad if pair.upstream == "ollama" else b"data: " + bad + b"\n"),
        Rest(pair.leading + CUT),
    ]


def _refused(pair: Pair, code: str, message: str) -> Sequence[Step]:
    body: Any = error_json(pair, "invalid_request_error", message)
    if pair.upstream == "chat":
        body["error"]["code"] = code
    return [Json(400, body)]


def _too_long(pair: Pair) -> Sequence[Step]:
    return _refused(pair, "context_length_exceeded", "prompt is too long: 9000 tokens > 8192 maximum")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the primary does (`times`: how often, then it is well), how the route is set for it, and what the
    provider may see: attempts at the primary and at the fallback."""

    id: str
    steps: Steps
    primary: int
    fallback: int
    times: int | None = None
    route: Mapping[str, Any] = field(default_factory=dict)
    timeouts: Timeouts | None = None
    after: frozenset[Any] = frozenset()
    pause: float = 0.0


TWICE = {"tries": 2}
ATOMIC = {"integrity": "atomic"}
SCENARIOS = [
    Scenario("S01-429-with-retry-after", whole_error(429, "rate_limit_error", retry_after="2"), 2, 0, times=1,
             route=TWICE, pause=2.0),
    Scenario("S02-429-persistent", whole_error(429, "rate_limit_error"), 2, 1, route=TWICE, pause=0.0001),
    Scenario("S03-500-once", whole_error(500), 2, 0, times=1, route=TWICE),
    Scenario("S04-503-persistent", whole_error(503), 2, 1, route=TWICE),
    Scenario("S05-reset-before-headers", lambda _: [Reset()], 2, 0, times=1, route=TWICE),
    Scenario("S06-no-response", lambda _: [Stall()], 1, 1, route=TWICE, timeouts=SHORT),
    Scenario("S07-slow-first-token", lambda pair: [Good(events=pair.leading), Stall()], 1, 1, route=TWICE,
             timeouts=SHORT),
    Scenario("S08-cut-mid-answer", _cut, 1, 1, route=ATOMIC),
    Scenario("S09-stall", _stall, 1, 1, route=ATOMIC, timeouts=SHORT),
    Scenario("S10-malformed-chunk", _malformed, 1, 1, route=ATOMIC),
    Scenario("S12-context-length", _too_long, 1, 1, after=frozenset({"context_length"})),
    Scenario("S14-cut-and-a-fallback-without-prefill", _cut, 1, 1, route=ATOMIC),
    Scenario("S16-accounting", whole_error(503), 1, 1),
]  # fmt: skip
CASES = [pytest.param(scenario, pair, id=f"{scenario.id}-{pair}") for scenario in SCENARIOS for pair in PAIRS]


def serve(live: LiveGateway, fake: FakeUpstream, pair: Pair, scenario: Scenario, **route: Any) -> None:
    """A primary that behaves like the scenario, and a fallback that is well and serves another model."""
    primary = faults.named(live, pair, "primary")
    if scenario.timeouts:
        primary = replace(primary, timeouts=scenario.timeouts)
    fallback = Target(
        2, faults.named(live, pair, "fallback"), fallback_model(pair), tier=1, after=scenario.after
    )
    ways = {**scenario.route, **route}
    live.use(live.snapshot([live.route("*", Target(1, primary), fallback, **ways)]))
    fake.script(Match(path="/primary/"), scenario.steps(pair), times=scenario.times)


def fallback_model(pair: Pair) -> str:
    return {"chat": "gpt-4.1", "messages": "claude-haiku-4-5", "ollama": "qwen3:8b"}[pair.upstream]


def seen(fake: FakeUpstream, name: str) -> int:
    return sum(request.path.startswith(f"/{name}/") for request in fake.requests)


def is_clean_error(answer: Answer) -> bool:
    """Not the answer, and it says so: a status, or an error within the stream and no end of it."""
    if answer.status != 200:
        return bool(answer.error()["message"])
    return len(answer.failures) == 1 and not answer.complete and answer.finishes == []


@pytest.mark.parametrize(("scenario", "pair"), CASES)
def test_it_passes_in_the_mode_meant_for_it(
    live: LiveGateway, fake: FakeUpstream, scenario: Scenario, pair: Pair
) -> None:
    serve(live, fake, pair, scenario)
    answer = ask(live, pair, stream=True)
    assert (answer.status, answer.text, answer.complete, answer.failures) == (200, TEXT, True, [])
    assert (seen(fake, "primary"), seen(fake, "fallback")) == (scenario.primary, scenario.fallback)
    if scenario.pause:
        assert live.pauses
        assert live.pauses[0] >= scenario.pause
    record = live.wait_record()
    assert record.provider == ("fallback" if scenario.fallback else "primary")
    assert record.usage is not None
    assert record.usage.source == "provider"
    live.use(live.snapshot())
    assert ask(live, pair, stream=True).text == TEXT, "and the next call is well"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("scenario", "pair"), CASES)
def test_it_is_safe_in_every_mode(
    live: LiveGateway, fake: FakeUpstream, scenario: Scenario, pair: Pair, mode: str
) -> None:
    serve(live, fake, pair, scenario, integrity=mode)
    answer = ask(live, pair, stream=True)
    if answer.status == 200 and answer.text == TEXT and answer.complete:
        assert answer.failures == []
    else:
        assert is_clean_error(answer)
    assert seen(fake, "primary") + seen(fake, "fallback") <= 3


@pytest.mark.parametrize("surface", ["chat", "messages"])
@pytest.mark.parametrize("mode", MODES)
def test_s11_a_stream_that_has_said_why_it_ends_is_complete_without_done(
    live: LiveGateway, fake: FakeUpstream, surface: str, mode: str
) -> None:
    pair = CHAT_OPENAI if surface == "chat" else next(p for p in PAIRS if str(p) == "messages-openai")
    provider = live.provider(pair.kind)
    live.use(live.snapshot([live.route("*", provider, integrity=mode)]))
    fake.script(Match(path=pair.path), [Good(events=-1)])
    asks: dict[str, Any] = {"stream_options": {"include_usage": True}} if surface == "chat" else {}
    answer = ask(live, pair, stream=True, extra=asks)
    assert (answer.text, answer.complete, answer.failures) == (TEXT, True, [])
    record = live.wait_record()
    assert (record.outcome, len(record.attempts)) == ("ok", 1)
    assert record.usage is not None
    assert record.usage.source == "provider"


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s13_a_content_filter_is_the_callers_to_hear(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    words = "The request was rejected by the safety system"
    scenario = Scenario("S13", lambda pair: _refused(pair, "content_policy_violation", words), 1, 0)
    serve(live, fake, pair, scenario)
    answer = ask(live, pair, stream=True)
    assert answer.status == 400
    assert words in answer.error()["message"]
    assert (seen(fake, "primary"), seen(fake, "fallback")) == (1, 0)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s14_the_fallback_is_sent_what_the_client_sent(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    """A restart, and no continuation of what the first had said."""
    serve(live, fake, pair, Scenario("S14", _cut, 1, 1, route=ATOMIC))
    assert ask(live, pair, stream=True).text == TEXT
    first, second = (request.json for request in fake.requests)
    assert first["messages"] == second["messages"]
    assert second["messages"][-1]["role"] == "user"


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s15_a_primary_that_is_down_for_a_minute(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    """Twenty requests, one every 4 s, of which the first 15 meet the outage."""
    served_by = []
    outage = 0
    serve(live, fake, pair, Scenario("S15", whole_error(503), 0, 0))
    for number in range(20):
        if number == 15:
            fake.reset()
        answer = ask(live, pair, stream=True)
        assert (answer.text, answer.complete) == (TEXT, True)
        served_by.append(live.wait_record(number + 1).provider)
        if number == 14:
            outage = seen(fake, "primary")
        live.skipped += 4.0
    assert set(served_by[:15]) == {"fallback"}
    assert outage <= BreakerSettings().consecutive + 3, "what it saw while it was down: five and some probes"
    assert served_by[-1] == "primary"
    assert "primary" in served_by[15:22], "it is used again within 30 s"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s16_the_caller_sees_who_has_answered(live: LiveGateway, fake: FakeUpstream, stream: bool) -> None:
    serve(live, fake, CHAT_OPENAI, Scenario("S16", whole_error(503), 1, 1))
    asks: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    answer = ask(live, CHAT_OPENAI, stream=stream, extra=asks)
    said = [data for _, data in answer.events if data != "[DONE]"] if stream else [answer.json]
    assert {one["model"] for one in said} == {fallback_model(CHAT_OPENAI)}
    assert said[-1]["usage"]["total_tokens"] > 0
    assert answer.header("x-gateway-provider") == "fallback"
    record = live.wait_record()
    assert [(a.provider, a.outcome) for a in record.attempts] == [
        ("primary", "overloaded"),
        ("fallback", "ok"),
    ]
